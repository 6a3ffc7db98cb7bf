"""The audit log over HTTP."""

from datetime import datetime, timedelta
from typing import Any

import httpx

from taskforce.core.domain.audit.events import AuditEvent
from tests.api.gateway import Gateway

PATH = "/api/v1/admin/audit"


async def append(gateway: Gateway, tenant: str, count: int = 1, **changes: Any) -> datetime:
    """Events, a second from each to the next; returns the time of the first."""
    database, now = gateway.parts.database, gateway.parts.clock()
    await database.register_tenant(tenant, now)
    async with database.tenant(tenant) as records:
        for number in range(count):
            told: dict[str, Any] = {
                "actor_id": "alice",
                "action": "role.create",
                "resource_type": "role",
                "resource_id": f"custom:{number}",
                "outcome": "allowed",
                "at": now - timedelta(hours=1) + timedelta(seconds=number),
                "details": {"after": {"name": f"Übergabe {number}"}},
            }
            await records.audit.append(AuditEvent(**(told | changes)))
    return now - timedelta(hours=1)


async def listed(client: httpx.AsyncClient, **query: Any) -> list[Any]:
    answer = await client.get(PATH, params=query)
    assert answer.status_code == 200, answer.text
    items: list[Any] = answer.json()["items"]
    return items
