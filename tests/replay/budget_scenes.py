"""Runs at the limit of a budget: raised, refused, and with room again."""

from dataclasses import replace

from taskforce.core.domain.approvals.approval import Verdict
from taskforce.core.domain.approvals.submissions import SubmittedDecision
from taskforce.core.domain.ids import new_id
from taskforce.core.domain.metering.budgets import Budget, BudgetPeriod, BudgetScope, BudgetTerms, BudgetUnit
from tests.fixtures.missions import Missions, now
from tests.fixtures.scripted_llm import text
from tests.replay.scene_runner import Stage, echoes, scene

FRUGAL = "frugal"
USED = {"prompt_tokens": 1_500, "completion_tokens": 500, "total_tokens": 2_000}


async def at_its_limit(stage: Stage, verdict: Verdict | None) -> str:
    """A run whose second call its budget does not cover, and what people say to a raise; None removes the budget."""
    missions = stage.missions
    terms = BudgetTerms("Frugal", BudgetScope.AGENT, BudgetUnit.TOKENS, "10000", BudgetPeriod.RUN, scope_id=FRUGAL)
    await missions.person("bob", "admin")
    budget = Budget.stated(terms, new_id(), "bob", now())
    async with missions.database.tenant(missions.tenant_id) as records:
        await records.tenant.revise_metering()
        await records.budgets.add(budget)
    usual = missions.agent
    missions.agent = replace(usual, agent_id=FRUGAL, max_reply_tokens=9_000, tools=("echo",))
    stage.llm.script([replace(echoes("one"), usage=USED), text("Done.")])
    try:
        run_id = await missions.start()
        asked = await missions.event(run_id, "approval.requested")
        if verdict is not None:
            word = SubmittedDecision(approver_id="bob", verdict=verdict, comment="a drill")
            await missions.workflow_client.approvals.decide(missions.tenant_id, str(asked.data["request_id"]), word)
            await missions.ended(run_id)
        await removed(missions, budget.budget_id)
        await missions.ended(run_id)
    finally:
        missions.agent = usual
    return run_id


async def removed(missions: Missions, budget_id: str) -> None:
    async with missions.database.tenant(missions.tenant_id) as records:
        await records.tenant.revise_metering()
        await records.budgets.remove(budget_id)


@scene(run="budget_raised")
async def budget_raised(stage: Stage) -> str:
    return await at_its_limit(stage, Verdict.APPROVE)


@scene(run="budget_refused")
async def budget_refused(stage: Stage) -> str:
    return await at_its_limit(stage, Verdict.REJECT)


@scene(run="budget_with_room_again")
async def budget_with_room_again(stage: Stage) -> str:
    return await at_its_limit(stage, None)
