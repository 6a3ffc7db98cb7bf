"""Sweeps over all tenants, over rows that are due, and over workflows that were ended from outside."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from taskforce.core.domain.errors import Unavailable
from taskforce.core.domain.tenants.tenant import Tenant, TenantStatus
from taskforce.core.interfaces.clock import Clock
from taskforce.core.interfaces.due_rows import DueKind, DueRow, DueStore
from taskforce.core.interfaces.expired_rows import ExpiredKind, ExpiredRows

Holder = TypeVar("Holder")

TENANTS = 200
LOOK_BACK = timedelta(hours=24)
OVERLAP = timedelta(minutes=5)
"""The time by which Temporal may list the end of a workflow late."""


async def expired_tenants(
    rows: ExpiredRows, kind: ExpiredKind, now: datetime, at: datetime | None = None
) -> Sequence[str]:
    """Returns the tenants that have expired rows, but not those whose rows are being erased altogether.

    Args:
        rows: Finds them.
        kind: The kind of rows.
        now: The time, UTC.
        at: The time from which they are expired; None is now.
    """
    return [one.tenant_id for one in await rows.expired_tenants(kind, at or now) if is_swept(one, now)]


async def in_turn(waiting: Sequence[Holder], erase: Callable[[Holder], Awaitable[int]]) -> int:
    """Erases a batch of each holder in turn until nothing is left, so that a large one does not delay the others.

    Args:
        waiting: Those who may have something to erase.
        erase: Erases a batch of one; returns its size, 0 once nothing is left.

    Returns:
        The number of all that was erased.
    """
    total = 0
    while waiting:
        erased = {one: await erase(one) for one in waiting}
        total += sum(erased.values())
        waiting = [one for one in waiting if erased[one]]
    return total


async def in_shares(pages: AsyncIterator[Sequence[Holder]], share: Callable[[Holder], Awaitable[bool]]) -> None:
    """Gives a share to each holder, page by page, and then to those who have more in turn, until nobody has.

    So one who has very much delays another by a share or two, also one of a later page. `AT_ONCE` have theirs side by
    side.

    Args:
        pages: The holders.
        share: Does a share of one's work; returns whether there may be more.
    """
    unserved: Sequence[Holder] = [one async for page in pages for one in await _served(page, share)]
    while unserved:
        unserved = await _served(unserved, share)


async def _served(holders: Sequence[Holder], share: Callable[[Holder], Awaitable[bool]]) -> Sequence[Holder]:
    more: list[Holder] = []
    lanes = asyncio.Semaphore(AT_ONCE)

    async def one(holder: Holder) -> None:
        async with lanes:
            if await share(holder):
                more.append(holder)

    async with asyncio.TaskGroup() as group:
        for holder in holders:
            group.create_task(one(holder))
    return more


def is_swept(tenant: Tenant, now: datetime) -> bool:
    """Tells whether sweeps visit the tenant: also when it is disabled, but not while its rows are being erased."""
    # A deletion has sealed the audit log to its last anchor, which its report keeps: no sweep may change it.
    return tenant.status is not TenantStatus.DELETING or tenant.is_drained(now)


SHARE = 10
"""Rows of one tenant in a turn; then it is the others' turn."""
AT_ONCE = 4
"""Tenants whose rows are looked after side by side."""
CLAIM = timedelta(seconds=10)
"""The time after which a row is due again whose process died, or could not do what was to be done."""
PASS = timedelta(seconds=5)
"""The time after which all tenants are asked for due rows again, while some still have theirs looked after."""
AGAIN = timedelta(hours=1)
"""The time after which a row is looked at again that was in order."""

Look = Callable[[str, DueRow], Awaitable[bool]]
"""Looks after a row of a tenant; returns whether it is in order now. It must be safe to repeat."""


@dataclass(slots=True)
class Turn:
    """The outcome of a turn.

    Attributes:
        rows: The number of rows in order.
        unserved: The tenants that had a whole share, and may have more due rows.
        refused: The last error; the other rows were looked after all the same.
    """

    rows: int = 0
    unserved: list[str] = field(default_factory=list)
    refused: Exception | None = None


