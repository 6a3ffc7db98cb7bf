"""A run at the limit of a budget: it asks, goes on where it is raised, and ends with its best answer where not."""

import asyncio
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

import pytest

from taskforce.core.domain.approvals.approval import Verdict
from taskforce.core.domain.ids import new_id
from taskforce.core.domain.metering.budgets import (
    Budget,
    BudgetPeriod,
    BudgetScope,
    BudgetTerms,
    BudgetUnit,
    OnExceed,
)
from taskforce.core.domain.runs.run import RunStatus, StopReason
from tests.fixtures.missions import Missions, now
from tests.fixtures.scripted_llm import ScriptedLLM, held, text, tool_calls
from tests.workflows.approvals import yes

pytestmark = pytest.mark.usefixtures("worker")
ECHO = tool_calls([("echo", {"text": "x"})], says="As far as I got.")


async def budgeted(missions: Missions, limit: int, on_exceed: OnExceed = OnExceed.ASK) -> Budget:
    """A budget of which the first of two calls leaves too little for the second."""
    missions.agent = replace(missions.agent, max_reply_tokens=limit - 1_000, tools=("echo",))
    terms = BudgetTerms("Team", BudgetScope.RUN, BudgetUnit.TOKENS, str(limit), BudgetPeriod.RUN, on_exceed=on_exceed)
    await missions.person("bob", "admin")
    budget = Budget.stated(terms, new_id(), "bob", now())
    async with missions.database.tenant(missions.tenant_id) as records:
        await records.tenant.revise_metering()
        await records.budgets.add(budget)
    return budget


async def spent(missions: Missions, budget: Budget, tokens: int) -> None:
    """Others use it meanwhile: until a run is at the limit, its calls do not fill it."""
    async with missions.database.tenant(missions.tenant_id) as records:
        await records.tenant.revise_metering()
        await records.budgets.save(replace(budget, limit=Decimal(tokens)))


async def waiting(missions: Missions, scripted: ScriptedLLM, on_exceed: OnExceed = OnExceed.ASK) -> tuple[str, Budget]:
    """A run whose first call used up its budget."""
    usage = {"prompt_tokens": 1_500, "completion_tokens": 500, "total_tokens": 2_000}
    scripted.script([replace(ECHO, usage=usage), text("Done.")])
    budget = await budgeted(missions, 10_000, on_exceed)
    run_id = await missions.start()
    return run_id, budget


async def test_a_raised_budget_lets_the_same_run_go_on(missions: Missions, scripted: ScriptedLLM) -> None:
    run_id, budget = await waiting(missions, scripted)
    asked = await missions.event(run_id, "approval.requested")
    request = await missions.request(str(asked.data["request_id"]))
    assert (request.request_type, request.resource_id, request.run_id) == ("budget_raise", budget.budget_id, run_id)
    assert (await missions.run(run_id)).waiting_for == "a higher budget"
    await missions.workflow_client.approvals.decide(missions.tenant_id, request.approval.request_id, yes())
    run = await missions.ended(run_id)
    assert (run.status, run.answer, run.totals.steps) == (RunStatus.COMPLETED, "Done.", 2)
    async with missions.database.tenant(missions.tenant_id) as records:
        raised = datetime.fromisoformat(str(request.payload["period_start"]))
        assert raised == run.spec.created_at
        (row,) = await records.budgets.most_used({budget: run.spec.created_at}, 10)
    assert (row.raised_by, row.reserved) == (Decimal(str(request.payload["amount"])), Decimal(0))


async def test_a_refused_raise_ends_the_run_with_its_best_answer(missions: Missions, scripted: ScriptedLLM) -> None:
    run_id, _ = await waiting(missions, scripted)
    asked = await missions.event(run_id, "approval.requested")
    no, request_id = replace(yes(), verdict=Verdict.REJECT), str(asked.data["request_id"])
    await missions.workflow_client.approvals.decide(missions.tenant_id, request_id, no)
    run = await missions.ended(run_id)
    assert (run.status, run.stop_reason, run.answer) == (RunStatus.INCOMPLETE, StopReason.BUDGET, "As far as I got.")
    assert run.error_code == "budget_exceeded"
    assert "Nobody has raised it" in (run.error_message or "")


async def test_an_administrator_who_raises_the_budget_lets_it_go_on(missions: Missions, scripted: ScriptedLLM) -> None:
    run_id, budget = await waiting(missions, scripted)
    asked = await missions.event(run_id, "approval.requested")
    await spent(missions, budget, 1_000_000)
    run = await missions.ended(run_id)
    assert (run.status, run.answer) == (RunStatus.COMPLETED, "Done.")
    request = await missions.request(str(asked.data["request_id"]))
    assert (request.status.value, request.reason) == ("withdrawn", "there is room without it")


async def test_a_budget_that_stops_asks_nobody(missions: Missions, scripted: ScriptedLLM) -> None:
    run_id, _ = await waiting(missions, scripted, OnExceed.STOP)
    run = await missions.ended(run_id)
    assert (run.status, run.stop_reason, run.answer) == (RunStatus.INCOMPLETE, StopReason.BUDGET, "As far as I got.")
    assert await missions.pending() == []


async def test_a_run_that_waits_for_a_budget_can_be_cancelled(missions: Missions, scripted: ScriptedLLM) -> None:
    run_id, _ = await waiting(missions, scripted)
    asked = await missions.event(run_id, "approval.requested")
    await missions.workflow_client.runs.cancel(missions.tenant_id, run_id)
    assert (await missions.ended(run_id)).status is RunStatus.CANCELLED
    request = await missions.request(str(asked.data["request_id"]))
    assert (request.status.value, request.reason) == ("withdrawn", "the run or the request was cancelled")


@pytest.mark.parametrize("on_exceed", OnExceed)
async def test_what_only_another_call_holds_is_waited_for_and_nobody_is_asked(
    missions: Missions, scripted: ScriptedLLM, on_exceed: OnExceed
) -> None:
    given = asyncio.Event()
    scripted.requests.clear()
    scripted.reply = lambda _: held(text("Done."), given)
    budget = await budgeted(missions, 10_000, on_exceed)
    shared = replace(budget, budget_id=new_id(), scope=BudgetScope.TENANT, scope_id="", period=BudgetPeriod.MONTH)
    async with missions.database.tenant(missions.tenant_id) as records:
        await records.tenant.revise_metering()
        await records.budgets.remove(budget.budget_id)
        await records.budgets.add(shared)
    first = await missions.start()
    await scripted.until(lambda llm: len(llm.requests) == 1)
    second = await missions.start()
    await missions.event(second, "run.waiting")
    assert (await missions.run(second)).waiting_for == "a higher budget"
    given.set()
    for run_id in (first, second):
        run = await missions.ended(run_id)
        assert (run.status, run.answer) == (RunStatus.COMPLETED, "Done.")
        assert {"approval.requested", "budget.exceeded"}.isdisjoint(one.type for one in await missions.events(run_id))
