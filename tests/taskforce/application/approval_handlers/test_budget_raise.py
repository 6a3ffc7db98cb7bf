"""A run that is under way may use more once that is approved: it is raised once, and the run is told until it knows."""

from dataclasses import replace
from typing import Any

import pytest

from taskforce.application.approval_handlers.registry import all_handlers
from taskforce.application.approvals.decisions import DecisionAttempt
from taskforce.application.approvals.requests import CreatedRequest, Deployment, RequestDraft, create_request
from taskforce.application.runs.lifecycle import close
from taskforce.core.domain.approvals.approval import Channel
from taskforce.core.domain.approvals.definitions import DefinitionRules
from taskforce.core.domain.approvals.terms import Terms
from taskforce.core.domain.errors import Conflict, Invalid, Missing, Unavailable
from taskforce.core.domain.ids import new_id
from taskforce.core.domain.metering.budgets import Budget, BudgetPeriod, BudgetScope, BudgetTerms, BudgetUnit
from taskforce.core.domain.runs.run import HARD_LIMITS, Ending, Limits, RunStatus
from tests.taskforce.application.approval_handlers.requests import approved, carried_out
from tests.taskforce.application.identity.people import actor, admin
from tests.taskforce.application.scenario import RULES, Stage

SAYS = Deployment(DefinitionRules(), Terms(), all_handlers(RULES))
FEW = Limits(max_steps=5, max_tokens=1_000, max_seconds=60)


async def run_with_few(stage: Stage) -> str:
    await admin(stage)
    return (await stage.accepted(limits=FEW)).run_id


async def asked(stage: Stage, **payload: object) -> str:
    """Bob asks that a run may use more; returns the request."""
    await stage.person("bob", "viewer")
    wish = RequestDraft("budget_raise", "May it?", "", "none", "", payload)
    made: CreatedRequest = await create_request(
        stage.database, await actor(stage, "bob"), wish, SAYS, key=None, body={}
    )
    return made.request_id


async def limits(stage: Stage, run_id: str) -> Limits:
    return (await stage.run(run_id)).spec.limits


async def end(stage: Stage, run_id: str) -> None:
    spec = (await stage.run(run_id)).spec
    async with stage.database.tenant(stage.tenant_id) as records:
        assert await close(records, spec, Ending(RunStatus.COMPLETED), stage.now) is not None


async def test_what_is_named_is_raised_and_the_rest_stays(stage: Stage) -> None:
    run_id = await run_with_few(stage)
    request_id = await asked(stage, run_id=run_id.upper(), max_steps=50, max_tokens=5_000.0)
    await approved(stage, request_id, "ada")
    assert await limits(stage, run_id) == FEW
    done = await carried_out(stage, request_id)
    assert (done.kind, done.comment) == ("carried_out", "The run may use more: max_steps 50, max_tokens 5000.")
    assert await limits(stage, run_id) == replace(FEW, max_steps=50, max_tokens=5_000)
    told = [one.data for one in await stage.events(run_id) if one.type == "run.limits_raised"]
    assert told == [{"request_id": request_id, "max_steps": 50, "max_tokens": 5_000}]
    [(details,)] = await stage.rows("audit_events WHERE action = 'run.raise_limits'", "details")
    assert details == {
        "approval_id": request_id,
        "approved_by": ["ada"],
        "before": {"max_steps": 5, "max_tokens": 1_000, "max_seconds": 60},
        "after": {"max_steps": 50, "max_tokens": 5_000, "max_seconds": 60},
    }


async def test_whoever_carries_it_out_again_raises_nothing_and_tells_the_run_again(stage: Stage) -> None:
    """A worker may die between the commit and the signal."""
    run_id = await run_with_few(stage)
    request_id = await asked(stage, run_id=run_id, max_steps=50)
    await approved(stage, request_id, "ada")
    stage.workflows.refusal = Unavailable("temporal_unavailable", "Temporal does not answer.")
    with pytest.raises(Unavailable):
        await stage.execution.carry_out(stage.tenant_id, request_id)
    assert (await limits(stage, run_id)).max_steps == 50
    stage.workflows.refusal = None
    await carried_out(stage, request_id)
    assert stage.workflows.told == [(stage.tenant_id, run_id, "limits_raised")] * 2
    assert len(await stage.audited("run.raise_limits")) == 1


