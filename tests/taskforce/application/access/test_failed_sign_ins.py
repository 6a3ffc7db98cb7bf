"""Failed sign-ins cost little, however many there are, and all of them are told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from taskforce.application.access import failed_sign_ins
from taskforce.application.access.failed_sign_ins import MOST_GROUPS, FailedSignInLog
from taskforce.application.audit.events import denied_event
from taskforce.core.domain.audit.events import AuditEvent, AuditFilter
from taskforce.core.domain.errors import Unavailable
from taskforce.core.domain.paging import Page
from taskforce.infrastructure.persistence.database import Database
from tests.chaos.invariants import eventually
from tests.fixtures.missions import now

AT = datetime(2026, 12, 1, tzinfo=UTC)


class Counted:
    """The database, and how many transactions it was asked for; at times it is away."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.transactions = 0
        self.away = False

    @asynccontextmanager
    async def tenant(self, tenant_id: str) -> AsyncIterator[Any]:
        self.transactions += 1
        if self.away:
            raise Unavailable("database_unavailable", "Away.")
        async with self.database.tenant(tenant_id) as records:
            yield records

    async def register_tenant(self, tenant_id: str, at: datetime) -> None:
        await self.database.register_tenant(tenant_id, at)


def failed(client: str = "192.0.2.1", actor_id: str = "anonymous") -> AuditEvent:
    details = {"path": "/api/v1/me", "client": client}
    return denied_event(
        "auth.failed",
        "route",
        "GET /api/v1/me",
        now(),
        actor_id=actor_id,
        reason="token_invalid",
        request_id=None,
        key_id=None,
        details=details,
    )


async def told(database: Database, tenant: str) -> list[int]:
    """The numbers of the events in a tenant's log."""
    async with database.tenant(tenant) as records:
        found = await records.audit.page(AuditFilter(action="auth.failed"), Page(2_000))
    return [int(str((one.details or {}).get("count", 1))) for one in found]


@pytest.fixture
def counted(database: Database) -> Counted:
    return Counted(database)


def log(counted: Counted, tenant: str, seconds: float = 60) -> FailedSignInLog:
    return FailedSignInLog(counted, counted, tenant, clock=now, seconds=seconds)  # type: ignore[arg-type]


async def test_the_first_is_in_the_log_at_once_and_a_flood_takes_two_transactions(
    counted: Counted, tenant: str
) -> None:
    failures = log(counted, tenant)
    await failures.add(None, failed())
    assert await told(counted.database, tenant) == [1]
    await asyncio.gather(*(failures.add(None, failed()) for _ in range(400)))
    assert (counted.transactions, failures.pending) == (1, 400)
    await failures.aclose()
    assert (counted.transactions, failures.pending) == (2, 0)
    assert sorted(await told(counted.database, tenant)) == [1, 400]


async def test_what_follows_is_written_by_itself(counted: Counted, tenant: str) -> None:
    failures = log(counted, tenant, seconds=0.01)
    await failures.add(None, failed())
    await failures.add(None, failed())

    async def both_told() -> bool:
        return await told(counted.database, tenant) == [1, 1]

    await eventually(both_told)


async def test_addresses_without_number_take_bounded_memory_and_are_counted_in_the_end(
    counted: Counted, tenant: str
) -> None:
    failures = log(counted, tenant)
    for number in range(3 * MOST_GROUPS):
        await failures.add(None, failed(f"2001:db8::{number:x}"))
    assert len(failures._groups) <= MOST_GROUPS + 1
    await failures.aclose()
    numbers = await told(counted.database, tenant)
    assert sum(numbers) == 3 * MOST_GROUPS
    assert len(numbers) <= 2


async def test_tenants_without_number_take_bounded_memory_and_the_rest_is_one_event_that_names_nobody(
    counted: Counted, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failed_sign_ins, "MOST_GROUPS", 5)
    failures, tenants = log(counted, tenant), [f"{tenant}-{number}" for number in range(8)]
    for one in tenants:
        await counted.register_tenant(one, AT)
    counted.away = True
    for one in tenants:
        for number in range(3):
            await failures.add(one, failed(f"192.0.2.{number}", "olga"))
            # What could not be written is counted with what comes meanwhile.
            await failures.flush()
            assert len(failures._groups) <= 5 + 1
    assert failures.pending == 24
    counted.away = False
    await failures.aclose()
    assert [await told(counted.database, one) for one in tenants] == [[3]] * 5 + [[]] * 3
    async with counted.database.tenant(tenant) as records:
        (others,) = await records.audit.page(AuditFilter(action="auth.failed"), Page(10))
    assert others.details == {"others": True, "count": 9}
    assert (others.actor_id, others.resource_id, others.reason) == ("anonymous", "*", None)


async def test_the_tenant_with_most_kinds_makes_room_for_another(
    counted: Counted, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failed_sign_ins, "MOST_GROUPS", 5)
    failures, quiet = log(counted, tenant), f"{tenant}-quiet"
    await counted.register_tenant(quiet, AT)
    counted.away = True
    for number in range(5):
        await failures.add(None, failed(f"192.0.2.{number}"))
    await failures.add(quiet, failed("198.51.100.1", "olga"))
    await failures.add(quiet, failed("198.51.100.2", "olga"))
    counted.away = False
    await failures.aclose()
    assert (await told(counted.database, quiet), await told(counted.database, tenant)) == ([2], [5])


async def test_the_log_takes_so_many_a_minute_and_the_number_is_right_all_the_same(
    counted: Counted, tenant: str
) -> None:
    failures = log(counted, tenant)
    for number in range(200):
        await failures.add(None, failed(f"192.0.2.{number}"))
    await failures.flush()
    assert 60 <= len(await told(counted.database, tenant)) <= 75
    await failures.aclose()
    assert sum(await told(counted.database, tenant)) == 200


async def test_while_the_database_is_away_nothing_is_lost(counted: Counted, tenant: str) -> None:
    failures = log(counted, tenant)
    counted.away = True
    for _ in range(5):
        await failures.add(None, failed())
    counted.away = False
    await failures.aclose()
    assert await told(counted.database, tenant) == [5]


async def test_what_concerns_a_tenant_is_in_its_own_log(counted: Counted, tenant: str) -> None:
    await counted.register_tenant(f"{tenant}-own", AT)
    failures = log(counted, tenant)
    await failures.add(f"{tenant}-own", failed(actor_id="olga"))
    await failures.aclose()
    assert (await told(counted.database, f"{tenant}-own"), await told(counted.database, tenant)) == ([1], [])
