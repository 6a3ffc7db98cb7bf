"""Pages of usage records: in order, each once, and of bounded cost whatever is filtered."""

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from taskforce.core.domain.ids import new_id
from taskforce.core.domain.metering.aggregation import UsageFilter
from taskforce.core.domain.metering.periods import Period
from taskforce.core.domain.metering.usage_records import RecordPlace, UsageRecord
from taskforce.infrastructure.config.settings import driver_arguments
from taskforce.infrastructure.persistence.database import Database
from taskforce.infrastructure.persistence.repositories import usage_records
from tests.fixtures.plans import watched
from tests.fixtures.stack import DatabaseUrls
from tests.fixtures.usage import TOOL, used
from tests.taskforce.infrastructure.persistence.factories import settled

START = datetime(2026, 11, 1, tzinfo=UTC)
MONTH = Period(START, datetime(2026, 12, 1, tzinfo=UTC))


async def pages(database: Database, tenant: str, which: UsageFilter, most: int) -> list[list[UsageRecord]]:
    found: list[list[UsageRecord]] = []
    after: RecordPlace | None = None
    while True:
        async with database.tenant(tenant) as records:
            page = await records.usage_buckets.records(which, after, most)
        found.append(list(page.records))
        if (after := page.following) is None:
            return found


@pytest.mark.parametrize("looked_at", [2_000, 4])
async def test_pages_hold_each_record_once_newest_first(
    database: Database, tenant: str, monkeypatch: pytest.MonkeyPatch, looked_at: int
) -> None:
    monkeypatch.setattr(usage_records, "LOOKED_AT", looked_at)
    await settled(database, tenant)
    run_id = new_id()
    for number in range(11):
        # Several of one moment, as a step has them.
        at = START + timedelta(minutes=number // 3)
        await used(database, tenant, at, run_id=run_id, step=number, user_id=f"user-{number % 5}")
        await used(database, tenant, at, run_id=run_id, step=number, **TOOL)
    whole = [record.place for page in await pages(database, tenant, UsageFilter(MONTH), 100) for record in page]
    assert whole == sorted(set(whole), reverse=True)
    assert len(whole) == 22
    for values in ({}, {"user": ("user-3",)}, {"kind": ("tool",)}, {"run": (run_id,)}, {"user": ("nobody",)}):
        which = UsageFilter(MONTH, values)
        found = [record for page in await pages(database, tenant, which, 3) for record in page]
        chosen = [one for one in found if not values or values.keys() != {"user"} or one.user_id in values["user"]]
        assert found == chosen
        expected = {(): 22, ("user-3",): 2, ("tool",): 11, (run_id,): 22, ("nobody",): 0}
        assert len(found) == expected[next(iter(values.values()), ())]


async def test_a_page_costs_no_more_however_rare_is_what_a_filter_chooses(
    database: Database, tenant: str, postgres: DatabaseUrls
) -> None:
    await settled(database, tenant)
    admin = await asyncpg.connect(**driver_arguments(postgres.admin))
    try:
        await admin.execute(_MANY, tenant)
        await admin.execute("VACUUM ANALYZE usage_records")
    finally:
        await admin.close()
    last = RecordPlace(START + timedelta(days=5), new_id(), 1, 0, 1, 0)
    rare: list[dict[str, tuple[str, ...]]] = [{"user": ("nobody",)}, {"session": ("s",), "kind": ("tool",)}]
    rare += [{"tag:x": ("y",)}, {"run": (new_id(),)}, {}]
    for values in rare:
        for after in (None, last):
            async with database.tenant(tenant) as records, watched(records) as statements:
                await records.usage_buckets.records(UsageFilter(MONTH, values), after, 20)
                plan = (await statements.plans())[-1]
            assert plan.read_whole == frozenset()
            assert plan.visited <= usage_records.LOOKED_AT + 50, (values, plan.root)


_MANY = """
INSERT INTO usage_records (tenant_id, run_id, step, call, attempt, part, user_id, agent_id, model, input_tokens,
                           output_tokens, cached_tokens, duration_ms, at, kind)
SELECT $1, gen_random_uuid(), 1, 0, 1, 0, 'user-' || n % 7, 'agent', 'm', 1, 1, 0, 1,
       '2026-11-01Z'::timestamptz + n * interval '1 minute', 'model'
FROM generate_series(0, 12000) n
"""
