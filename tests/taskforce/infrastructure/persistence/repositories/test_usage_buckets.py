"""Usage records are added to buckets exactly once, and aggregations are exact at every moment meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import asyncpg
import pytest
import sqlalchemy as sa

from taskforce.core.domain.errors import Unavailable
from taskforce.core.domain.ids import new_id
from taskforce.core.domain.metering.aggregation import AggregationQuery, UsageFilter
from taskforce.core.domain.metering.periods import BUCKET, Period, TimeStep
from taskforce.core.domain.metering.prices import Resource, UnitPrice
from taskforce.core.domain.metering.service_levels import ServiceKind, ServiceStatistics
from taskforce.core.domain.runs.transcript import Entry, EntryKind
from taskforce.core.interfaces.repositories.service_statistics import MinuteStatistics
from taskforce.infrastructure.config.settings import driver_arguments
from taskforce.infrastructure.persistence.database import Database
from taskforce.infrastructure.persistence.sqlstates import StatementError
from tests.fixtures.plans import watched
from tests.fixtures.stack import DatabaseUrls
from tests.fixtures.usage import TOOL, by_records, rolled_up, summed, total, used
from tests.taskforce.infrastructure.persistence.factories import queued, settled

START = datetime(2026, 11, 1, tzinfo=UTC)
MONTH = Period(START, datetime(2026, 12, 1, tzinfo=UTC))
HOUR = timedelta(hours=1)
CENTS = Decimal("0.0123456789012345678901234")


@pytest.fixture
async def metered(database: Database, tenant: str) -> str:
    """A tenant with records that differ in everything that is summed, or summed by."""
    await settled(database, tenant)
    for number in range(40):
        at = START + number * timedelta(minutes=7, seconds=31)
        agent = f"agent-{number % 3}"
        tokens = {"input_tokens": 100 + number, "output_tokens": number, "cached_tokens": number // 2}
        parts = {"cache_write_tokens": 3, "reasoning_tokens": number // 3, "audio_input_tokens": 1}
        money: dict[str, object] = {"cost": number * CENTS, "currency": "EUR" if number % 5 == 0 else "USD"}
        if number % 4 == 0:
            money = {"cost": None, "currency": None}
        failed = {"error_code": "rate_limited"} if number % 10 == 3 else {}
        guessed = {"estimated": "tokenizer"} if number % 6 == 1 else {}
        whose = {"user_id": f"user-{number % 2}", "agent_id": agent, "department": f"d{number % 2}"}
        await used(database, tenant, at, **tokens, **parts, **money, **failed, **guessed, **whose)
        await used(database, tenant, at, **TOOL, **whose)
    return tenant


@pytest.fixture
async def admin(postgres: DatabaseUrls) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(**driver_arguments(postgres.admin))
    yield connection
    await connection.close()


async def test_buckets_hold_what_the_records_hold_to_the_last_digit(database: Database, metered: str) -> None:
    before = await total(database, metered, MONTH)
    assert (before.records, before.failed, before.unpriced) == (80, 4, 10)
    assert (before.tokens, before.wasted_tokens > 0, before.estimated_tokens > 0) == (4000 + 2 * 780, True, True)
    assert before.costs["USD"] == 480 * CENTS
    while await rolled_up(database, metered, 7):
        assert await total(database, metered, MONTH) == before
    assert await by_records(database, metered, MONTH) == before
    by_user = AggregationQuery(UsageFilter(MONTH), ("user", "kind"))
    assert sum((one.records for one in (await summed(database, metered, by_user)).values()), 0) == 80


async def test_to_roll_up_again_changes_nothing(database: Database, metered: str) -> None:
    assert await rolled_up(database, metered) == 80
    before = await total(database, metered, MONTH)
    assert await rolled_up(database, metered) == 0
    assert await total(database, metered, MONTH) == before


async def test_what_is_recorded_late_comes_into_the_bucket_of_its_time(database: Database, metered: str) -> None:
    await rolled_up(database, metered)
    first = Period(START, START + BUCKET)
    before = await total(database, metered, first)
    await used(database, metered, START + timedelta(minutes=3), user_id="user-0")
    late = await total(database, metered, first)
    assert late.records == before.records + 1
    assert await rolled_up(database, metered) == 1
    assert await total(database, metered, first) == late


async def test_a_rollup_that_dies_has_done_nothing(database: Database, metered: str) -> None:
    before = await total(database, metered, MONTH)

    async def dies() -> None:
        async with database.tenant(metered) as records:
            assert await records.usage_buckets.roll_up(30) == 30
            raise RuntimeError("died")

    with pytest.raises(RuntimeError, match="died"):
        await dies()
    assert await total(database, metered, MONTH) == before
    assert await rolled_up(database, metered) == 80
    assert await total(database, metered, MONTH) == before


async def test_a_server_that_is_cut_off_in_the_middle_leaves_all_or_nothing(
    database: Database, metered: str, admin: asyncpg.Connection
) -> None:
    before = await total(database, metered, MONTH)

    async def is_cut_off() -> None:
        async with database.tenant(metered) as records:
            assert await records.usage_buckets.roll_up(30) == 30
            pid = await records.users._connection.value(sa.text("SELECT pg_backend_pid()"))
            await admin.execute("SELECT pg_terminate_backend($1)", pid)
            await records.users._connection.value(sa.text("SELECT 1"))

    with pytest.raises(Unavailable):
        await is_cut_off()
    assert await total(database, metered, MONTH) == before
    assert await rolled_up(database, metered) == 80


async def test_several_at_a_time_add_each_record_once_while_readers_see_exact_sums(
    database: Database, metered: str
) -> None:
    before = await total(database, metered, MONTH)
    done = asyncio.Event()

    async def roll() -> int:
        taken = 0
        while batch := await rolled_up(database, metered, 3):
            taken += batch
        return taken

    async def read() -> int:
        looks = 0
        while not done.is_set():
            assert await total(database, metered, MONTH) == before
            looks += 1
        return looks

    readers = [asyncio.create_task(read()) for _ in range(2)]
    taken = await asyncio.gather(*(roll() for _ in range(4)))
    done.set()
    assert min(await asyncio.gather(*readers)) > 0
    # One that finds all others' rows locked may leave early; nobody takes a row twice.
    assert sum(taken) + await rolled_up(database, metered) == 80
    assert await total(database, metered, MONTH) == before


async def test_a_rebuild_gives_the_same_and_mends_what_is_wrong(
    database: Database, metered: str, admin: asyncpg.Connection
) -> None:
    await rolled_up(database, metered, 60)
    before = await total(database, metered, MONTH)
    for table in ("usage_buckets", "usage_days"):
        await admin.execute(f"UPDATE {table} SET records = 99, input_tokens = 7 WHERE tenant_id = $1", metered)
    assert (await total(database, metered, MONTH)).records > 99
    for _ in range(2):
        async with database.tenant(metered) as records:
            assert await records.usage_buckets.rebuild(MONTH) == 60
        assert await total(database, metered, MONTH) == before
    await rolled_up(database, metered)
    assert await total(database, metered, MONTH) == before


async def test_a_rebuild_beside_rollups_loses_and_doubles_nothing(database: Database, metered: str) -> None:
    before = await total(database, metered, MONTH)

    async def rebuild() -> None:
        async with database.tenant(metered) as records:
            await records.usage_buckets.rebuild(MONTH)

    for _ in range(8):
        await asyncio.gather(rebuild(), rolled_up(database, metered, 5), rolled_up(database, metered, 5), rebuild())
        assert await total(database, metered, MONTH) == before


async def test_the_application_changes_neither_records_nor_buckets(database: Database, metered: str) -> None:
    await rolled_up(database, metered)
    for statement in (
        "UPDATE usage_buckets SET records = 0",
        "DELETE FROM usage_buckets",
        "UPDATE usage_records SET rolled_up = false",
    ):
        with pytest.raises(StatementError, match="permission denied"):
            async with database.tenant(metered) as records:
                await records.users._connection.change(sa.text(statement))


async def test_nobody_sees_or_sums_another_tenants_usage(database: Database, metered: str) -> None:
    other = f"{metered}-other"
    await settled(database, other)
    await used(database, other, START)
    assert (await total(database, other, MONTH)).records == 1
    assert await rolled_up(database, other) == 1
    async with database.tenant(other) as records:
        count = await records.users._connection.value(sa.text("SELECT count(*) FROM usage_buckets"))
        assert await records.usage_buckets.rebuild(MONTH) == 1
    assert count == 1
    assert (await total(database, other, MONTH)).records == 1
    assert (await total(database, metered, MONTH)).records == 80


@pytest.mark.parametrize("rolled", [False, True])
async def test_five_days_east_of_greenwich_sum_up_to_the_range(database: Database, tenant: str, rolled: bool) -> None:
    await settled(database, tenant)
    zone = ZoneInfo("Asia/Kolkata")
    first = datetime(2026, 11, 3, tzinfo=zone)
    for number in range(120):
        await used(database, tenant, (first + number * HOUR + timedelta(minutes=29)).astimezone(UTC))
    if rolled:
        await rolled_up(database, tenant)
    range_ = Period.parse("2026-11-03", "2026-11-07", zone, START)
    days = await summed(database, tenant, AggregationQuery(UsageFilter(range_), step=TimeStep.DAY, zone=zone))
    assert [one.records for one in days.values()] == [24] * 5
    singles = [Period.parse(f"2026-11-0{day}", f"2026-11-0{day}", zone, START) for day in range(3, 8)]
    sums = [await total(database, tenant, one) for one in singles]
    assert sum(sums[1:], sums[0]) == await total(database, tenant, range_)
    assert sums == list(days.values())


async def test_days_on_which_clocks_change_have_23_and_25_hours(database: Database, tenant: str) -> None:
    await settled(database, tenant)
    zone = ZoneInfo("Europe/Berlin")
    for first in (datetime(2026, 3, 28, tzinfo=UTC), datetime(2026, 10, 24, tzinfo=UTC)):
        for number in range(96):
            await used(database, tenant, first + number * HOUR)
    await rolled_up(database, tenant)
    for day, hours in (("2026-03-29", 23), ("2026-10-25", 25)):
        period = Period.parse(day, day, zone, START)
        assert (await total(database, tenant, period)).records == hours
        each = AggregationQuery(UsageFilter(period), step=TimeStep.HOUR, zone=zone)
        assert [one.records for one in (await summed(database, tenant, each)).values()] == [1] * hours


async def test_two_keys_of_one_user_on_one_day_are_one_user(database: Database, tenant: str) -> None:
    runs = [await queued(database, tenant, key_id=new_id(), created_at=START) for _ in range(2)]
    for run in runs:
        await used(database, tenant, START + HOUR, run_id=run.run_id)
    await rolled_up(database, tenant)
    found = await summed(database, tenant, AggregationQuery(UsageFilter(MONTH), ("user",), TimeStep.DAY))
    assert {key: one.records for key, one in found.items()} == {(START, "alice"): 2}


async def test_dimensions_of_the_records_alone_and_filters(database: Database, tenant: str) -> None:
    await settled(database, tenant)
    run_id = new_id()
    await used(database, tenant, START, run_id=run_id, session_id="s-1", tags={"project": "x"})
    await used(database, tenant, START, session_id="s-2", tags={"project": "y"}, user_id="bob")
    await used(database, tenant, START, session_id="s-2", **{**TOOL, "user_id": "bob"})
    await rolled_up(database, tenant)

    async def counts(*dimensions: str, **values: tuple[str, ...]) -> dict[object, int]:
        query = AggregationQuery(UsageFilter(MONTH, values), dimensions)
        return {key[1:]: one.records for key, one in (await summed(database, tenant, query)).items()}

    assert await counts("session") == {("s-1",): 1, ("s-2",): 2}
    assert await counts("tag:project", "user") == {("x", "alice"): 1, ("y", "bob"): 1, ("", "bob"): 1}
    assert await counts("kind", **{"tag:project": ("",)}) == {("tool",): 1}
    assert await counts("user", run=(run_id,)) == {("alice",): 1}
    assert await counts("user", run=("nonsense",)) == {}
    assert await counts("user", model=("",)) == {("bob",): 1}
    assert await counts("tool", user=("alice", "bob"), kind=("tool",)) == {("search",): 1}


async def test_more_groups_than_are_told_become_one_and_none_is_lost(database: Database, tenant: str) -> None:
    await settled(database, tenant)
    for number in range(12):
        await used(database, tenant, START + number * HOUR, user_id=f"user-{number}", cost=Decimal(number))
    await rolled_up(database, tenant, 6)
    async with database.tenant(tenant) as records:
        query = AggregationQuery(UsageFilter(MONTH), ("user",), most=3)
        found = await records.usage_buckets.aggregate(query)
    assert found.truncated
    assert [group.key for group in found.groups] == [("user-11",), ("user-10",), ("user-9",), None]
    assert found.total.records == 12
    assert found.groups[-1].sums.costs == {"USD": Decimal(36)}


async def test_storage_is_measured_once_a_day(database: Database, tenant: str) -> None:
    run = await queued(database, tenant)
    async with database.tenant(tenant) as records:
        assert not await records.usage_buckets.measure_storage(START.date())
        await records.results.add(run.run_id, 1, 1, "x" * 5_000)
        await records.transcripts.append(run.run_id, Entry(1, 0, EntryKind.REPLY, "y" * 100, START))
    for expected in (True, False):
        async with database.tenant(tenant) as records:
            assert await records.usage_buckets.measure_storage(START.date()) is expected
    measured = await total(database, tenant, MONTH, kind=("storage",))
    assert measured.records == 0
    assert 24 * 5_100 <= measured.quantity <= 24 * 5_200


async def test_storage_costs_what_a_byte_hour_costs(database: Database, tenant: str) -> None:
    run = await queued(database, tenant)
    price = UnitPrice(Resource.STORAGE, "", "EUR", Decimal("0.0000001"), "tenant:1")
    async with database.tenant(tenant) as records:
        await records.results.add(run.run_id, 1, 1, "x" * 5_000)
    async with database.tenant(tenant) as records:
        assert await records.usage_buckets.measure_storage(START.date(), price)
    measured = await total(database, tenant, MONTH, kind=("storage",))
    assert measured.costs == {"EUR": measured.quantity * price.each}
    # A price of another currency is no reason to measure the same day again.
    async with database.tenant(tenant) as records:
        assert not await records.usage_buckets.measure_storage(START.date())


async def test_api_calls_are_counted_once_by_quarters_of_an_hour(database: Database, tenant: str) -> None:
    await settled(database, tenant)
    price = UnitPrice(Resource.API_CALL, "", "USD", Decimal("0.001"), "tenant:1")

    async def called(minute: int, kind: ServiceKind = ServiceKind.ENDPOINT) -> None:
        statistics = ServiceStatistics(2, 1, 0.5, 0.4, (1, 1))
        at = START + timedelta(minutes=minute)
        one = MinuteStatistics(kind, f"/x/{new_id()}", "2xx", at, new_id(), statistics)
        async with database.tenant(tenant) as records:
            await records.service_statistics.save([one])

    async def counted(until: int, of: UnitPrice | None = price) -> int:
        async with database.tenant(tenant) as records:
            return await records.usage_buckets.count_calls(START + timedelta(minutes=until), of)

    for minute in (0, 14, 15, 29, 30):
        await called(minute)
        await called(minute)
    await called(3, ServiceKind.AGENT)
    assert await counted(30) == 2
    # Nothing twice, whatever the price is meanwhile, and what comes late is not added to a bucket that exists.
    await called(1)
    assert [await counted(30), await counted(30, None)] == [0, 0]
    assert await counted(45, None) == 1
    found = await summed(database, tenant, AggregationQuery(UsageFilter(MONTH), ("kind",), TimeStep.QUARTER))
    assert {(key[0] - START, key[1]): (one.quantity, one.costs) for key, one in found.items()} == {
        (timedelta(), "api"): (Decimal(8), {"USD": Decimal("0.008")}),
        (BUCKET, "api"): (Decimal(8), {"USD": Decimal("0.008")}),
        (2 * BUCKET, "api"): (Decimal(4), {}),
    }


async def test_a_report_of_a_day_reads_by_indexes_and_by_one_statement(
    database: Database, tenant: str, admin: asyncpg.Connection
) -> None:
    await settled(database, tenant)
    await admin.execute(_MANY, tenant)
    while await rolled_up(database, tenant, 5_000):
        pass
    await admin.execute("VACUUM ANALYZE usage_buckets")
    await admin.execute("VACUUM ANALYZE usage_records")
    await used(database, tenant, START + HOUR)
    query = AggregationQuery(UsageFilter(Period(START, START + 24 * HOUR)), ("user", "model"), TimeStep.HOUR)
    async with database.tenant(tenant) as records, watched(records) as statements:
        found = await records.usage_buckets.aggregate(query)
        sent = await statements.texts()
        # A new connection also looks up types.
        plan = (await statements.plans())[-1]
    assert len([text for text in sent if "usage_" in text]) == 1
    assert plan.read_whole == frozenset()
    assert plan.indexes == {"usage_buckets_pkey", "usage_records_to_roll_up"}
    assert found.total.records == 24 * 60 + 1


_MANY = """
INSERT INTO usage_records (tenant_id, run_id, step, call, attempt, part, user_id, agent_id, model, input_tokens,
                           output_tokens, cached_tokens, duration_ms, at, kind)
SELECT $1, gen_random_uuid(), 1, 0, 1, 0, 'user-' || n % 7, 'agent', 'm', 1, 1, 0, 1,
       '2026-11-01Z'::timestamptz + n * interval '1 minute', 'model'
FROM generate_series(0, 20 * 24 * 60 - 1) n
"""
