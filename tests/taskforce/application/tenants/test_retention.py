"""What hangs on no run goes when its tenant keeps it no longer, each kind by its own setting, and nothing else does."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from taskforce.application.tenants import retention
from taskforce.application.tenants.retention import erase_all_records, erase_records
from taskforce.core.domain.metering.aggregation import AggregationQuery, UsageFilter
from taskforce.core.domain.metering.periods import BUCKET, Period, next_bucket
from taskforce.core.domain.runs.run import Ending, RunStatus
from taskforce.core.domain.tenants.tenant import RecordKind
from taskforce.infrastructure.persistence.database import Database
from tests.fixtures.usage import rolled_up, total, used
from tests.taskforce.application.tenants.kept_records import Keeping
from tests.taskforce.infrastructure.persistence.factories import queued, settled

DAYS = 30
NOW = datetime.now(UTC)
OLD, YOUNG = NOW - timedelta(days=DAYS + 1), NOW - timedelta(days=DAYS - 1)
OF_RUN = (
    'INSERT INTO usage_records SELECT (r).* FROM (SELECT jsonb_populate_record(u, \'{{"run_id": "{}"}}\') AS r '
    "FROM usage_records u ORDER BY at LIMIT 1) copied"
)
TOLD = "SELECT details FROM audit_events WHERE action = 'answer.erase'"


@pytest.fixture
async def keeping(database: Database, tenant: str) -> Keeping:
    await settled(database, tenant)
    made = Keeping(database, tenant)
    for kind in RecordKind:
        for at in (OLD, OLD, YOUNG):
            await made.add(kind, at)
    return made


@pytest.mark.parametrize("kind", RecordKind)
async def test_each_kind_goes_by_its_own_setting_and_no_other(keeping: Keeping, kind: RecordKind) -> None:
    await keeping.settings(**{f"{kind}_retention_days": DAYS})
    assert await erase_all_records(keeping.rows, keeping.database, NOW) == 2
    for one in RecordKind:
        assert set(await keeping.counts(one)) == {1 if one is kind else 3}


async def test_without_a_setting_everything_stays(keeping: Keeping) -> None:
    assert await erase_all_records(keeping.rows, keeping.database, NOW) == 0
    assert {count for kind in RecordKind for count in await keeping.counts(kind)} == {3}


@pytest.mark.parametrize("kind", RecordKind)
async def test_whoever_calls_the_function_gets_rid_of_nothing_that_the_setting_keeps(
    keeping: Keeping, kind: RecordKind
) -> None:
    await keeping.settings(**{f"{kind}_retention_days": DAYS})
    async with keeping.database.tenant(keeping.tenant_id) as records:
        assert await records.tenant.erase_records(kind, NOW + timedelta(days=99), 100) == 2
    await keeping.settings()
    async with keeping.database.tenant(keeping.tenant_id) as records:
        assert await records.tenant.erase_records(kind, NOW + timedelta(days=99), 100) == 0


@pytest.mark.parametrize(
    ("kind", "young"),
    [
        (RecordKind.DELIVERY, "UPDATE webhook_deliveries SET finished_at = finished_at - interval '90 days'"),
        (RecordKind.REQUEST, "UPDATE approvals SET closed_at = closed_at - interval '90 days'"),
    ],
)
async def test_a_row_that_says_that_it_is_old_is_not_believed(keeping: Keeping, kind: RecordKind, young: str) -> None:
    await keeping.settings(**{f"{kind}_retention_days": DAYS})
    async with keeping.database.tenant(keeping.tenant_id) as records:
        await records.users._connection.change(sa.text(young))
    assert await erase_all_records(keeping.rows, keeping.database, NOW) == 2


@pytest.mark.parametrize(
    ("kind", "reopen"),
    [
        (RecordKind.DELIVERY, "UPDATE webhook_deliveries SET status = 'pending', finished_at = NULL"),
        (RecordKind.REQUEST, "UPDATE approvals SET status = 'pending', closed_at = NULL"),
    ],
)
async def test_what_is_open_stays(keeping: Keeping, kind: RecordKind, reopen: str) -> None:
    await keeping.settings(**{f"{kind}_retention_days": DAYS})
    async with keeping.database.tenant(keeping.tenant_id) as records:
        await records.users._connection.change(sa.text(reopen))
    assert await erase_all_records(keeping.rows, keeping.database, NOW) == 0


async def test_usage_of_a_run_that_is_open_stays(keeping: Keeping) -> None:
    await keeping.settings(usage_retention_days=DAYS)
    run = await queued(keeping.database, keeping.tenant_id)
    async with keeping.database.tenant(keeping.tenant_id) as records:
        await records.users._connection.change(sa.text(OF_RUN.format(run.run_id)))
    assert await erase_all_records(keeping.rows, keeping.database, NOW) == 2
    assert await keeping.counts(RecordKind.USAGE) == [2]
    async with keeping.database.tenant(keeping.tenant_id) as records:
        await records.runs.close(run.run_id, Ending(RunStatus.FAILED), None, NOW)
    assert await erase_all_records(keeping.rows, keeping.database, NOW) == 1


async def test_usage_that_is_in_no_bucket_stays_until_it_is(keeping: Keeping) -> None:
    await keeping.settings(usage_retention_days=DAYS)
    await used(keeping.database, keeping.tenant_id, OLD)
    assert await erase_all_records(keeping.rows, keeping.database, NOW) == 2
    assert await keeping.counts(RecordKind.USAGE) == [2]
    period = Period(next_bucket(OLD) - BUCKET, next_bucket(NOW))
    before = await total(keeping.database, keeping.tenant_id, period)
    assert await rolled_up(keeping.database, keeping.tenant_id) == 1
    assert await erase_all_records(keeping.rows, keeping.database, NOW) == 1
    # The sums stay, and are not made anew of what is left.
    assert await total(keeping.database, keeping.tenant_id, period) == before
    async with keeping.database.tenant(keeping.tenant_id) as records:
        assert await records.usage_buckets.rebuild(period) is None
        found = await records.usage_buckets.aggregate(AggregationQuery(UsageFilter(period), ("run",)))
    assert not found.whole


async def test_batches_are_erased_and_audited_one_by_one(keeping: Keeping, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "ERASE_BATCH", 1)
    await keeping.settings(answer_retention_days=DAYS)
    assert await erase_records(keeping.database, keeping.tenant_id, RecordKind.ANSWER, NOW) == 1
    assert await erase_all_records(keeping.rows, keeping.database, NOW) == 1
    async with keeping.database.tenant(keeping.tenant_id) as records:
        told = await records.users._connection.all(sa.text(TOLD))
    assert [row.details["erased"] for row in told] == [1, 1]
