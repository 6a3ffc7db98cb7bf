"""Leases of sweeps: one holder each, another one when it has expired, and no session that must last."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from taskforce.infrastructure.persistence.database import Database

LONG, OVER = timedelta(hours=1), timedelta(seconds=-1)


@pytest.fixture
def sweep() -> str:
    return f"sweep-{uuid4().hex[:8]}"


async def test_the_first_gets_a_lease_and_keeps_it(database: Database, sweep: str) -> None:
    assert await database.hold_sweeps({sweep}, "one", LONG) == {sweep}
    assert await database.hold_sweeps({sweep}, "other", LONG) == frozenset()
    assert await database.hold_sweeps({sweep}, "one", LONG) == {sweep}


async def test_a_lease_that_is_not_renewed_is_taken_over(database: Database, sweep: str) -> None:
    await database.hold_sweeps({sweep}, "dead", OVER)
    assert await database.hold_sweeps({sweep}, "other", LONG) == {sweep}
    assert await database.hold_sweeps({sweep}, "dead", LONG) == frozenset()


async def test_a_lease_that_is_released_is_free_at_once(database: Database, sweep: str) -> None:
    await database.hold_sweeps({sweep}, "one", LONG)
    await database.release_sweeps("one")
    assert await database.hold_sweeps({sweep}, "other", LONG) == {sweep}


async def test_who_holds_nothing_releases_nothing(database: Database, sweep: str) -> None:
    await database.hold_sweeps({sweep}, "one", LONG)
    await database.release_sweeps("other")
    assert await database.hold_sweeps({sweep}, "other", LONG) == frozenset()


async def test_each_sweep_has_a_holder_of_its_own(database: Database, sweep: str) -> None:
    second = f"{sweep}-2"
    await database.hold_sweeps({sweep}, "one", LONG)
    assert await database.hold_sweeps({sweep, second}, "other", LONG) == {second}


async def test_of_many_that_ask_at_once_one_gets_it(database: Database, sweep: str) -> None:
    askers = [f"worker-{number}" for number in range(10)]
    for lease in (OVER, LONG):
        held = await asyncio.gather(*(database.hold_sweeps({sweep, f"{sweep}-2"}, one, lease) for one in askers))
        if lease is LONG:
            assert sorted(map(len, held)) in ([0] * 9 + [2], [0] * 8 + [1, 1])


async def test_a_tenant_sees_no_lease(database: Database, sweep: str, tenant: str) -> None:
    await database.hold_sweeps({sweep}, "one", LONG)
    async with database.tenant(tenant) as records:
        assert "sweep_leases" not in await records.tenant_data.tables()
