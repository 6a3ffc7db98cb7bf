"""Sums by days of a tenant's time zone are those of the records, whatever is rolled up, rebuilt or moved meanwhile."""

import asyncio
import zoneinfo
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import pytest
import sqlalchemy as sa

from taskforce.core.domain.metering.aggregation import AggregationQuery, UsageFilter, UsageSums
from taskforce.core.domain.metering.periods import BUCKET, Period, TimeStep
from taskforce.infrastructure.config.settings import driver_arguments
from taskforce.infrastructure.persistence.database import Database
from taskforce.infrastructure.persistence.sqlstates import StatementError
from tests.fixtures.plans import watched
from tests.fixtures.stack import DatabaseUrls
from tests.fixtures.usage import TOOL, rolled_up, summed, total, used
from tests.taskforce.infrastructure.persistence.factories import queued, settled

START = datetime(2026, 10, 22, 3, 15, tzinfo=UTC)
END = START + timedelta(days=9, hours=7)
PERIOD = Period(START, END)
STEPS = (TimeStep.NONE, TimeStep.DAY, TimeStep.WEEK, TimeStep.MONTH)
ZONES = ("UTC", "Asia/Kolkata", "Asia/Kathmandu", "Europe/Berlin", "America/Havana", "America/Los_Angeles")


@pytest.fixture
async def admin(postgres: DatabaseUrls) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(**driver_arguments(postgres.admin))
    yield connection
    await connection.close()


@pytest.fixture
async def metered(database: Database, tenant: str) -> str:
    """A tenant with a record every few hours around the end of summer time, and some beyond the period."""
    await settled(database, tenant)
    for number in range(64):
        at = START - timedelta(hours=5) + number * timedelta(hours=4, minutes=7)
        whose = {"user_id": f"user-{number % 3}", "input_tokens": number}
        await used(database, tenant, at, **({**TOOL, **whose} if number % 4 == 0 else whose))
    return tenant


async def _moves(admin: asyncpg.Connection, tenant: str, zone: str) -> None:
    """Sets the time zone of a tenant, and gives rollups something to do."""
    change = "UPDATE tenants SET settings = settings || jsonb_build_object('time_zone', $2::text) WHERE tenant_id = $1"
    await admin.execute(change, tenant, zone)


async def _zone_of_days(admin: asyncpg.Connection, tenant: str) -> str | None:
    found: str | None = await admin.fetchval("SELECT usage_zone FROM tenants WHERE tenant_id = $1", tenant)
    return found


async def _by_day(database: Database, tenant: str, zone: str) -> Mapping[TimeStep, Mapping[tuple[Any, ...], UsageSums]]:
    return {
        step: await summed(
            database, tenant, AggregationQuery(UsageFilter(PERIOD), ("user", "kind"), step, ZoneInfo(zone))
        )
        for step in STEPS
    }


@pytest.mark.parametrize("zone", ZONES)
async def test_sums_by_days_are_those_of_the_records(
    database: Database, metered: str, admin: asyncpg.Connection, zone: str
) -> None:
    before = await _by_day(database, metered, zone)
    assert sum(before[TimeStep.NONE].values(), UsageSums()).records == 54
    await _moves(admin, metered, zone)
    while await rolled_up(database, metered, 7):
        assert await _by_day(database, metered, zone) == before
    assert await _zone_of_days(admin, metered) == zone
    # The days are what was read: without them the sums of all that is within are missing.
    await admin.execute("DELETE FROM usage_days WHERE tenant_id = $1", metered)
    assert sum((await _by_day(database, metered, zone))[TimeStep.NONE].values(), UsageSums()).records < 14
    async with database.tenant(metered) as records:
        assert await records.usage_buckets.rebuild(Period(START - timedelta(days=2), END + timedelta(days=2))) == 64
    assert await _by_day(database, metered, zone) == before


