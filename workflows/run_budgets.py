"""A run at the limit of a budget: it waits for an approved raise, or for room in the ledger, or ends."""

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError

from workflows.run_approvals import RunApprovals
from workflows.run_waits import RunWaits
from workflows.runtime.activity_calls import await_budget, exceeded_budget, last_failure, stop_if_cancelled

with workflow.unsafe.imports_passed_through():
    from models.messages.approvals import ApprovalInput
    from models.messages.budgets import BudgetWait, ExceededBudget
    from models.messages.frame import RunRef
    from models.messages.runs import RunPlan
    from taskforce.core.domain.approvals.approval import NOT_NEEDED
    from taskforce.core.domain.ids import effect_id

BUDGET = "a higher budget"
BUDGET_REFUSED = "budget_refused"
"""The type of the failure by which a run ends that may use no more."""
BUDGET_RAISE = "budget_raise"
HELD_TIME = timedelta(minutes=10)
"""For how long a run waits for what other calls hold, before people are asked or it ends: longer than a call takes."""


class RunBudgets:
    """Waits at the limits of budgets.

    Args:
        ref: The run.
        waits: The run's waits.
        approvals: Asks people.
    """

    def __init__(self, ref: RunRef, waits: RunWaits, approvals: RunApprovals) -> None:
        self._ref = ref
        self._waits = waits
        self._approvals = approvals
        self._asked = 0

    async def until_raised(self, error: FailureError, step: int, plan: RunPlan) -> None:
        """Waits until the call that a budget refused may be tried again.

        Args:
            error: The refusal, with the ledger that has no room.
            step: The step of the call.
            plan: The run's plan.

        Raises:
            ApplicationError: `budget_refused`: nobody has raised it, or the budget ends runs at its limit.
            asyncio.CancelledError: The run was cancelled.
        """
        exceeded, message = exceeded_budget(error), last_failure(error)[1]
        if exceeded is None:
            raise _refused(message)
        asks = exceeded.on_exceed == "ask"
        if not asks and not exceeded.held:
            raise _refused(message)
        await self._waits.hold(BUDGET)
        # What others only hold, nobody need raise: most of it is given back as soon as their calls are settled.
        has_room = (exceeded.held and await self._given_back(exceeded)) or (
            asks and await self._raised(exceeded, step, plan)
        )
        stop_if_cancelled()
        await self._waits.release(BUDGET)
        if not has_room:
            raise _refused(f"{message} Nobody has raised it." if asks else message)

    async def _given_back(self, exceeded: ExceededBudget) -> bool:
        """Tells whether the call may be tried again: there is room, or others have used what they held."""
        try:
            await await_budget(self._wait(exceeded), HELD_TIME)
        except FailureError:
            stop_if_cancelled()
            return False
        return True

    def _wait(self, exceeded: ExceededBudget) -> BudgetWait:
        return BudgetWait(tenant_id=self._ref.tenant_id, run_id=self._ref.run_id, exceeded=exceeded)

    async def _raised(self, exceeded: ExceededBudget, step: int, plan: RunPlan) -> bool:
        self._asked += 1
        ref = self._ref
        asked = ApprovalInput(
            tenant_id=ref.tenant_id,
            # Below 0, where no tool call is: a step may have to ask again, when others have used what was raised.
            request_id=effect_id(ref.run_id, step, -self._asked),
            run_id=ref.run_id,
            step=step,
            exceeded=exceeded,
        )
        decision = asyncio.create_task(self._approvals.decided(asked, plan, "a higher budget", BUDGET_RAISE))
        # An administrator may raise the budget, others may give back what they had reserved, a new period may begin.
        room = asyncio.create_task(await_budget(self._wait(exceeded.model_copy(update={"held": False}))))
        try:
            await workflow.wait([decision, room], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await _outcomes(decision, room)
            raise
        decided, waited = await _outcomes(decision, room)
        return decided is True or waited is None


def _refused(message: str) -> ApplicationError:
    return ApplicationError(message, type=BUDGET_REFUSED, non_retryable=True)


async def _outcomes(*tasks: asyncio.Task[Any]) -> list[Any]:
    """Cancels what is not over, and returns what came of each: neither may outlive the wait."""
    # A request of a run that is cancelled says so by itself.
    why = None if workflow.cancellation_reason() is not None else NOT_NEEDED
    for task in tasks:
        task.cancel(why)
    return await asyncio.gather(*tasks, return_exceptions=True)
