"""Usage: how fast records are rolled up, and how long aggregations take beside a count of the same records."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from zoneinfo import ZoneInfo

import asyncpg

from bench.stack import BenchStack, Say
from taskforce.application.reporting.rollup import BATCH
from taskforce.core.domain.metering.aggregation import AggregationQuery, UsageFilter
from taskforce.core.domain.metering.periods import Period, TimeStep
from taskforce.infrastructure.persistence.tenant_records import TenantRecords

TENANT, WITHOUT_DAYS = "metered", "metered-without-days"
FEWER = 5
"""How many times fewer records the tenant has whose days nobody sums up."""
RECORDS_OF_A_RUN = 10
"""Its beginning, five model calls and four tool calls."""
_START = datetime(2026, 10, 31, 18, 30, tzinfo=UTC)
_MONTH = Period(_START, datetime(2026, 11, 30, 18, 30, tzinfo=UTC))
_ZONE = ZoneInfo("Asia/Kolkata")
_WHOLE = UsageFilter(_MONTH)
# 200 users in 8 departments, of whom each has 3 of 20 agents; runs are spread over 30 days.
_FILL = """
INSERT INTO usage_records (tenant_id, run_id, step, call, attempt, part, user_id, agent_id, model, provider, tool,
                           input_tokens, output_tokens, cached_tokens, duration_ms, at, kind, session_id, department,
                           cost_center, cost, currency)
SELECT $1, r.run_id, c.step, c.call, 1, 0, 'user-' || r.person, 'agent-' || (r.person + r.number / 200 % 3 * 7) % 20,
       CASE WHEN c.kind = 'model' THEN 'openai/model-' || r.number % 5 END,
       CASE WHEN c.kind = 'model' THEN 'openai' END,
       CASE WHEN c.kind = 'tool' THEN 'tool-' || (r.number + c.step) % 8 END,
       CASE WHEN c.kind = 'model' THEN 1000 + r.number % 500 ELSE 0 END,
       CASE WHEN c.kind = 'model' THEN 200 ELSE 0 END, 0, 300,
       $3::timestamptz + r.number * (interval '30 days' / $2::integer) + c.step * interval '2 seconds', c.kind,
       'session-' || r.number / 3, 'department-' || r.person % 8, 'center-' || r.person % 8,
       CASE WHEN c.kind = 'model' THEN 0.0012345 END, CASE WHEN c.kind = 'model' THEN 'USD' END
FROM (SELECT number, number * 79 % 200 AS person, gen_random_uuid() AS run_id
      FROM generate_series(0, $2::integer - 1) number) r,
     (SELECT step, 0 AS call, CASE WHEN step = 0 THEN 'run' ELSE 'model' END AS kind FROM generate_series(0, 5) step
      UNION ALL SELECT step, 1, 'tool' FROM generate_series(1, 4) step) c
