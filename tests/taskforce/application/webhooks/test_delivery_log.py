"""What is queued is started: at once by whoever queued it, and later by anybody else."""

import asyncio
from datetime import timedelta

import pytest

from taskforce.application.webhooks.dispatch import LATE, REMEMBERED, DeliveryDispatcher, starting
from taskforce.core.domain.errors import Unavailable
from taskforce.infrastructure.persistence.database import Database
from tests.fixtures.missions import now
from tests.fixtures.webhooks import Hooks

URL = "https://hooks.example.com/"


class Started:
    """Starts deliveries by remembering them; those of one tenant only, for others queue some too."""

    def __init__(self, tenant_id: str) -> None:
        self.tenant_id = tenant_id
        self.ids: list[str] = []
        self.refused: set[str] = set()
        self.any = asyncio.Event()

    async def __call__(self, tenant_id: str, delivery_id: str, event: str) -> None:
        if tenant_id != self.tenant_id:
            return
        assert event == "request_approved"
        if delivery_id in self.refused:
            raise Unavailable("temporal_unavailable", "Temporal does not answer.")
        self.ids.append(delivery_id)
        self.any.set()


@pytest.fixture
def hooks(database: Database, tenant: str) -> Hooks:
    return Hooks(database, None, tenant)


async def test_what_this_process_has_queued_is_started_at_once(hooks: Hooks, database: Database) -> None:
    webhook, _ = await hooks.make(URL)
    start, stopped = Started(hooks.tenant_id), now()
    # By a clock that stands still nothing is ever late: what starts was started because it was told of.
    async with starting(database, database.queued, start, lambda: stopped):
        await hooks.announce()
        async with asyncio.timeout(60):
            await start.any.wait()
    assert start.ids == [one.delivery_id for one in await hooks.deliveries(webhook)]


async def test_what_another_process_has_left_is_started_when_it_is_late(hooks: Hooks, database: Database) -> None:
    webhook, _ = await hooks.make(URL)
    await hooks.announce()
    start = Started(hooks.tenant_id)
    sweeper = DeliveryDispatcher(database, start, now)
    await sweeper.sweep(now() - LATE)
    assert start.ids == []
    await sweeper.sweep(now())
    assert start.ids == [one.delivery_id for one in await hooks.deliveries(webhook)]


async def test_what_was_started_is_left_alone_for_a_while(hooks: Hooks, database: Database) -> None:
    await hooks.make(URL)
    await hooks.announce()
    start, at = Started(hooks.tenant_id), now()
    sweeper = DeliveryDispatcher(database, start, lambda: at)
    for _ in range(3):
        await sweeper.sweep(now())
    assert len(start.ids) == 1
    at += REMEMBERED + timedelta(seconds=1)
    await sweeper.sweep(now())
    assert len(start.ids) == 2


async def test_one_that_cannot_be_started_keeps_nobody_waiting(hooks: Hooks, database: Database) -> None:
    webhook, _ = await hooks.make(URL)
    await hooks.announce()
    await hooks.announce()
    newer, older = [one.delivery_id for one in await hooks.deliveries(webhook)]
    start = Started(hooks.tenant_id)
    start.refused = {older}
    sweeper = DeliveryDispatcher(database, start, now)
    with pytest.raises(Unavailable):
        await sweeper.sweep(now())
    assert start.ids == [newer]
    start.refused.clear()
    await sweeper.sweep(now())
    assert start.ids == [newer, older]
