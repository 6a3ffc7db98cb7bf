"""What is queued is started at once by whoever queued it, a share of each tenant in turn."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from taskforce.application.sweeps import CLAIM, SHARE
from taskforce.application.webhooks.dispatch import DeliveryDispatcher, starting
from taskforce.core.domain.errors import Unavailable
from taskforce.core.interfaces.clock import Clock
from taskforce.core.interfaces.repositories.webhooks import QueuedTenants
from taskforce.infrastructure.persistence.database import Database
from taskforce.infrastructure.persistence.tenant_records import TenantRecords
from tests.fixtures.missions import now
from tests.fixtures.webhooks import Hooks

URL = "https://hooks.example.com/"


class Started:
    """Starts deliveries by remembering them; those of some tenants only, for others queue some too."""

    def __init__(self, *tenants: str) -> None:
        self.tenants = tenants
        self.started: list[tuple[str, str]] = []
        self.refused: set[str] = set()
        self.any = asyncio.Event()

    @property
    def ids(self) -> list[str]:
        return [delivery_id for _, delivery_id in self.started]

    def of(self, tenant_id: str) -> list[str]:
        return [delivery_id for one, delivery_id in self.started if one == tenant_id]

    async def __call__(self, tenant_id: str, delivery_id: str, event: str) -> bool:
        if tenant_id not in self.tenants:
            return False
        assert event == "request_approved"
        if delivery_id in self.refused:
            raise Unavailable("temporal_unavailable", "Temporal does not answer.")
        self.started.append((tenant_id, delivery_id))
        self.any.set()
        return True


@pytest.fixture
def hooks(database: Database, tenant: str) -> Hooks:
    return Hooks(database, None, tenant)


async def test_what_this_process_has_queued_is_started_at_once(hooks: Hooks, database: Database) -> None:
    webhook, _ = await hooks.make(URL)
    start = Started(hooks.tenant_id)
    async with starting(database, database.queued, start, now):
        await hooks.announce()
        async with asyncio.timeout(60):
            await start.any.wait()
    assert start.ids == [one.delivery_id for one in await hooks.deliveries(webhook)]


async def test_what_was_started_is_not_started_again(hooks: Hooks, database: Database) -> None:
    await hooks.make(URL)
    await hooks.announce()
    start = Started(hooks.tenant_id)
    for _ in range(3):
        await turn(database, start, hooks.tenant_id)
    assert len(start.ids) == 1


async def test_one_that_cannot_be_started_keeps_nobody_waiting(hooks: Hooks, database: Database) -> None:
    webhook, _ = await hooks.make(URL)
    await hooks.announce()
    await hooks.announce()
    newer, older = [one.delivery_id for one in await hooks.deliveries(webhook)]
    start = Started(hooks.tenant_id)
    start.refused = {older}
    await turn(database, start, hooks.tenant_id)
    assert start.ids == [newer]
    start.refused.clear()
    at = now() + CLAIM + timedelta(seconds=1)
    await turn(database, start, hooks.tenant_id, clock=lambda: at)
    assert start.ids == [newer, older]


async def turn(database: Database, start: Started, *tenants: str, clock: Clock = now) -> QueuedTenants:
    """A turn of a dispatcher; returns the tenants that it leaves for the next one."""
    queued = QueuedTenants()
    queued.add(*tenants)
    await DeliveryDispatcher(database, queued, start, clock).turn()
    return queued


async def test_a_tenant_with_very_many_keeps_another_waiting_for_one_share(hooks: Hooks, database: Database) -> None:
    busy, quiet = Hooks(database, None, f"{hooks.tenant_id}-a"), Hooks(database, None, f"{hooks.tenant_id}-b")
    start = Started(busy.tenant_id, quiet.tenant_id)
    for one in (busy, quiet):
        await one.make(URL)
    for _ in range(3 * SHARE):
        await busy.announce()
    assert (await turn(database, start, busy.tenant_id)).take() == [busy.tenant_id]
    await quiet.announce()
    assert (await turn(database, start, busy.tenant_id, quiet.tenant_id)).take() == [busy.tenant_id]
    assert (len(start.of(busy.tenant_id)), len(start.of(quiet.tenant_id))) == (2 * SHARE, 1)


async def test_whoever_has_nothing_queued_costs_no_transaction(hooks: Hooks, database: Database) -> None:
    class Counted(Database):
        def __init__(self) -> None:
            self.__dict__.update(database.__dict__)
            self.entered: list[str] = []

        @asynccontextmanager
        async def tenant(self, tenant_id: str) -> AsyncIterator[TenantRecords]:
            self.entered.append(tenant_id)
            async with super().tenant(tenant_id) as records:
                yield records

    await hooks.make(URL)
    await hooks.announce()
    counted, start = Counted(), Started(hooks.tenant_id)
    await turn(counted, start, *(f"{hooks.tenant_id}-{number}" for number in range(20)), hooks.tenant_id)
    assert counted.entered == [hooks.tenant_id] * 2
