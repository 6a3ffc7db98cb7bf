"""Workers lead sweeps: one does each, and when it ends, dies or is cut off from PostgreSQL, another one."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import uuid4

import pytest

from taskforce.application.sweep_leases import Sweep, SweepLeader
from taskforce.core.domain.errors import Unavailable
from taskforce.infrastructure.persistence.database import Database

SHORT, LONG = timedelta(milliseconds=300), timedelta(hours=1)


class Worker:
    """A worker with one sweep, which waits for what it is let do.

    Args:
        name: Its name as a holder.
        sweep: The sweep.
    """

    def __init__(self, name: str, sweep: str) -> None:
        self.name = name
        self.sweep = sweep
        self.works = asyncio.Event()
        self.cut_off = asyncio.Event()

    async def work(self) -> None:
        self.works.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cut_off.set()

    @asynccontextmanager
    async def leading(self, leases: Database, lease: timedelta) -> AsyncIterator[asyncio.Task[None]]:
        leader = SweepLeader(leases, self.name, lease)
        task = asyncio.create_task(leader.lead({self.sweep: Sweep(0.01, self.work)}))
        yield task
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Unreachable(Database):
    """Leases that are out of reach from a moment on."""

    def __init__(self, database: Database) -> None:
        self.__dict__.update(database.__dict__)
        self.away = False

    async def hold_sweeps(self, sweeps: Collection[str], holder: str, lease: timedelta) -> frozenset[str]:
        if self.away:
            raise Unavailable("database_unavailable", "gone")
        return await super().hold_sweeps(sweeps, holder, lease)

    async def release_sweeps(self, holder: str) -> None:
        if self.away:
            raise Unavailable("database_unavailable", "gone")
        await super().release_sweeps(holder)


@pytest.fixture
async def pair(database: Database) -> tuple[Worker, Worker]:
    await database.ping()  # opens the pool that all doors share
    sweep = f"sweep-{uuid4().hex[:8]}"
    return Worker(f"{sweep}-one", sweep), Worker(f"{sweep}-other", sweep)


@asynccontextmanager
async def at_work(one: Worker, database: Database, lease: timedelta) -> AsyncIterator[None]:
    async with one.leading(database, lease):
        async with asyncio.timeout(60):
            await one.works.wait()
        yield


async def test_one_of_two_workers_does_a_sweep_until_its_lease_ends(
    database: Database, pair: tuple[Worker, Worker]
) -> None:
    one, other = pair
    async with at_work(one, database, LONG):
        assert await database.hold_sweeps({one.sweep}, other.name, LONG) == frozenset()
        await database.release_sweeps(one.name)
        async with at_work(other, database, SHORT):
            assert other.works.is_set()


async def test_a_worker_that_ends_leaves_the_sweep_at_once(database: Database, pair: tuple[Worker, Worker]) -> None:
    one, other = pair
    async with at_work(one, database, LONG):
        assert not one.cut_off.is_set()
    assert one.cut_off.is_set()
    assert await database.hold_sweeps({one.sweep}, other.name, LONG) == {one.sweep}


async def test_a_worker_cut_off_from_postgresql_stops_and_another_takes_over(
    database: Database, pair: tuple[Worker, Worker]
) -> None:
    one, other = pair
    leases = Unreachable(database)
    async with at_work(one, leases, SHORT), other.leading(database, SHORT):
        leases.away = True
        async with asyncio.timeout(60):
            await one.cut_off.wait()
            await other.works.wait()


async def test_a_renewal_that_fails_once_stops_nothing(database: Database, pair: tuple[Worker, Worker]) -> None:
    one, _ = pair
    leases, failed = Unreachable(database), asyncio.Event()
    once = leases.hold_sweeps

    async def fail_once(sweeps: Collection[str], holder: str, lease: timedelta) -> frozenset[str]:
        if one.works.is_set() and not failed.is_set():
            failed.set()
            raise Unavailable("database_unavailable", "gone for a moment")
        return await once(sweeps, holder, lease)

    leases.hold_sweeps = fail_once  # type: ignore[method-assign]
    # Of a lease so long that the renewals which come after the failed one cannot be late.
    async with one.leading(leases, timedelta(seconds=3)):
        async with asyncio.timeout(60):
            await failed.wait()
        assert not one.cut_off.is_set()


async def test_a_sweep_that_fails_is_repeated(database: Database) -> None:
    sweep, seen = f"sweep-{uuid4().hex[:8]}", asyncio.Queue[int]()

    async def fail() -> None:
        seen.put_nowait(1)
        raise ValueError("This time not.")

    leading = asyncio.create_task(SweepLeader(database, sweep, SHORT).lead({sweep: Sweep(0.01, fail)}))
    async with asyncio.timeout(60):
        assert [await seen.get(), await seen.get(), await seen.get()] == [1, 1, 1]
    leading.cancel()
    await asyncio.gather(leading, return_exceptions=True)


class Stubborn(Worker):
    """A worker whose sweep takes as long to end as the test lets it."""

    def __init__(self, name: str, sweep: str) -> None:
        super().__init__(name, sweep)
        self.may_end = asyncio.Event()
        self.begun = 0

    async def work(self) -> None:
        self.begun += 1
        try:
            await super().work()
        finally:
            await self.may_end.wait()


class Losing(Database):
    """Leases of which another process has some; each renewal is counted."""

    def __init__(self, database: Database) -> None:
        self.__dict__.update(database.__dict__)
        self.lost: frozenset[str] = frozenset()
        self.renewals = asyncio.Queue[int]()

    async def hold_sweeps(self, sweeps: Collection[str], holder: str, lease: timedelta) -> frozenset[str]:
        held = await super().hold_sweeps(sweeps, holder, lease)
        self.renewals.put_nowait(1)
        return held - self.lost


async def renewed(leases: Losing, times: int) -> None:
    while not leases.renewals.empty():
        leases.renewals.get_nowait()
    async with asyncio.timeout(60):
        for _ in range(times):
            await leases.renewals.get()


async def test_a_sweep_that_takes_long_to_end_holds_up_no_renewal_and_is_not_begun_beside_itself(
    database: Database, pair: tuple[Worker, Worker]
) -> None:
    leases, one = Losing(database), Stubborn(pair[0].name, pair[0].sweep)
    async with at_work(one, leases, SHORT):
        leases.lost = frozenset({one.sweep})
        async with asyncio.timeout(60):
            await one.cut_off.wait()
        await renewed(leases, 5)
        leases.lost = frozenset()
        await renewed(leases, 3)
        assert one.begun == 1
        one.works.clear()
        one.may_end.set()
        async with asyncio.timeout(60):
            await one.works.wait()
        assert one.begun == 2