async def test_a_run_whose_workflow_is_not_started_yet_is_told_as_soon_as_it_is(stage: Stage) -> None:
    request_id = await asked(stage, run_id=await run_with_few(stage), max_seconds=61)
    await approved(stage, request_id, "ada")
    stage.workflows.refusal = Missing("run_not_found", "There is no such run.")
    with pytest.raises(Unavailable) as refused:
        await stage.execution.carry_out(stage.tenant_id, request_id)
    assert refused.value.code == "run_not_started"


async def test_a_run_that_has_ended_meanwhile_is_told_nothing(stage: Stage) -> None:
    run_id = await run_with_few(stage)
    request_id = await asked(stage, run_id=run_id, max_steps=50)
    await approved(stage, request_id, "ada")
    stage.workflows.refusal = Unavailable("temporal_unavailable", "Temporal does not answer.")
    with pytest.raises(Unavailable):
        await stage.execution.carry_out(stage.tenant_id, request_id)
    await end(stage, run_id)
    assert (await carried_out(stage, request_id)).kind == "carried_out"


async def test_two_raises_leave_the_higher_one(stage: Stage) -> None:
    run_id = await run_with_few(stage)
    first, second = await asked(stage, run_id=run_id, max_steps=50), await asked(stage, run_id=run_id, max_steps=20)
    for request_id in (first, second):
        await approved(stage, request_id, "ada")
    await carried_out(stage, first)
    refused = await carried_out(stage, second)
    assert (refused.kind, refused.data) == ("not_carried_out", {"code": "not_a_raise"})
    assert (await limits(stage, run_id)).max_steps == 50


async def test_for_a_run_that_has_ended_there_is_nothing_to_decide_and_nothing_to_carry_out(stage: Stage) -> None:
    run_id = await run_with_few(stage)
    first, second = await asked(stage, run_id=run_id, max_steps=50), await asked(stage, run_id=run_id, max_steps=60)
    await approved(stage, second, "ada")
    await end(stage, run_id)
    with pytest.raises(Conflict) as void:
        await stage.decisions.authorize(DecisionAttempt(stage.tenant_id, first, "ada", Channel.API))
    assert void.value.code == "subject_changed"
    assert (await carried_out(stage, second)).data == {"code": "run_finished"}
    assert await limits(stage, run_id) == FEW


async def test_for_somebody_who_is_deactivated_nothing_is_raised(stage: Stage) -> None:
    run_id = await run_with_few(stage)
    request_id = await asked(stage, run_id=run_id, max_steps=50)
    await approved(stage, request_id, "ada")
    await stage.deactivate("bob")
    assert (await carried_out(stage, request_id)).data == {"code": "user_deactivated"}
    assert await limits(stage, run_id) == FEW


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        ({}, "does not have enough properties"),
        ({"max_steps": 5}, "max_steps: the run has 5 already."),
        ({"max_steps": 50, "max_seconds": 1}, "max_seconds: the run has 60 already."),
        ({"max_tokens": HARD_LIMITS["max_tokens"] + 1}, "max_tokens"),
        ({"max_steps": "50"}, "max_steps"),
        ({"max_steps": True}, "max_steps"),
        ({"max_steps": 50, "more": 1}, "more"),
    ],
)
async def test_what_is_no_raise_cannot_be_asked_for(stage: Stage, payload: dict[str, object], problem: str) -> None:
    run_id = await run_with_few(stage)
    assert problem in await problems(stage, run_id=run_id, **payload)


async def test_only_a_run_under_way_can_be_raised(stage: Stage) -> None:
    run_id = await run_with_few(stage)
    await end(stage, run_id)
    for one in (run_id, new_id(), "mine", ""):
        assert "run_id: there is no such run under way." in await problems(stage, run_id=one, max_steps=50)
    assert "run_id" in await problems(stage, max_steps=50)


