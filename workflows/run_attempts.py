"""The attempts of a run's model calls and tool calls, until one succeeds or none is left."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import FailureError

from workflows.model_retries import ModelRetries
from workflows.run_waits import OUTAGE_SHOWN, RunWaits
from workflows.run_work import RunWork
from workflows.runtime.activity_calls import (
    LOCAL_TIME,
    MARGIN,
    TOOL,
    call_model,
    has_timed_out,
    is_busy,
    is_database_away,
    is_halted,
    is_outcome_lost,
    is_refusal,
    run_local,
    run_tool,
    stop_if_cancelled,
    worked_seconds,
)

with workflow.unsafe.imports_passed_through():
    from models.messages.runs import ModelOutcome, ModelTurn, Permit, RunPlan, ToolOutcome, ToolTurn
    from taskforce.core.domain.metering.budget_ledgers import BUDGET_EXCEEDED

TURNS_AWAITED = "turns-of-tools-are-awaited"
"""2026-12: the run waits for its tenant's turn with a tool; before, each refusal was one of the server's attempts."""
BUDGET_ASKED = "budgets-are-asked-for"
"""2026-12: a run waits for a raise of a budget that has no room for its call; a worker before ends it as failed."""
LOCAL_WORK_COUNTED = "local-work-is-counted"
"""2026-12: what a quick tool has worked before it is run as a slow one counts."""


class RunAttempts:
    """Makes attempts, counts their work, and waits where a kill switch, the database or other calls hold them up.

    Args:
        waits: The run's waits.
        work: The run's work.
        until_resumed: Waits while the run is paused.
        until_budget: Waits until a budget has room for a call that it has refused, or raises.
    """

    def __init__(
        self,
        waits: RunWaits,
        work: RunWork,
        until_resumed: Callable[[], Awaitable[None]],
        until_budget: Callable[[FailureError], Awaitable[None]],
    ) -> None:
        self._waits = waits
        self._work = work
        self._until_resumed = until_resumed
        self._until_budget = until_budget

    async def call_model(self, plan: RunPlan, turn: Callable[[int], ModelTurn]) -> ModelOutcome:
        """Calls the model until it replies, or no attempt is left.

        Args:
            plan: The run's plan.
            turn: Makes the activity's input of the number of earlier attempts.

        Raises:
            FailureError: As `ModelRetries.next_try`.
        """
        retries, refused = ModelRetries(), 0
        while True:
            time, since = self._model_time(plan), workflow.now()
            try:
                outcome = await call_model(turn(retries.tried), ModelOutcome, time)
            except FailureError as error:
                stop_if_cancelled()
                worked = worked_seconds(error, time)
                self._work.add(worked, since)
                if is_halted(error):
                    await self._until_released(error)
                    retries.begin_anew()
                elif is_busy(error):
                    # Nothing was asked of the model, so that no try of it is used up.
                    refused += 1
                    await self._until_turn(error, refused)
                elif is_refusal(error, BUDGET_EXCEEDED) and workflow.patched(BUDGET_ASKED):
                    # Nothing was asked of the model here either.
                    await self._until_budget(error)
                    await self._until_resumed()
                elif is_database_away(error) and workflow.patched(OUTAGE_SHOWN):
                    retries.begin_again()
                    await self._until_database(error, retries.tried)
                else:
                    took = workflow.now() - since if worked is None else timedelta(seconds=worked)
                    again = retries.next_try(error, plan, self._work, took)
                    await self._waits.try_again(again)
                    await workflow.sleep(max(again.at - workflow.now(), timedelta()))
            else:
                self._add(outcome.worked_ms, since)
                await self._waits.try_again(None, silent=outcome.ended)
                return outcome

    async def run_tool(self, permit: Permit, turn: ToolTurn) -> ToolOutcome:
        """Runs a tool.

        Args:
            permit: The terms of the call.
            turn: The activity's input.

        Raises:
            FailureError: The activity failed otherwise than by a kill switch or for want of the database or a turn.
        """
        time, away, refused = timedelta(seconds=permit.seconds) + MARGIN, 0, 0
        while True:
            # The cancellation may have come while the approval's workflow closed, which it then did not reach.
            stop_if_cancelled()
            since = workflow.now()
            try:
                outcome = await self._run_tool(permit, turn, time, since)
            except FailureError as error:
                self._work.add(worked_seconds(error, time), since)
                if is_database_away(error) and workflow.patched(OUTAGE_SHOWN):
                    if is_outcome_lost(error):
                        turn = turn.model_copy(update={"lost": True})
                    away += 1
                    await self._until_database(error, away)
                elif is_halted(error):
                    await self._until_released(error)
                elif is_busy(error) and workflow.patched(TURNS_AWAITED):
                    refused += 1
                    await self._until_turn(error, refused)
                else:
                    raise
            else:
                self._add(outcome.worked_ms, since)
                return outcome

    async def _run_tool(self, permit: Permit, turn: ToolTurn, time: timedelta, since: datetime) -> ToolOutcome:
        if not permit.quick:
            return await run_tool(turn, ToolOutcome, permit.tool, time)

        def slow(error: FailureError) -> None:
            # A local activity has no timeout but that of all its attempts, which it has spent at work.
            worked = None if has_timed_out(error) else worked_seconds(error, LOCAL_TIME)
            if worked != 0 and workflow.patched(LOCAL_WORK_COUNTED):
                self._work.add(worked, since)

        return await run_local("run_tool", turn, ToolOutcome, retries=TOOL, regular_time=time, slow=slow)

    def _model_time(self, plan: RunPlan) -> timedelta:
        longest = timedelta(seconds=plan.model_call_seconds) + MARGIN
        return min(longest, self._work.left(plan.max_seconds))

    def _add(self, milliseconds: int | None, since: datetime) -> None:
        self._work.add(None if milliseconds is None else milliseconds / 1_000, since)

    async def _until_released(self, error: FailureError) -> None:
        await self._waits.until_released(error)
        await self._until_resumed()

    async def _until_turn(self, error: FailureError, times: int) -> None:
        await self._waits.until_turn(error, times)
        await self._until_resumed()

    async def _until_database(self, error: FailureError, times: int) -> None:
        await self._waits.until_database(error, times)
        await self._until_resumed()