class DueSweep:
    """Looks after the due rows of a kind: a share of each tenant in turn, until nothing is due.

    So a tenant with very many rows keeps another's waiting for the length of one share, and only tenants with rows of
    the kind cost anything. A row is claimed before it is looked after: another process leaves it alone meanwhile, and
    one that fails or cannot be done is due again when the claim is over, behind the others of its tenant.

    Args:
        store: The rows.
        kind: The kind of rows.
        look: Looks after one.
        clock: The time, UTC.
        again: The time after which a row that is in order is due again.
    """

    def __init__(self, store: DueStore, kind: DueKind, look: Look, *, clock: Clock, again: timedelta = AGAIN) -> None:
        self._store = store
        self._kind = kind
        self._look = look
        self._clock = clock
        self._again = again

    async def sweep(self, late: timedelta) -> int:
        """Looks after all rows that are due for some time, of all tenants.

        Args:
            late: The time for which a row must have been due. The clock is read for each pass: what became late while a
                large tenant's rows were looked after does not wait for the last of them.

        Returns:
            The number of rows that are in order now.

        Raises:
            Exception: The last error of a row in a pass; its other rows were looked after all the same, unless nothing
                answers.
        """
        total, more = Turn(), True
        while more:
            began = self._clock()
            before = began - late
            unserved: Sequence[str] = [
                one async for page in self._pages(before) for one in await self._turn(page, before, total)
            ]
            more = bool(unserved)
            # All tenants with rows of the kind are listed now and then, not for each share of those that have many.
            while unserved and self._clock() - began < PASS:
                unserved = await self._turn(unserved, before, total)
            if total.refused is not None:
                raise total.refused
        return total.rows

    async def _turn(self, tenants: Sequence[str], before: datetime, total: Turn) -> Sequence[str]:
        turn = await self.serve(tenants, before)
        total.rows, total.refused = total.rows + turn.rows, turn.refused or total.refused
        # While Temporal does not answer, each row would wait for it in vain: the next sweep goes on.
        if isinstance(turn.refused, Unavailable) and not turn.rows:
            raise turn.refused
        return turn.unserved

    async def serve_among(self, tenants: Collection[str], before: datetime) -> Turn:
        """Looks after a share of each of those tenants that have due rows; one statement finds them."""
        return await self.serve(await self._store.due_among(self._kind, before, tenants), before)

    async def serve(self, tenants: Sequence[str], before: datetime) -> Turn:
        """Looks after a share of each of some tenants, `AT_ONCE` at a time."""
        turn, lanes = Turn(), asyncio.Semaphore(AT_ONCE)

        async def one(tenant_id: str) -> None:
            async with lanes:
                try:
                    await self._share(tenant_id, before, turn)
                except Exception as error:  # noqa: BLE001 - an error of one tenant must not keep the rows of others
                    turn.refused = error

        async with asyncio.TaskGroup() as group:
            for tenant_id in tenants:
                group.create_task(one(tenant_id))
        return turn

    async def _pages(self, before: datetime) -> AsyncIterator[Sequence[str]]:
        after = ""
        while page := await self._store.due_tenants(self._kind, before, after, TENANTS):
            if due := [tenant_id for tenant_id, is_due in page if is_due]:
                yield due
            after = page[-1][0]

    async def _share(self, tenant_id: str, before: datetime, turn: Turn) -> None:
        now = self._clock()
        async with self._store.tenant(tenant_id) as records:
            rows = await records.due_rows.claim(self._kind, before, now + CLAIM, SHARE)
        outcomes = await asyncio.gather(*(self._look(tenant_id, row) for row in rows), return_exceptions=True)
        in_order = [row.row_id for row, outcome in zip(rows, outcomes, strict=True) if outcome is True]
        if in_order:
            async with self._store.tenant(tenant_id) as records:
                await records.due_rows.postpone(self._kind, in_order, now + self._again)
        turn.rows += len(in_order)
        turn.refused = next((one for one in outcomes if isinstance(one, Exception)), turn.refused)
        if len(rows) == SHARE:
            turn.unserved.append(tenant_id)


class EndedSweep:
    """Settles the rows of workflows that were ended from outside, as Temporal lists them.

    What Temporal lists late, or not at all, is found by the rows, which are checked from time to time.

    Args:
        ended: Lists (tenant id, row id) of those that ended after a time.
        settle: Closes the row of one; a second call changes nothing.
        clock: The time, UTC.
    """

    def __init__(
        self,
        ended: Callable[[datetime], Awaitable[Sequence[tuple[str, str]]]],
        settle: Callable[[str, str], Awaitable[None]],
        clock: Clock,
    ) -> None:
        self._ended = ended
        self._settle = settle
        self._clock = clock
        self._since: datetime | None = None
        self._settled: frozenset[tuple[str, str]] = frozenset()

    async def sweep(self) -> None:
        """Settles those that ended since the last sweep, or within a day at the first.

        Raises:
            Exception: The last error; the other rows are settled all the same, and this one at the next sweep.
        """
        now = self._clock()
        listed = frozenset(await self._ended(self._since or now - LOOK_BACK))
        left: set[tuple[str, str]] = set()
        refused: Exception | None = None
        for one in sorted(listed - self._settled):
            try:
                await self._settle(*one)
            except Exception as error:  # noqa: BLE001 - one that can never be settled must not keep the others
                left.add(one)
                refused = error
        # Those alone that the next sweep may list once more.
        self._settled = listed - left
        if refused is not None:
            raise refused
        self._since = now - OVERLAP
