"""What is to be erased is found by one statement for all tenants; those without any are not visited."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from taskforce.application.approvals.results import erase_all_old_results
from taskforce.application.audit.retention import drop_all_expired
from taskforce.application.audit.sealing import seal_tenant
from taskforce.application.metering.budget_retention import LEAST_KEPT, erase_all_ledgers
from taskforce.application.reporting.service_statistics import StatisticsLog
from taskforce.application.runs.retention import erase_all_expired
from taskforce.application.tenants.retention import erase_all_records
from taskforce.core.domain.approvals.records import RequestResult
from taskforce.core.domain.ids import new_id
from taskforce.core.domain.metering.budgets import Budget, BudgetPeriod, BudgetScope, BudgetTerms, BudgetUnit, LedgerKey
from taskforce.core.domain.runs.run import Ending, RunStatus
from taskforce.core.domain.tenants.tenant import RecordKind, TenantSettings
from taskforce.core.interfaces.expired_rows import ExpiredKind, ExpiredRows
from taskforce.core.interfaces.metrics import ModelCalled
from taskforce.core.interfaces.store import Store
from taskforce.infrastructure.persistence.database import Database
from tests.fixtures.expired_tenants import Among
from tests.fixtures.plans import watched
from tests.taskforce.application.audit.logs import append
from tests.taskforce.application.tenants.kept_records import Keeping
from tests.taskforce.infrastructure.persistence.factories import queued, request, settled

DAYS = 30
NOW = datetime.now(UTC)
DAY = timedelta(days=1)
EVERY = {f"{kind}_retention_days": DAYS for kind in ("data", *RecordKind)}


async def full(database: Database, tenant_id: str, at: datetime) -> None:
    """A tenant with a row of each kind, as old as that, and a setting for each."""
    await settled(database, tenant_id)
    keeping = Keeping(database, tenant_id)
    await keeping.settings(**EVERY)
    for kind in RecordKind:
        await keeping.add(kind, at)
    run = await queued(database, tenant_id)
    asked = request(run.run_id)
    async with database.tenant(tenant_id) as records:
        await records.runs.close(run.run_id, Ending(RunStatus.FAILED), None, at)
        await records.requests.add(asked)
        kept_until = at + DAYS * DAY
        await records.request_results.begin(RequestResult(asked.approval.request_id, "text/plain", "x", at, kept_until))
    await ledger(database, tenant_id, at - (LEAST_KEPT - DAYS * DAY))
    counted = StatisticsLog(lambda: at)
    counted.observed(tenant_id, [ModelCalled("gpt-4o", 1.0, 1, 1, 0)])
    await counted.flush(database)
    await append(database, tenant_id, at)
    await seal_tenant(database, tenant_id)


async def ledger(database: Database, tenant_id: str, start: datetime) -> None:
    """A ledger of a budget, of a period that began then."""
    terms = BudgetTerms("All", BudgetScope.TENANT, BudgetUnit.TOKENS, "100", BudgetPeriod.MONTH)
    budget = Budget.stated(terms, new_id(), "ada", NOW)
    async with database.tenant(tenant_id) as records:
        await records.budgets.add(budget)
        await records.budgets.raise_ledger(LedgerKey(budget.budget_id, "", start), Decimal(1))


@pytest.mark.parametrize("kind", ExpiredKind)
async def test_a_tenant_is_told_of_once_a_row_of_the_kind_is_old_enough(
    database: Database, tenant: str, kind: ExpiredKind
) -> None:
    old, young, silent = (f"{tenant}-{name}" for name in ("old", "young", "silent"))
    await full(database, old, NOW - (DAYS + 1) * DAY)
    await full(database, young, NOW - (DAYS - 1) * DAY)
    await full(database, silent, NOW - (DAYS + 1) * DAY)
    async with database.tenant(silent) as records:
        found = await records.tenant.locked()
        assert found is not None
        await records.tenant.save(replace(found, settings=TenantSettings()))
    at = NOW - DAYS * DAY if kind in {ExpiredKind.AUDIT, ExpiredKind.STATISTICS} else NOW
    told = [one.tenant_id for one in await Among(database, old, young, silent).expired_tenants(kind, at)]
    # Of these the tenant has no setting.
    without = {ExpiredKind.AUDIT, ExpiredKind.RESULT, ExpiredKind.STATISTICS}
    assert told == ([old, silent] if kind in without else [old])


class Counted:
    """The database; it counts the visits of tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.visits = 0

    def tenant(self, tenant_id: str) -> AbstractAsyncContextManager[Any]:
        self.visits += 1
        return self._database.tenant(tenant_id)


Sweep = Callable[[ExpiredRows, Store], Awaitable[int]]
SWEEPS: Sequence[tuple[Sweep, int]] = (
    (lambda rows, store: drop_all_expired(rows, store, DAYS, NOW), 1),
    (lambda rows, store: erase_all_expired(rows, store, NOW), 1),
    (lambda rows, store: erase_all_records(rows, store, NOW), len(RecordKind)),
    (lambda rows, store: erase_all_old_results(rows, store, NOW), 1),
    (lambda rows, store: erase_all_ledgers(rows, store, NOW), 1),
)


@pytest.mark.parametrize(("sweep", "looks"), SWEEPS, ids=["audit", "runs", "records", "results", "ledgers"])
async def test_a_pass_with_nothing_to_erase_visits_no_tenant(
    database: Database, tenant: str, sweep: Sweep, looks: int
) -> None:
    tenants = [f"{tenant}-{number}" for number in range(5)]
    for one in tenants:
        await full(database, one, NOW - (DAYS - 1) * DAY)
    rows, counted = Among(database, *tenants), Counted(database)
    assert await sweep(rows, counted) == 0  # type: ignore[arg-type]  # of the store it needs `tenant`
    assert (rows.asked, counted.visits) == (looks, 0)


@pytest.mark.parametrize("kind", ExpiredKind)
async def test_a_look_at_all_tenants_is_one_statement_and_leaves_the_transaction_as_it_was(
    database: Database, tenant: str, kind: ExpiredKind
) -> None:
    await full(database, tenant, NOW)
    async with database._platform("") as records:
        async with watched(records) as statements:
            await records.expired_tenants(kind, NOW)
            assert len(await statements.texts()) == 1
        assert await records._connection.value(sa.text("SELECT current_setting('app.tenant_id')")) == ""


async def test_a_tenant_learns_nothing_of_the_others(database: Database, tenant: str) -> None:
    await full(database, tenant, NOW - (DAYS + 1) * DAY)
    async with database.tenant(f"{tenant}-other") as records:
        asked = sa.text("SELECT tenants_with_expired_rows('run', now())")
        assert await records.users._connection.all(asked) == []