"""
_SETTLE = "UPDATE tenants SET settings = settings || jsonb_build_object('time_zone', $2::text) WHERE tenant_id = $1"
_COUNT = "SELECT count(*) FROM usage_records WHERE tenant_id = $1 AND at >= $2 AND at < $3"
Ask = Callable[[TenantRecords], Awaitable[object]]


def _by(*dimensions: str, step: TimeStep = TimeStep.NONE) -> Ask:
    return lambda records: records.usage_buckets.aggregate(AggregationQuery(_WHOLE, dimensions, step, _ZONE))


COUNT = "count of the records"
ASKED: Mapping[str, Ask] = {
    "totals": _by(),
    "by day": _by(step=TimeStep.DAY),
    "by day and model": _by("model", step=TimeStep.DAY),
    "by day and user": _by("user", step=TimeStep.DAY),
    "by user, agent and model": _by("user", "agent", "model"),
    "by hour": _by(step=TimeStep.HOUR),
    "by session, of the records": _by("session"),
    "the newest page of records": lambda records: records.usage_buckets.records(_WHOLE, None, 20),
}


@dataclass(frozen=True, slots=True)
class UsageRow:
    """Holds the measurements of one question.

    Attributes:
        what: The question.
        p50_ms: Milliseconds of an answer.
        ratio: How much longer it takes than the count.
    """

    what: str
    p50_ms: float
    ratio: float


@dataclass(frozen=True, slots=True)
class Usage:
    """Holds the measurements of usage.

    Attributes:
        records: Usage records.
        buckets: Buckets that they became.
        rolled_per_second: Records that one rollup takes in a second.
        days_slow_down: How much longer it takes than without sums by days.
        rows: The questions.
    """

    records: int
    buckets: int
    rolled_per_second: float
    days_slow_down: float
    rows: Sequence[UsageRow]


async def measure_usage(stack: BenchStack, runs: int, rounds: int, say: Say) -> Usage:
    """Makes the records of runs, rolls them up, and asks every question by turns.

    Args:
        stack: The stack; no process of the product is needed.
        runs: The number of runs.
        rounds: How often each question is asked.
        say: Receives progress messages.
    """
    records = runs * RECORDS_OF_A_RUN
    for tenant_id in (TENANT, WITHOUT_DAYS):
        await stack.database.register_tenant(tenant_id, _START)
    admin = await asyncpg.connect(stack.admin_url)
    try:
        say(f"making {records:,} usage records")
        await admin.execute(_SETTLE, TENANT, _ZONE.key)
        await admin.execute(_FILL, TENANT, runs, _START, timeout=600)
        await admin.execute(_FILL, WITHOUT_DAYS, runs // FEWER, _START, timeout=600)
        await admin.execute("VACUUM ANALYZE usage_records", timeout=600)
        rolled, slow_down = await _rolled_up(stack, records, say)
        for table in ("usage_records", "usage_buckets", "usage_days"):
            await admin.execute(f"DELETE FROM {table} WHERE tenant_id = $1", WITHOUT_DAYS, timeout=600)
            await admin.execute(f"VACUUM ANALYZE {table}", timeout=600)
        buckets = await admin.fetchval("SELECT count(*) FROM usage_buckets WHERE tenant_id = $1", TENANT)
        taken: dict[str, list[float]] = {what: [] for what in (COUNT, *ASKED)}
        for number in range(rounds):
            say(f"asking for usage, {number + 1} of {rounds}")
            taken[COUNT].append(await _counted(admin))
            for what, ask in ASKED.items():
                taken[what].append(await _milliseconds(stack, ask))
    finally:
        await admin.close()
    count = median(taken[COUNT])
    rows = [UsageRow(what, median(each), median(each) / count) for what, each in taken.items()]
    return Usage(records, buckets, rolled, slow_down, rows)


async def _rolled_up(stack: BenchStack, records: int, say: Say) -> tuple[float, float]:
    """Rolls up both tenants, a batch of each by turns; returns records per second with days, and what those cost."""
    seconds, done = {TENANT: 0.0, WITHOUT_DAYS: 0.0}, {TENANT: 0, WITHOUT_DAYS: 0}
    slow_down = 0.0
    while done[TENANT] < records:
        for tenant_id in (TENANT, WITHOUT_DAYS) if done[WITHOUT_DAYS] < records // FEWER else (TENANT,):
            began = time.perf_counter()
            async with stack.database.tenant(tenant_id) as tenant:
                if tenant_id == TENANT:
                    await tenant.usage_buckets.follow_zone()
                done[tenant_id] += await tenant.usage_buckets.roll_up(BATCH)
            seconds[tenant_id] += time.perf_counter() - began
        if done[WITHOUT_DAYS] == done[TENANT]:
            slow_down = seconds[TENANT] / seconds[WITHOUT_DAYS]
        say(f"rolling up, {done[TENANT]:,} of {records:,}")
    return records / seconds[TENANT], slow_down


async def _counted(admin: "asyncpg.Connection[asyncpg.Record]") -> float:
    began = time.perf_counter()
    await admin.fetchval(_COUNT, TENANT, _MONTH.start, _MONTH.end)
    return (time.perf_counter() - began) * 1_000


async def _milliseconds(stack: BenchStack, ask: Ask) -> float:
    async with stack.database.tenant(TENANT) as records:
        began = time.perf_counter()
        await ask(records)
        return (time.perf_counter() - began) * 1_000
