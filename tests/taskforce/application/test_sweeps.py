"""Sweeps look after what is due: fairly, once, to the end, and whatever fails keeps nothing else waiting."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from taskforce.application.sweeps import AGAIN, AT_ONCE, CLAIM, LOOK_BACK, OVERLAP, SHARE, DueSweep, EndedSweep
from taskforce.core.domain.errors import Conflict, DomainError, Unavailable
from taskforce.core.domain.ids import new_id
from taskforce.core.domain.webhooks.delivery import Delivery
from taskforce.core.domain.webhooks.signatures import WebhookMessage
from taskforce.core.interfaces.due_rows import DueKind, DueRow
from taskforce.infrastructure.persistence.database import Database
from taskforce.infrastructure.persistence.repositories.due_rows import DueRowRepository
from tests.taskforce.infrastructure.persistence.factories import NOW, SECOND

WEBHOOK = new_id()
LATER = NOW + timedelta(minutes=1)


class Tenants(Database):
    """The tenants of one test alone, and what is looked at of them.

    Args:
        database: The door.
        tenant: What their ids begin with.
    """

    def __init__(self, database: Database, tenant: str) -> None:
        self.__dict__.update(database.__dict__)
        self.named = tenant
        self.now = LATER
        self.seen: list[str] = []
        self.rows: list[str] = []
        self.refused: dict[str, DomainError] = {}
        self.pages = 0
        self.names: set[str] = set()
        self.takes = timedelta()
        self.then: dict[str, str] = {}

    async def due_tenants(self, kind: DueKind, before: datetime, after: str, most: int) -> Sequence[tuple[str, bool]]:
        self.pages += 1
        found = await super().due_tenants(kind, before, max(after, self.named), most)
        return [one for one in found if one[0].startswith(self.named)]

    async def queue(self, name: str, number: int, at: datetime = NOW) -> list[str]:
        tenant_id, ids = f"{self.named}-{name}", [new_id() for _ in range(number)]
        self.names.add(name)
        await self.register_tenant(tenant_id, at)
        async with self.tenant(tenant_id) as records:
            for one in ids:
                message = WebhookMessage(new_id(), "request_approved", {}, at)
                await records.deliveries.add(Delivery(one, WEBHOOK, message, at))
        return ids

    async def look(self, tenant_id: str, row: DueRow) -> bool:
        self.seen.append(tenant_id.removeprefix(f"{self.named}-"))
        if row.row_id in self.refused:
            raise self.refused[row.row_id]
        self.rows.append(row.row_id)
        self.now += self.takes
        if (name := self.then.pop(row.row_id, None)) is not None:
            await self.queue(name, 1, self.now)
        return True

    async def sweep(self, *, late: timedelta = timedelta()) -> int:
        due = DueSweep(self, DueKind.DELIVERY_START, self.look, clock=lambda: self.now)
        return await due.sweep(late)


@pytest.fixture
async def tenants(database: Database, tenant: str) -> AsyncIterator[Tenants]:
    await database.ping()  # opens the pool that both share
    made = Tenants(database, tenant)
    yield made
    # Sweeps of other tests would look after them.
    for name in made.names:
        async with database.tenant(f"{tenant}-{name}") as records:
            await records.deliveries.stop_all(WEBHOOK, LATER)


async def test_a_tenant_with_very_many_rows_keeps_another_waiting_for_one_share(tenants: Tenants) -> None:
    ids = await tenants.queue("busy", 520) + await tenants.queue("quiet", 1)
    assert await tenants.sweep() == 521
    assert tenants.seen.index("quiet") <= SHARE * AT_ONCE
    assert sorted(tenants.rows) == sorted(ids)


async def test_what_was_looked_after_is_not_read_again(tenants: Tenants) -> None:
    await tenants.queue("busy", 25)
    assert [await tenants.sweep() for _ in range(3)] == [25, 0, 0]
    new = await tenants.queue("busy", 1)
    assert await tenants.sweep() == 1
    assert tenants.rows[25:] == new
    tenants.now += AGAIN + SECOND
    assert await tenants.sweep() == 26


async def test_those_that_wait_longest_come_first(tenants: Tenants) -> None:
    young, old = await tenants.queue("one", SHARE, NOW + SECOND), await tenants.queue("one", 1)
    await tenants.sweep()
    assert tenants.rows.index(old[0]) < SHARE
    assert set(young) < set(tenants.rows)


async def test_one_that_cannot_be_done_keeps_nothing_waiting_and_is_tried_again(tenants: Tenants) -> None:
    bad, good = await tenants.queue("one", 2 * SHARE), await tenants.queue("one", 1, NOW + SECOND)
    tenants.refused = {one: Conflict("run_finished", "No.") for one in bad}
    with pytest.raises(Conflict):
        await tenants.sweep()
    assert tenants.rows == good
    assert Counter(tenants.seen) == {"one": 2 * SHARE + 1}
    tenants.refused = {}
    assert await tenants.sweep() == 0
    tenants.now += CLAIM + SECOND
    assert await tenants.sweep() == len(bad)


async def test_a_tenant_whose_rows_cannot_be_read_keeps_no_other_waiting(
    tenants: Tenants, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tenants.queue("bad", 1)
    await tenants.queue("good", 1)
    claim = DueRowRepository.claim

    async def failing(self: DueRowRepository, kind: DueKind, *given: Any) -> Sequence[DueRow]:
        if self._tenant_id.endswith("-bad"):
            raise ValueError("a row of no known form")
        return await claim(self, kind, *given)

    monkeypatch.setattr(DueRowRepository, "claim", failing)
    with pytest.raises(ValueError, match="no known form"):
        await tenants.sweep()
    assert tenants.seen == ["good"]


async def test_while_nothing_answers_a_sweep_ends_after_a_turn(tenants: Tenants) -> None:
    ids = await tenants.queue("one", 5 * SHARE)
    tenants.refused = dict.fromkeys(ids, Unavailable("temporal_unavailable", "Temporal does not answer."))
    with pytest.raises(Unavailable):
        await tenants.sweep()
    assert len(tenants.seen) == SHARE


async def test_what_becomes_due_meanwhile_does_not_wait_for_the_end_of_a_large_tenants_rows(tenants: Tenants) -> None:
    ids = await tenants.queue("busy", 40 * SHARE)
    tenants.takes, tenants.then = timedelta(seconds=0.2), {ids[0]: "quiet"}
    assert await tenants.sweep(late=SECOND) == 40 * SHARE + 1
    assert tenants.seen.index("quiet") <= 10 * SHARE


async def test_a_large_tenant_does_not_have_all_others_listed_for_each_of_its_shares(tenants: Tenants) -> None:
    await tenants.queue("busy", 20 * SHARE)
    assert await tenants.sweep() == 20 * SHARE
    # Two passes, the second of which finds nothing due; of a page and an empty one each.
    assert tenants.pages == 4


async def test_two_sweeps_side_by_side_do_each_row_once(database: Database, tenants: Tenants, tenant: str) -> None:
    await tenants.queue("one", 40)
    other = Tenants(database, tenant)
    await asyncio.gather(tenants.sweep(), other.sweep())
    await tenants.sweep()
    assert Counter(Counter(tenants.rows + other.rows).values()) == {1: 40}


async def test_who_dies_after_the_claim_leaves_it_to_another_when_the_claim_is_over(tenants: Tenants) -> None:
    (left,) = await tenants.queue("one", 1)
    async with tenants.tenant(f"{tenants.named}-one") as records:
        await records.due_rows.claim(DueKind.DELIVERY_START, LATER, LATER + CLAIM, SHARE)
    assert await tenants.sweep() == 0
    tenants.now += CLAIM + SECOND
    assert await tenants.sweep() == 1
    assert tenants.rows == [left]


async def test_all_pages_of_tenants_are_read(tenants: Tenants, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskforce.application.sweeps.TENANTS", 2)
    for number in range(5):
        await tenants.queue(f"tenant-{number}", 1)
    assert await tenants.sweep() == 5
    assert tenants.pages == 4


class Ended:
    """Workflows that were ended from outside, as they are listed.

    Args:
        listed: Those listed, whatever is asked.
    """

    def __init__(self, *listed: str) -> None:
        self.listed = list(listed)
        self.asked: list[datetime] = []
        self.settled: list[str] = []
        self.refused: set[str] = set()
        self.error: Exception = Unavailable("database_unavailable", "Away.")
        self.now = NOW

    async def ended(self, since: datetime) -> Sequence[tuple[str, str]]:
        self.asked.append(since)
        return [("acme", one) for one in self.listed]

    async def settle(self, tenant_id: str, row_id: str) -> None:
        assert tenant_id == "acme"
        if row_id in self.refused:
            raise self.error
        self.settled.append(row_id)

    def sweep(self) -> EndedSweep:
        return EndedSweep(self.ended, self.settle, lambda: self.now)


async def test_what_ended_is_settled_once_and_asked_for_since_the_last_look() -> None:
    ended = Ended("a", "b")
    sweep = ended.sweep()
    await sweep.sweep()
    ended.listed = ["b", "c"]
    ended.now += timedelta(hours=1)
    await sweep.sweep()
    assert ended.settled == ["a", "b", "c"]
    assert ended.asked == [NOW - LOOK_BACK, NOW - OVERLAP]


@pytest.mark.parametrize("error", [Unavailable("database_unavailable", "Away."), ValueError("a row of no known form")])
async def test_what_cannot_be_settled_is_listed_again_and_keeps_nothing_waiting(error: Exception) -> None:
    ended = Ended("a", "b")
    ended.refused, ended.error, sweep = {"a"}, error, ended.sweep()
    with pytest.raises(type(error)):
        await sweep.sweep()
    assert ended.settled == ["b"]
    ended.refused.clear()
    await sweep.sweep()
    assert ended.settled == ["b", "a"]
    assert ended.asked == [NOW - LOOK_BACK] * 2