async def test_days_follow_the_tenants_time_zone_and_any_other_is_as_exact(
    database: Database, metered: str, admin: asyncpg.Connection
) -> None:
    zones = ("Asia/Kolkata", "Europe/Berlin")
    before = {zone: await _by_day(database, metered, zone) for zone in zones}
    for zone in (*zones, zones[0]):
        await _moves(admin, metered, zone)
        assert {other: await _by_day(database, metered, other) for other in zones} == before
        for _ in range(3):
            await rolled_up(database, metered, 7)
            assert await _zone_of_days(admin, metered) == zone
            assert {other: await _by_day(database, metered, other) for other in zones} == before


async def test_earlier_days_follow_one_by_one(database: Database, metered: str, admin: asyncpg.Connection) -> None:
    await _moves(admin, metered, "America/Los_Angeles")
    await rolled_up(database, metered)
    before = await _by_day(database, metered, "Asia/Kathmandu")
    await _moves(admin, metered, "Asia/Kathmandu")
    since = "SELECT usage_days_since::text FROM tenants WHERE tenant_id = $1"
    seen: list[str] = []
    while not seen or seen[-1] != "-infinity":
        await rolled_up(database, metered)
        seen.append(await admin.fetchval(since, metered))
        assert await _by_day(database, metered, "Asia/Kathmandu") == before
    # From the day after the last bucket to that of the first one.
    each = [str(date(2026, 11, 2) - timedelta(days=number)) for number in range(12)]
    assert seen == [*each, "-infinity"]
    days = await admin.fetchval("SELECT sum(records) FROM usage_days WHERE tenant_id = $1", metered)
    assert days == 64


async def test_a_zone_that_the_server_does_not_know_leaves_the_days_as_they_are(
    database: Database, metered: str, admin: asyncpg.Connection
) -> None:
    await _moves(admin, metered, "Mars/Olympus")
    await rolled_up(database, metered, 30)
    assert await _zone_of_days(admin, metered) == "UTC"
    await _moves(admin, metered, "Asia/Kolkata")
    await rolled_up(database, metered, 30)
    await _moves(admin, metered, "Mars/Olympus")
    await rolled_up(database, metered, 30)
    assert await _zone_of_days(admin, metered) == "Asia/Kolkata"
    # Rollups of other tests read this tenant's settings too.
    await _moves(admin, metered, "UTC")


async def test_a_part_of_a_day_that_is_rebuilt_leaves_the_rest_of_the_day(
    database: Database, metered: str, admin: asyncpg.Connection
) -> None:
    await _moves(admin, metered, "Asia/Kolkata")
    await rolled_up(database, metered, 50)
    before = await _by_day(database, metered, "Asia/Kolkata")
    middle = START + timedelta(days=3)
    for period in (Period(middle, middle + BUCKET), Period(middle, middle + timedelta(hours=30))):
        async with database.tenant(metered) as records:
            assert await records.usage_buckets.rebuild(period) is not None
        assert await _by_day(database, metered, "Asia/Kolkata") == before


async def test_storage_is_in_the_sums_by_days(database: Database, tenant: str, admin: asyncpg.Connection) -> None:
    run = await queued(database, tenant)
    async with database.tenant(tenant) as records:
        await records.results.add(run.run_id, 1, 1, "x" * 5_000)
    await _moves(admin, tenant, "America/Los_Angeles")
    days = [START.date() + timedelta(days=number) for number in range(4)]
    for number, day in enumerate(days):
        if number == 2:
            await used(database, tenant, START)
            await rolled_up(database, tenant)
            assert await _zone_of_days(admin, tenant) == "America/Los_Angeles"
        async with database.tenant(tenant) as records:
            assert await records.usage_buckets.measure_storage(day)
    zone = ZoneInfo("America/Los_Angeles")
    query = AggregationQuery(UsageFilter(Period(START - timedelta(days=3), END)), ("kind",), TimeStep.DAY, zone)
    found = await summed(database, tenant, query)
    assert [key[1] for key in found].count("storage") == 4
    assert (await total(database, tenant, query.which.period, kind=("storage",))).quantity >= 4 * 24 * 5_000


