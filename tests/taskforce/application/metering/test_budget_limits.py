"""At the limits of budgets: what only others hold, who is told, and what tools have used."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal

import pytest

from taskforce.application.metering.prices import PriceOptions, set_price
from taskforce.application.runs.model_turn import ModelStepInput
from taskforce.core.domain.errors import DomainError
from taskforce.core.domain.metering.budget_ledgers import Draw
from taskforce.core.domain.metering.budgets import BudgetPeriod, BudgetScope, BudgetUnit, LedgerKey
from taskforce.core.domain.metering.prices import Resource, Unit
from taskforce.core.domain.metering.tenant_prices import PriceTerms
from taskforce.core.domain.runs.run import Ending, RunStatus
from taskforce.core.interfaces.llm import ChatMessage, ModelRequest
from taskforce.core.interfaces.repositories.budgets import CallKey
from taskforce.infrastructure.llm.price_map import BundledPrices
from tests.fixtures.webhooks import Hooks
from tests.taskforce.application.metering.budgeted import CAPPED, USED, Stub, code_of, first, ledger, made, sums
from tests.taskforce.application.scenario import Stage


async def told(stage: Stage) -> Sequence[tuple[object, ...]]:
    """The events that a webhook of all events is sent."""
    return await stage.rows("webhook_deliveries ORDER BY event DESC", "event, subject")


async def test_what_only_other_calls_hold_is_no_limit_reached(stage: Stage) -> None:
    budget = await made(stage, limit="60")
    one, other = (await stage.accepted(agent=CAPPED)).run_id, (await stage.accepted(agent=CAPPED)).run_id
    stub = Stub()
    stub.go.clear()
    step = asyncio.create_task(stage.model_step(stub).run(first(stage, one)))
    await stub.called.wait()
    with pytest.raises(DomainError) as refused:
        await stage.model_step(stub).run(first(stage, other))
    assert (refused.value.code, refused.value.details["held"]) == ("budget_exceeded", True)
    assert await stage.audited("budget.exceed") == []
    assert [event.type for event in await stage.events(other)][-1] != "budget.exceeded"
    stub.go.set()
    await step
    # By now it is given back.
    await stage.model_step(stub).run(first(stage, other))
    assert await sums(stage, budget) == (USED * 2, 0)


async def test_one_that_is_used_up_counts_before_one_that_others_hold(stage: Stage) -> None:
    held = await made(stage, limit="60")
    await made(stage, scope=BudgetScope.USER, limit="1")
    other, run_id = (await stage.accepted(agent=CAPPED)).run_id, (await stage.accepted(agent=CAPPED)).run_id
    draws = [Draw(held, (await ledger(stage, held)).key, Decimal(50))]
    async with stage.database.tenant(stage.tenant_id) as records:
        assert (await records.budgets.reserve(CallKey(other, 1, 0, 1), draws, stage.now)).granted
    with pytest.raises(DomainError) as refused:
        await stage.model_step(Stub()).run(first(stage, run_id))
    assert (refused.value.details["held"], refused.value.details["subject"]) == (False, "alice")


async def test_the_soft_limit_and_the_limit_go_to_the_webhooks(stage: Stage) -> None:
    hooks = Hooks(stage.database, None, stage.tenant_id, stage.clock)
    await hooks.make("https://hooks.example/all")
    budget = await made(stage, limit="40", soft="0.5")
    run_ids = [(await stage.accepted(agent=CAPPED)).run_id for _ in range(2)]
    for run_id in run_ids:
        await code_of(stage.model_step(Stub()).run(first(stage, run_id)))
    (soft, said), (hard, why) = await told(stage)
    assert (soft, hard) == ("budget.soft_limit", "budget.exceeded")
    assert isinstance(said, dict)
    assert isinstance(why, dict)
    assert (said["budget_id"], said["limit"], said["spent"]) == (budget.budget_id, "40", "25")
    assert (why["run_id"], why["spent"]) == (run_ids[1], "25")
    assert Decimal(why["needed"]) > 15


async def test_the_soft_limit_of_runs_is_told_when_the_run_that_passes_it_begins(stage: Stage) -> None:
    budget = await made(stage, unit=BudgetUnit.RUNS, limit="4", soft="0.5")
    stub = Stub()
    stub.go.clear()
    told_after = []
    steps = []
    for _ in range(3):
        run_id = (await stage.accepted(agent=CAPPED)).run_id
        steps.append(asyncio.create_task(stage.model_step(stub).run(first(stage, run_id))))
        await stub.called.wait()
        stub.called.clear()
        told_after.append(len(await stage.audited("budget.soft_limit")))
    assert told_after == [0, 1, 1]
    assert (await ledger(stage, budget)).soft_passed
    stub.go.set()
    await asyncio.gather(*steps)
    assert await sums(stage, budget) == (3, 0)
    assert len(await stage.audited("budget.soft_limit")) == 1


async def test_a_tool_that_has_a_price_is_counted_when_it_has_run(stage: Stage) -> None:
    await stage.person("ada", "admin")
    terms = PriceTerms(Resource.TOOL, "echo", "USD", Unit.ONE, {"each": "0.25"})
    await set_price(stage.database, BundledPrices(), stage.acting("ada"), terms, PriceOptions(custom=True))
    money = await made(stage, unit=BudgetUnit.MONEY, currency="USD", limit="1", soft="0.2")
    tokens, euros = await made(stage), await made(stage, unit=BudgetUnit.MONEY, currency="EUR")
    run_id = await stage.asked(("echo", {"text": "x"}))
    await stage.tool_step.run(stage.ref(run_id), 1, (), None)
    # Once, also where the call is repeated.
    await stage.tool_step.run(stage.ref(run_id), 1, (), None)
    assert [await sums(stage, each) for each in (money, tokens, euros)] == [(Decimal("0.25"), 0), (0, 0), (0, 0)]
    assert len(await stage.audited("budget.soft_limit")) == 1


async def test_a_tool_counts_on_a_budget_that_was_made_since_its_process_read_the_last_one(stage: Stage) -> None:
    await stage.person("ada", "admin")
    terms = PriceTerms(Resource.TOOL, "echo", "USD", Unit.ONE, {"each": "0.25"})
    await set_price(stage.database, BundledPrices(), stage.acting("ada"), terms, PriceOptions(custom=True))
    run_id = await stage.asked(("echo", {"text": "x"}), ("echo", {"text": "y"}))
    await stage.tool_step.run(stage.ref(run_id), 1, (), None)
    money = await made(stage, unit=BudgetUnit.MONEY, currency="USD", limit="1")
    stage.now += timedelta(minutes=10)
    await stage.tool_step.run(stage.ref(run_id, 2), 1, (), None)
    assert (await sums(stage, money))[0] == Decimal("0.25")


async def test_a_call_is_settled_on_the_ledger_of_the_period_in_which_it_was_reserved(stage: Stage) -> None:
    budget = await made(stage, period=BudgetPeriod.DAY, limit="60")
    run_id = (await stage.accepted(agent=CAPPED)).run_id
    stub = Stub()
    stub.go.clear()
    step = asyncio.create_task(stage.model_step(stub).run(first(stage, run_id)))
    await stub.called.wait()
    stage.now += timedelta(days=1)
    stub.go.set()
    await step
    days = await stage.rows(
        "budget_ledgers ORDER BY period_start", "extract(day FROM period_start)::int, spent, reserved"
    )
    assert days == [(15, USED, 0)]
    other = (await stage.accepted(agent=CAPPED)).run_id
    await stage.model_step(stub).run(first(stage, other))
    assert len(await stage.rows("budget_ledgers", "spent")) == 2
    assert budget.limit == 60


async def test_a_call_of_a_dead_worker_is_given_back_also_when_a_new_period_has_begun(stage: Stage) -> None:
    budget = await made(stage, period=BudgetPeriod.DAY, limit="60")
    run_id = (await stage.accepted(agent=CAPPED)).run_id
    today = LedgerKey(budget.budget_id, "", stage.now.replace(hour=0))
    draws = [Draw(budget, today, Decimal(50))]
    async with stage.database.tenant(stage.tenant_id) as records:
        await records.budgets.reserve(CallKey(run_id, 1, 0, 1), draws, stage.now)
    stage.now += timedelta(days=1)
    await stage.model_step(Stub()).run(first(stage, run_id, attempt=2))
    assert await stage.rows("budget_ledgers ORDER BY period_start", "spent, reserved") == [(0, 0), (USED, 0)]


async def test_a_closing_turn_is_reserved_and_settled_too(stage: Stage) -> None:
    budget = await made(stage)
    run_id = (await stage.accepted(agent=CAPPED)).run_id
    turn = ModelStepInput(stage.tenant_id, run_id, step=1, attempt=1, told=0, closing=True)
    await stage.model_step(Stub()).run(turn)
    assert await sums(stage, budget) == (USED, 0)
    assert (await stage.run(run_id)).status is RunStatus.INCOMPLETE


async def test_a_run_that_ended_reserves_nothing_and_nobody_is_told_of_a_limit(stage: Stage) -> None:
    await made(stage, limit="1")
    run_id = (await stage.accepted(agent=CAPPED)).run_id
    spec = (await stage.run(run_id)).spec
    await stage.lifecycle.end(stage.tenant_id, run_id, Ending(RunStatus.CANCELLED))
    async with stage.database.reading(stage.tenant_id) as records:
        tenant = await records.tenant.get()
        assert tenant is not None
        draws = await stage.budgets.draws(records, spec, tenant)
    request = ModelRequest(CAPPED.models, (ChatMessage("user", "Count."),))
    call = CallKey(run_id, 1, 0, 1)
    assert await code_of(stage.budgets.reserve(spec, draws, request, call, begins=False)) == "run_finished"
    assert await stage.audited("budget.exceed") == []


async def test_whoever_waits_for_what_others_hold_learns_that_they_have_used_it(stage: Stage) -> None:
    budget = await made(stage, limit="60")
    other, run_id = (await stage.accepted(agent=CAPPED)).run_id, (await stage.accepted(agent=CAPPED)).run_id
    draws = [Draw(budget, (await ledger(stage, budget)).key, Decimal(50))]
    async with stage.database.tenant(stage.tenant_id) as records:
        await records.budgets.reserve(CallKey(other, 1, 0, 1), draws, stage.now)

    async def looks() -> list[str | None]:
        look, needed = stage.budgets.look, Decimal(30)
        return [
            await code_of(look(stage.tenant_id, run_id, budget.budget_id, needed, held=held)) for held in (True, False)
        ]

    assert await looks() == ["budget_full", "budget_full"]
    async with stage.database.tenant(stage.tenant_id) as records:
        await records.budgets.settle(CallKey(other, 1, 0, 1), draws, stage.now)
    # Who asks for a raise waits on; who only waited for others tries again, and is refused for good.
    assert await looks() == [None, "budget_full"]
