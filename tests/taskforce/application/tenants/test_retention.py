"""What hangs on no run goes when its tenant keeps it no longer, each kind by its own setting, and nothing else does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from taskforce.application.tenants import retention
from taskforce.application.tenants.retention import erase_all_records, erase_records
from taskforce.core.domain.metering.aggregation import AggregationQuery, UsageFilter
from taskforce.core.domain.metering.periods import BUCKET, Period, next_bucket
from taskforce.core.domain.runs.run import Ending, RunStatus
from taskforce.core.domain.tenants.tenant import RecordKind, Tenant, TenantSettings
from taskforce.infrastructure.persistence.database import Database
from tests.fixtures.usage import rolled_up, total, used
from tests.taskforce.infrastructure.persistence.factories import queued, settled

DAYS = 30
NOW = datetime.now(UTC)
OLD, YOUNG = NOW - timedelta(days=DAYS + 1), NOW - timedelta(days=DAYS - 1)
TABLES: Mapping[RecordKind, Sequence[str]] = {
    RecordKind.ANSWER: ("stored_answers",),
    RecordKind.DELIVERY: ("webhook_deliveries", "webhook_attempts"),
    RecordKind.REQUEST: ("approvals", "approval_happenings"),
    RecordKind.USAGE: ("usage_records",),
}
ID = "gen_random_uuid()"
ADD: Mapping[RecordKind, str] = {
    RecordKind.ANSWER: (
        "INSERT INTO stored_answers (tenant_id, user_id, route, idempotency_key, body_hash, status, body, at) "
        f"VALUES (:tenant, 'alice', 'execute', {ID}::text, 'h', 200, '{{}}', :at)"
    ),
    RecordKind.DELIVERY: (
        "WITH made AS (INSERT INTO webhook_deliveries (tenant_id, delivery_id, webhook_id, event_id, event, subject, "
        f"at, created_at, status, finished_at) VALUES (:tenant, {ID}, {ID}, {ID}, 'test', '{{}}', :at, :at, "
        "'delivered', :at) RETURNING tenant_id, delivery_id) "
        "INSERT INTO webhook_attempts (tenant_id, delivery_id, number, at, excerpt, duration_ms) "
        "SELECT tenant_id, delivery_id, 1, :at, '', 1 FROM made"
    ),
    RecordKind.REQUEST: (
        "WITH made AS (INSERT INTO approvals (tenant_id, request_id, step, call, request_type, resource_type, "
        "resource_id, requester_id, title, payload, content_hash, terms, status, opened_at, closed_at, description, "
        f"current_hash, for_run, roles, people, acted) VALUES (:tenant, {ID}, 0, 0, 'custom', 'none', '', 'alice', "
        "'t', '{}', 'h', '{}', 'approved', :at, :at, '', 'h', false, '{}', '{}', 0) RETURNING tenant_id, request_id) "
        "INSERT INTO approval_happenings (tenant_id, request_id, happening, kind, actor_id, comment, data, at) "
        "SELECT tenant_id, request_id, 'closed', 'closed', 'system', '', '{}', :at FROM made"
    ),
    RecordKind.USAGE: (
        "INSERT INTO usage_records (tenant_id, run_id, step, call, attempt, part, user_id, agent_id, input_tokens, "
        f"output_tokens, cached_tokens, duration_ms, at, rolled_up) VALUES (:tenant, {ID}, 1, 0, 1, 0, 'alice', 'a', "
        "1, 1, 0, 1, :at, true)"
    ),
}


OF_RUN = (
    'INSERT INTO usage_records SELECT (r).* FROM (SELECT jsonb_populate_record(u, \'{{"run_id": "{}"}}\') AS r '
    "FROM usage_records u ORDER BY at LIMIT 1) copied"
)
TOLD = "SELECT details FROM audit_events WHERE action = 'answer.erase'"


@dataclass
class Keeping:
    """A tenant with records of every kind."""

    database: Database
    tenant_id: str

    async def settings(self, **days: int) -> None:
        async with self.database.tenant(self.tenant_id) as records:
            tenant = await records.tenant.locked()
            assert tenant is not None
            await records.tenant.save(replace(tenant, settings=TenantSettings.parse(days)))

    async def add(self, kind: RecordKind, at: datetime) -> None:
        async with self.database.tenant(self.tenant_id) as records:
            tenant = sa.bindparam("tenant", self.tenant_id, type_=sa.Text())
            when = sa.bindparam("at", at, type_=sa.DateTime(timezone=True))
            await records.users._connection.change(sa.text(ADD[kind]).bindparams(tenant, when))

    async def counts(self, kind: RecordKind) -> list[int]:
        async with self.database.tenant(self.tenant_id) as records:
            query = "SELECT count(*) FROM {}"
            return [await records.users._connection.value(sa.text(query.format(name))) for name in TABLES[kind]]

    async def tenants(self, after: str | None, most: int) -> Sequence[Tenant]:
        del most
        async with self.database.tenant(self.tenant_id) as records:
            tenant = await records.tenant.get()
        return [] if tenant is None or after else [tenant]


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
    assert await erase_all_records(keeping, keeping.database, NOW) == 2
    for one in RecordKind:
        assert set(await keeping.counts(one)) == {1 if one is kind else 3}


async def test_without_a_setting_everything_stays(keeping: Keeping) -> None:
    assert await erase_all_records(keeping, keeping.database, NOW) == 0
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
    assert await erase_all_records(keeping, keeping.database, NOW) == 2


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
    assert await erase_all_records(keeping, keeping.database, NOW) == 0


async def test_usage_of_a_run_that_is_open_stays(keeping: Keeping) -> None:
    await keeping.settings(usage_retention_days=DAYS)
    run = await queued(keeping.database, keeping.tenant_id)
    async with keeping.database.tenant(keeping.tenant_id) as records:
        await records.users._connection.change(sa.text(OF_RUN.format(run.run_id)))
    assert await erase_all_records(keeping, keeping.database, NOW) == 2
    assert await keeping.counts(RecordKind.USAGE) == [2]
    async with keeping.database.tenant(keeping.tenant_id) as records:
        await records.runs.close(run.run_id, Ending(RunStatus.FAILED), None, NOW)
    assert await erase_all_records(keeping, keeping.database, NOW) == 1


async def test_usage_that_is_in_no_bucket_stays_until_it_is(keeping: Keeping) -> None:
    await keeping.settings(usage_retention_days=DAYS)
    await used(keeping.database, keeping.tenant_id, OLD)
    assert await erase_all_records(keeping, keeping.database, NOW) == 2
    assert await keeping.counts(RecordKind.USAGE) == [2]
    period = Period(next_bucket(OLD) - BUCKET, next_bucket(NOW))
    before = await total(keeping.database, keeping.tenant_id, period)
    assert await rolled_up(keeping.database, keeping.tenant_id) == 1
    assert await erase_all_records(keeping, keeping.database, NOW) == 1
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
    assert await erase_all_records(keeping, keeping.database, NOW) == 1
    async with keeping.database.tenant(keeping.tenant_id) as records:
        told = await records.users._connection.all(sa.text(TOLD))
    assert [row.details["erased"] for row in told] == [1, 1]
