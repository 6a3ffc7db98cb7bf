"""Ledgers of budgets under changes of their budgets, in time, and as the metrics see them."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from taskforce.application.metering.budget_retention import LEAST_KEPT, erase_all_ledgers
from taskforce.core.domain.ids import new_id
from taskforce.core.domain.metering.budget_ledgers import Draw
from taskforce.core.domain.metering.budgets import (
    Budget,
    BudgetPeriod,
    BudgetScope,
    BudgetTerms,
    BudgetUnit,
    LedgerKey,
)
from taskforce.core.domain.runs.run import Ending, RunStatus
from taskforce.core.domain.tenants.tenant import TenantSettings
from taskforce.core.interfaces.metrics import BudgetUsed
from taskforce.core.interfaces.repositories.budgets import CallKey
from taskforce.infrastructure.persistence.database import Database
from tests.fixtures.expired_tenants import Among
from tests.taskforce.infrastructure.persistence.factories import queued, settled

NOW = datetime(2026, 3, 15, 12, tzinfo=UTC)
MONTH = NOW.replace(day=1, hour=0)


@pytest.fixture(autouse=True)
async def _settled(database: Database, tenant: str) -> None:
    await settled(database, tenant)


async def made(
    database: Database, tenant: str, period: BudgetPeriod = BudgetPeriod.MONTH, limit: str = "100"
) -> Budget:
    terms = BudgetTerms("Each", BudgetScope.USER, BudgetUnit.TOKENS, limit, period)
    budget = Budget.stated(terms, new_id(), "ada", NOW)
    async with database.tenant(tenant) as records:
        await records.budgets.add(budget)
    return budget


async def used(
    database: Database, tenant: str, budget: Budget, subject: str, start: datetime, amount: int = 10
) -> None:
    """Adds what a tool would have used."""
    draw = Draw(budget, LedgerKey(budget.budget_id, subject, start), Decimal(amount))
    async with database.tenant(tenant) as records:
        await records.budgets.settle(CallKey(new_id(), 1, 1, 1), [draw], NOW)


async def kept(database: Database, tenant: str, *budgets: Budget) -> list[tuple[str, datetime]]:
    """The ledgers that are left, by subject and period."""
    async with database.reading(tenant) as records:
        found = await records.budgets.most_used(dict.fromkeys(budgets, datetime(2000, 1, 1, tzinfo=UTC)), 100)
    return sorted((one.key.subject, one.key.period_start) for one in found)


async def keeping(database: Database, tenant: str, days: int | None) -> None:
    async with database.tenant(tenant) as records:
        found = await records.tenant.locked()
        assert found is not None
        await records.tenant.save(replace(found, settings=TenantSettings(usage_retention_days=days)))


async def test_calls_and_the_removal_of_their_budget_never_wait_for_each_other(database: Database, tenant: str) -> None:
    """A deadlock would be an error of either."""
    shared = await made(database, tenant, limit="1000000")
    doomed = [shared]
    run_ids = [(await queued(database, tenant)).run_id for _ in range(6)]
    over = asyncio.Event()

    async def calls(run_id: str) -> None:
        number = 0
        while not over.is_set():
            number += 1
            draws = [Draw(one, LedgerKey(one.budget_id, "", MONTH), Decimal(1)) for one in {shared, doomed[-1]}]
            draws.sort(key=lambda one: one.key)
            call = CallKey(run_id, number, 0, 1)
            async with database.tenant(tenant) as records:
                assert (await records.budgets.reserve(call, draws, NOW)).granted
            async with database.tenant(tenant) as records:
                await records.budgets.settle(call, draws, NOW)

    async def removals() -> None:
        for _ in range(40):
            doomed.append(await made(database, tenant, limit="1000000"))
            await asyncio.sleep(0)
            async with database.tenant(tenant) as records:
                assert await records.budgets.remove(doomed[-1].budget_id)
        over.set()

    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        for run_id in run_ids:
            group.create_task(calls(run_id))
        group.create_task(removals())
    async with database.reading(tenant) as records:
        (left,) = await records.budgets.ledgers([Draw(shared, LedgerKey(shared.budget_id, "", MONTH))])
    assert left.spent > left.reserved == 0


async def test_a_budget_that_is_gone_is_not_raised(database: Database, tenant: str) -> None:
    budget = await made(database, tenant)
    key = LedgerKey(budget.budget_id, "alice", MONTH)
    async with database.tenant(tenant) as records:
        assert await records.budgets.raise_ledger(key, Decimal(5)) == 5
        assert await records.budgets.raise_ledger(key, Decimal(5)) == 10
        await records.budgets.remove(budget.budget_id)
        assert await records.budgets.raise_ledger(key, Decimal(5)) is None


async def test_ledgers_go_with_the_usage_records_of_their_time(database: Database, tenant: str) -> None:
    budget = await made(database, tenant)
    starts = [MONTH, datetime(2026, 2, 1, tzinfo=UTC), datetime(2025, 3, 1, tzinfo=UTC)]
    for start in starts:
        await used(database, tenant, budget, "alice", start)
    rows = Among(database, tenant)
    assert await erase_all_ledgers(rows, database, NOW) == 0
    await keeping(database, tenant, 100)
    assert await erase_all_ledgers(rows, database, NOW) == 1
    assert await kept(database, tenant, budget) == [("alice", starts[1]), ("alice", starts[0])]
    # However few days are kept, what is counted on stays.
    await keeping(database, tenant, 1)
    assert await erase_all_ledgers(rows, database, NOW) == 1
    assert await kept(database, tenant, budget) == [("alice", MONTH)]
    assert NOW - MONTH < LEAST_KEPT


async def test_the_ledger_of_an_open_run_stays_until_it_has_ended(database: Database, tenant: str) -> None:
    budget = await made(database, tenant, BudgetPeriod.RUN)
    run_id, old = (await queued(database, tenant)).run_id, NOW - timedelta(days=99)
    await used(database, tenant, budget, run_id, old)
    await keeping(database, tenant, 40)
    rows = Among(database, tenant)
    assert await erase_all_ledgers(rows, database, NOW) == 0
    async with database.tenant(tenant) as records:
        await records.runs.close(run_id, Ending(RunStatus.FAILED), None, NOW)
    assert await erase_all_ledgers(rows, database, NOW) == 1


async def test_the_metrics_see_the_fullest_ledger_of_each_budget_in_its_current_period(
    database: Database, tenant: str
) -> None:
    budget, single, fresh = (
        await made(database, tenant),
        await made(database, tenant, BudgetPeriod.RUN),
        await made(database, tenant, BudgetPeriod.DAY),
    )
    await used(database, tenant, budget, "alice", MONTH, 30)
    await used(database, tenant, budget, "bob", MONTH, 20)
    await used(database, tenant, budget, "carol", datetime(2026, 2, 1, tzinfo=UTC), 90)
    await used(database, tenant, single, new_id(), NOW, 90)
    await used(database, tenant, fresh, "alice", NOW.replace(day=14, hour=0), 90)
    async with database.tenant(tenant) as records:
        await records.budgets.raise_ledger(LedgerKey(budget.budget_id, "alice", MONTH), Decimal(100))
    found = {one.budget_id: one for owner, one in await database.budgets_used(NOW) if owner == tenant}
    assert found == {
        # Alice's is raised, so that bob's is fuller.
        budget.budget_id: BudgetUsed(budget.budget_id, "tokens", Decimal(100), Decimal(20), Decimal(0)),
        fresh.budget_id: BudgetUsed(fresh.budget_id, "tokens", Decimal(100), Decimal(0), Decimal(0)),
    }
