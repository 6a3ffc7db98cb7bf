"""Somebody whose token is believed and who is not let in stands in the log of the tenant that it concerns."""

import httpx
import pytest
import sqlalchemy as sa

from tests.api.gateway import ClientFor, Gateway, assert_problem

FAILED = sa.text("SELECT * FROM audit_events WHERE action = 'auth.failed' AND request_id = :request")
ME = "/api/v1/me"


async def failures(gateway: Gateway, tenant: str, request_id: str) -> list[tuple[str, str, str]]:
    async with gateway.parts.database.tenant(tenant) as records:
        rows = await records.users._connection.all(FAILED, {"request": request_id})
    return [(row.actor_id, row.reason, row.outcome) for row in rows]


@pytest.fixture
def platform(client_for: ClientFor) -> httpx.AsyncClient:
    return client_for("platform", "pia", ["admin"])


async def test_a_deactivated_user_who_tries_is_noted(gateway: Gateway, client_for: ClientFor, tenant: str) -> None:
    bob, admin = client_for(tenant, "bob", ["operator"]), client_for(tenant, "ada", ["admin"])
    assert (await bob.get(ME)).status_code == 200
    assert (await admin.delete("/api/v1/admin/users/bob")).status_code == 204
    assert_problem(await bob.get(ME, headers={"X-Request-ID": tenant}), 403, "user_deactivated")
    assert await failures(gateway, tenant, tenant) == [("bob", "user_deactivated", "denied")]
    assert await failures(gateway, "platform", tenant) == []


async def test_so_is_whoever_comes_to_a_tenant_that_is_switched_off(
    gateway: Gateway, client_for: ClientFor, platform: httpx.AsyncClient, tenant: str
) -> None:
    bob = client_for(tenant, "bob", ["operator"])
    assert (await bob.get(ME)).status_code == 200
    assert (await platform.put(f"/api/v1/admin/tenants/{tenant}", json={"active": False})).status_code == 200
    assert_problem(await bob.get(ME, headers={"X-Request-ID": tenant}), 403, "tenant_disabled")
    assert await failures(gateway, tenant, tenant) == [("bob", "tenant_disabled", "denied")]