async def problems(stage: Stage, **payload: object) -> str:
    with pytest.raises(Invalid) as refused:
        await asked(stage, **payload)
    assert refused.value.code == "payload_invalid"
    return str((refused.value.details or {})["problems"])


async def with_budget(stage: Stage, **changes: Any) -> Budget:
    """A budget of the tenant, a ledger for each user."""
    await admin(stage)
    terms = BudgetTerms("Each", BudgetScope.USER, BudgetUnit.TOKENS, "100", BudgetPeriod.MONTH, **changes)
    budget = Budget.stated(terms, new_id(), "ada", stage.now)
    async with stage.database.tenant(stage.tenant_id) as records:
        await records.tenant.revise_metering()
        await records.budgets.add(budget)
    return budget


async def test_a_ledger_of_a_budget_is_raised_for_its_period_once(stage: Stage) -> None:
    budget = await with_budget(stage)
    request_id = await asked(stage, budget_id=budget.budget_id, amount="50", subject="alice")
    await approved(stage, request_id, "ada")
    await carried_out(stage, request_id)
    done = await carried_out(stage, request_id)
    assert done.comment == "The budget Each is raised by 50 tokens for this period."
    rows = await stage.rows("budget_ledgers", "subject, raised_by::text, spent::text")
    assert rows == [("alice", "50", "0")]
    [(details,)] = await stage.rows("audit_events WHERE action = 'budget.raise'", "details")
    assert isinstance(details, dict)
    assert (details["before"]["raised_by"], details["after"]["raised_by"]) == ("0", "50")
    # Its limit stays, and so does every other ledger.
    async with stage.database.tenant(stage.tenant_id) as records:
        kept = await records.budgets.get(budget.budget_id)
    assert kept == budget


@pytest.mark.parametrize(
    "payload",
    [
        {"amount": "0", "subject": "alice"},
        {"amount": "-5", "subject": "alice"},
        {"amount": "1e99", "subject": "alice"},
        {"amount": "5"},
        {"amount": "5", "run_id": new_id()},
        {"amount": 5, "subject": "alice"},
        {"subject": "alice"},
        {"amount": "5", "subject": "alice", "max_steps": 5},
        {"amount": "5", "subject": "alice", "budget_id": new_id()},
    ],
)
async def test_what_names_no_ledger_or_no_amount_is_refused(stage: Stage, payload: dict[str, object]) -> None:
    budget = await with_budget(stage)
    with pytest.raises(Invalid) as refused:
        await asked(stage, **{"budget_id": budget.budget_id, **payload})
    assert refused.value.code in {"payload_invalid", "amount_invalid"}


async def test_a_budget_removed_meanwhile_is_not_raised(stage: Stage) -> None:
    budget = await with_budget(stage)
    request_id = await asked(stage, budget_id=budget.budget_id, amount="50", subject="alice")
    await approved(stage, request_id, "ada")
    async with stage.database.tenant(stage.tenant_id) as records:
        await records.budgets.remove(budget.budget_id)
    assert (await carried_out(stage, request_id)).kind == "not_carried_out"


async def test_no_budget_is_raised_for_a_run_that_is_cancelled_or_ended(stage: Stage) -> None:
    """Its cancellation may be promised after the approval, before the request to its workflows arrives."""
    budget = await with_budget(stage)
    for expected in ("run_cancelled", "run_finished"):
        run_id = (await stage.accepted()).run_id
        request_id = await asked(stage, budget_id=budget.budget_id, amount="50", run_id=run_id)
        await approved(stage, request_id, "ada")
        if expected == "run_finished":
            await end(stage, run_id)
        else:
            async with stage.database.tenant(stage.tenant_id) as records:
                await records.runs.cancel(run_id, stage.now)
        assert (await carried_out(stage, request_id)).data == {"code": expected}
    assert await stage.rows("budget_ledgers", "raised_by::text") == []
