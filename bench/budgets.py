"""Cost of budgets: runs of a tenant without one beside those of tenants with one, and with five."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import mean, median

from bench.cpu import CpuMeter
from bench.drivers import QUICK, Measured, Product, measure
from bench.runs import STEPS, Plan
from bench.stack import BenchStack, Say
from taskforce.core.domain.ids import new_id
from taskforce.core.domain.metering.budgets import Budget, BudgetPeriod, BudgetScope, BudgetTerms, BudgetUnit

WITHOUT = "no budget"
_AMPLE = "1000000000"
BUDGETS: Mapping[str, Sequence[BudgetScope]] = {
    WITHOUT: (),
    "one of the tenant": (BudgetScope.TENANT,),
    "five, two of them of each run and session": (
        BudgetScope.TENANT,
        BudgetScope.USER,
        BudgetScope.AGENT,
        BudgetScope.SESSION,
        BudgetScope.RUN,
    ),
}


@dataclass(frozen=True, slots=True)
class BudgetRow:
    """Holds the measurements of one tenant, at one load.

    Attributes:
        budgets: Its budgets.
        at_a_time: Runs at a time.
        runs_per_second: Over all rounds.
        ratio: Runs per second over those without a budget: the median over the rounds.
        added_ms_per_step: Median latency above that without a budget, by step.
    """

    budgets: str
    at_a_time: int
    runs_per_second: float
    ratio: float
    added_ms_per_step: float


async def measure_budgets(stack: BenchStack, plan: Plan, say: Say) -> list[BudgetRow]:
    """Starts runs of each tenant by turns, one and many at a time.

    Args:
        stack: The stack, with its worker.
        plan: How much is measured.
        say: Receives progress messages.
    """
    tenants = {name: await _tenant(stack, number, scopes) for number, (name, scopes) in enumerate(BUDGETS.items())}
    meter, rows = CpuMeter(stack.pids), list[BudgetRow]()
    for tenant in tenants.values():
        await measure(tenant.once(QUICK), 20, 20, meter, Measured())
    for at_a_time, runs in ((1, plan.alone), (plan.at_a_time, plan.together)):
        found = {name: Measured() for name in tenants}
        for number in range(plan.rounds):
            # In the other order every second time, so that what drifts on the machine touches all alike.
            for name in list(tenants)[:: 1 if number % 2 == 0 else -1]:
                say(f"{at_a_time} at a time, round {number + 1} of {plan.rounds}: {name}")
                await measure(tenants[name].once(QUICK), runs, at_a_time, meter, found[name])
        rows += [_row(name, at_a_time, found) for name in tenants]
    return rows


async def _tenant(stack: BenchStack, number: int, scopes: Sequence[BudgetScope]) -> Product:
    product, now = Product(stack, tenant_id=f"budgets-{number}"), datetime.now(UTC)
    await product.authenticate()
    async with stack.database.tenant(product.tenant_id) as records:
        await records.tenant.revise_metering()
        for scope in scopes:
            terms = BudgetTerms(scope.value, scope, BudgetUnit.TOKENS, _AMPLE, BudgetPeriod.MONTH)
            await records.budgets.add(Budget.stated(terms, new_id(), "bench", now))
    return product


def _row(name: str, at_a_time: int, found: Mapping[str, Measured]) -> BudgetRow:
    own, without = found[name], found[WITHOUT]
    return BudgetRow(
        budgets=name,
        at_a_time=at_a_time,
        runs_per_second=mean(own.rates),
        ratio=median(mine / theirs for mine, theirs in zip(own.rates, without.rates, strict=True)),
        added_ms_per_step=(median(own.latencies) - median(without.latencies)) * 1_000 / STEPS,
    )
