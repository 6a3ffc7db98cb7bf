"""Whatever is used, rolled up, rebuilt and moved, in whatever order: reports say what a plain sum of it all says."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from taskforce.core.domain.metering.aggregation import AggregationQuery, UsageFilter, UsageSums
from taskforce.core.domain.metering.periods import BUCKET, Period, TimeStep
from taskforce.core.domain.metering.prices import Resource, UnitPrice
from taskforce.infrastructure.persistence.database import Database
from tests.fixtures.usage import rolled_up, summed, used
from tests.taskforce.infrastructure.persistence.factories import queued

# Clocks change on 25 October in Berlin, on the 30th at midnight in Cairo, on 1 November after midnight in Havana.
START = datetime(2026, 10, 22, tzinfo=UTC)
QUARTERS = 12 * 96
ZONES = ("UTC", "Asia/Kathmandu", "Europe/Berlin", "Africa/Cairo", "America/Havana", "Pacific/Kiritimati")
STEPS = (TimeStep.NONE, TimeStep.DAY, TimeStep.WEEK, TimeStep.MONTH, TimeStep.HOUR)
BYTES, PRICE = 100, UnitPrice(Resource.STORAGE, "", "EUR", Decimal("0.000001"), "tenant:1")
MOVE = sa.text(
    "UPDATE tenants SET settings = settings || jsonb_build_object('time_zone', :zone) WHERE tenant_id = :tenant_id"
).bindparams(sa.bindparam("zone", type_=sa.Text()), sa.bindparam("tenant_id", type_=sa.Text()))

Sums = Mapping[tuple[object, ...], UsageSums]
# Around the changes, and a few days only, so that much falls on the same one.
places = st.builds(lambda day, quarter: day * 96 + quarter, st.sampled_from([0, 2, 3, 8, 9, 10]), st.integers(0, 95))


@dataclass(frozen=True)
class Use:
    """Records of one place in time, each some minutes after the one before."""

    place: int
    times: int
    user: str
    tokens: int
    failed: bool


@dataclass(frozen=True)
class Roll:
    most: int


@dataclass(frozen=True)
class Move:
    zone: str


@dataclass(frozen=True)
class Rebuild:
    start: int
    quarters: int


@dataclass(frozen=True)
class Measure:
    day: int


Act = Use | Roll | Move | Rebuild | Measure
uses = st.builds(Use, places, st.integers(1, 6), st.sampled_from(["ada", "bob"]), st.integers(0, 9), st.booleans())
acts = st.one_of(
    uses,
    uses,
    st.builds(Roll, st.integers(1, 12)),
    st.builds(Roll, st.integers(1, 12)),
    st.builds(Move, st.sampled_from([*ZONES, "Mars/Olympus"])),
    st.builds(Rebuild, places, st.integers(1, 300)),
    st.builds(Measure, st.integers(0, 11)),
)
periods = st.builds(
    lambda start, quarters: Period(START + start * BUCKET, START + (start + quarters) * BUCKET),
    places,
    st.integers(1, QUARTERS),
)
queries = st.builds(
    lambda period, step, zone: AggregationQuery(UsageFilter(period), ("user", "kind"), step, ZoneInfo(zone)),
    periods,
    st.sampled_from(STEPS),
    st.sampled_from(ZONES),
)


class Ledger:
    """A tenant, and beside it a plain list of all that it has used."""

    def __init__(self, database: Database, tenant_id: str) -> None:
        self.zone = "UTC"
        self._database = database
        self._tenant_id = tenant_id
        self._used: list[tuple[datetime, str, str, UsageSums]] = []
        self._measured: set[int] = set()

    async def do(self, act: Act) -> None:
        match act:
            case Use():
                await self._use(act)
            case Roll(most):
                await rolled_up(self._database, self._tenant_id, most)
            case Move(zone):
                self.zone = zone if zone in ZONES else self.zone
                async with self._database.tenant(self._tenant_id) as records:
                    values = {"zone": zone, "tenant_id": self._tenant_id}
                    await records.users._connection.change(MOVE, values)
            case Rebuild(start, quarters):
                async with self._database.tenant(self._tenant_id) as records:
                    period = Period(START + start * BUCKET, START + (start + quarters) * BUCKET)
                    assert await records.usage_buckets.rebuild(period) is not None
            case Measure(day):
                await self._measure(day)

    async def agrees(self, query: AggregationQuery) -> None:
        found = await summed(self._database, self._tenant_id, query)
        assert found == _plain(query, self._used)

    async def _use(self, act: Use) -> None:
        for number in range(act.times):
            at = START + act.place * BUCKET + number * timedelta(minutes=97, seconds=3)
            cost = Decimal(f"0.00000000{act.tokens}1")
            said = {"input_tokens": act.tokens, "output_tokens": 0, "duration_ms": 5, "cost": cost}
            failed = {"error_code": "rate_limited"} if act.failed else {}
            await used(self._database, self._tenant_id, at, user_id=act.user, **said, **failed)
            sums = UsageSums(
                records=1,
                failed=int(act.failed),
                input_tokens=act.tokens,
                wasted_tokens=act.tokens * act.failed,
                duration_ms=5,
                costs={"USD": cost},
            )
            self._used.append((at, act.user, "model", sums))

    async def _measure(self, day: int) -> None:
        at = START + timedelta(days=day)
        async with self._database.tenant(self._tenant_id) as records:
            added = await records.usage_buckets.measure_storage(at.date(), PRICE)
        assert added is (day not in self._measured)
        if added:
            quantity = Decimal(BYTES * 24)
            sums = UsageSums(quantity=quantity, costs={"EUR": quantity * PRICE.each})
            self._used.append((at, "", "storage", sums))
        self._measured.add(day)


def _plain(query: AggregationQuery, facts: Iterable[tuple[datetime, str, str, UsageSums]]) -> Sums:
    parts: dict[tuple[object, ...], list[UsageSums]] = defaultdict(list)
    for at, user, kind, sums in facts:
        if query.which.period.start <= at < query.which.period.end:
            parts[query.bounds[bisect_right(query.bounds, at) - 1], user, kind].append(sums)
    return {key: UsageSums.of(own) for key, own in parts.items()}


# To look for the shortest sequence that fails takes minutes, for each act is one of a real database.
@settings(
    max_examples=8,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(done=st.lists(st.tuples(acts, queries), min_size=8, max_size=20))
async def test_reports_say_what_a_plain_sum_says(
    database: Database, done: Sequence[tuple[Act, AggregationQuery]]
) -> None:
    tenant_id = f"days-{uuid4().hex[:12]}"
    run = await queued(database, tenant_id)
    async with database.tenant(tenant_id) as records:
        await records.results.add(run.run_id, 1, 1, "x" * BYTES)
    ledger = Ledger(database, tenant_id)
    for act, query in done:
        await ledger.do(act)
        await ledger.agrees(query)
        await ledger.agrees(_whole(ledger.zone, TimeStep.DAY))
    while await _is_behind(database, tenant_id):
        await ledger.agrees(_whole(ledger.zone, TimeStep.DAY))
    for zone in ZONES:
        await ledger.agrees(_whole(zone, TimeStep.DAY))


def _whole(zone: str, step: TimeStep) -> AggregationQuery:
    period = Period(START - timedelta(days=2), START + timedelta(days=14))
    return AggregationQuery(UsageFilter(period), ("user", "kind"), step, ZoneInfo(zone))


async def _is_behind(database: Database, tenant_id: str) -> bool:
    added = await rolled_up(database, tenant_id, 50)
    async with database.tenant(tenant_id) as records:
        return await records.usage_buckets.follow_zone() or added > 0


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Africa/Cairo", "America/Havana"])
async def test_a_whole_report_of_a_zone_is_read_by_days(database: Database, tenant: str, zone: str) -> None:
    await queued(database, tenant)
    ledger = Ledger(database, tenant)
    await ledger.do(Move(zone))
    for place in range(0, QUARTERS, 3):
        await ledger.do(Use(place, 1, "ada", place % 7, failed=False))
    while await _is_behind(database, tenant):
        pass
    for step in STEPS:
        await ledger.agrees(_whole(zone, step))
    async with database.tenant(tenant) as records:
        left = await records.users._connection.value(sa.text("SELECT usage_days_since::text FROM tenants"))
        days = await records.users._connection.value(sa.text("SELECT sum(records)::integer FROM usage_days"))
    assert (left, days) == ("-infinity", QUARTERS // 3)