async def test_what_changes_in_a_bucket_changes_in_its_day(
    database: Database, tenant: str, admin: asyncpg.Connection
) -> None:
    await queued(database, tenant)
    await rolled_up(database, tenant)
    await used(database, tenant, START)
    async with database.tenant(tenant) as records:
        await records.results.add((await queued(database, tenant)).run_id, 1, 1, "x" * 5_000)
    async with database.tenant(tenant) as records:
        assert await records.usage_buckets.measure_storage(START.date())
    await rolled_up(database, tenant)
    before = await total(database, tenant, Period(START.replace(hour=0, minute=0), END))
    async with admin.transaction():
        await admin.execute("SELECT set_config('app.tenant_id', $1, true)", tenant)
        await admin.execute("UPDATE usage_buckets SET quantity = quantity + 7, cost = 3 WHERE tenant_id = $1", tenant)
    (days,) = await admin.fetch("SELECT sum(quantity), sum(cost) FROM usage_days WHERE tenant_id = $1", tenant)
    assert tuple(days) == (before.quantity + 14, 6)


async def test_clocks_that_the_server_knows_otherwise_are_read_from_buckets(
    database: Database, metered: str, admin: asyncpg.Connection
) -> None:
    with (Path(zoneinfo.TZPATH[0]) / "Asia/Kathmandu").open("rb") as clocks:
        kolkata = ZoneInfo.from_file(clocks, key="Asia/Kolkata")
    query = AggregationQuery(UsageFilter(PERIOD), ("user",), TimeStep.DAY, kolkata)
    before = await summed(database, metered, query)
    await _moves(admin, metered, "Asia/Kolkata")
    await rolled_up(database, metered)
    assert await summed(database, metered, query) == before
    whole = replace(query, zone=ZoneInfo("Asia/Kolkata"))
    assert await summed(database, metered, whole) != before


async def test_a_zone_that_the_server_knows_no_longer_gives_way_to_utc(
    database: Database, metered: str, admin: asyncpg.Connection
) -> None:
    await rolled_up(database, metered)
    await _moves(admin, metered, "Mars/Olympus")
    await admin.execute("UPDATE tenants SET usage_zone = 'Mars/Olympus' WHERE tenant_id = $1", metered)
    await rolled_up(database, metered)
    assert await _zone_of_days(admin, metered) == "UTC"
    assert (await total(database, metered, PERIOD)).records == 54
    await _moves(admin, metered, "UTC")


async def test_sums_are_exact_while_all_at_once_roll_up_rebuild_measure_and_move(
    database: Database, metered: str, admin: asyncpg.Connection
) -> None:
    zones = ("Asia/Kolkata", "Europe/Berlin")
    before = {zone: await _by_day(database, metered, zone) for zone in zones}
    done = asyncio.Event()

    async def rebuild() -> None:
        async with database.tenant(metered) as records:
            await records.usage_buckets.rebuild(PERIOD)

    async def read(zone: str) -> int:
        looks = 0
        while not done.is_set():
            assert await _by_day(database, metered, zone) == before[zone]
            looks += 1
        return looks

    readers = [asyncio.create_task(read(zone)) for zone in zones]
    for number in range(6):
        await _moves(admin, metered, zones[number % 2])
        await asyncio.gather(*(rolled_up(database, metered, 5) for _ in range(3)), rebuild())
    done.set()
    assert min(await asyncio.gather(*readers)) > 0
    assert {zone: await _by_day(database, metered, zone) for zone in zones} == before


async def test_a_report_by_days_is_one_statement(database: Database, metered: str) -> None:
    query = AggregationQuery(UsageFilter(PERIOD), ("user",), TimeStep.DAY)
    async with database.tenant(metered) as records, watched(records) as statements:
        await records.usage_buckets.aggregate(query)
        sent = await statements.texts()
    assert len([text for text in sent if "usage_" in text]) == 1


async def test_the_application_does_not_write_days(database: Database, metered: str) -> None:
    with pytest.raises(StatementError, match="permission denied"):
        async with database.tenant(metered) as records:
            await records.users._connection.change(sa.text("INSERT INTO usage_days (day) VALUES ('2026-11-01')"))
