"""Activities that update a run's row."""

from decimal import Decimal

from temporalio import activity

from models.messages.budgets import BudgetWait
from models.messages.frame import RunRef
from models.messages.runs import RecordedUsage, RunEnd, RunEnded, RunNote, RunPlan, UnheardMessages
from taskforce.application.metering.budget_ledgers import BudgetLedgers
from taskforce.application.runs.kill_switches import ReleaseLook
from taskforce.application.runs.lifecycle import RunLifecycle, Waits
from taskforce.core.domain.runs.model_retry import ModelRetry
from taskforce.core.domain.runs.run import Ending, RunStatus, StopReason


class RunActivities:
    """The activities of a run's lifecycle: begin, status, totals and end.

    Args:
        lifecycle: The use cases of a run's lifecycle.
        release_look: Looks whether a run is halted.
        budgets: The ledgers of budgets.
    """

    def __init__(self, lifecycle: RunLifecycle, release_look: ReleaseLook, budgets: BudgetLedgers) -> None:
        self._lifecycle = lifecycle
        self._release_look = release_look
        self._budgets = budgets

    @activity.defn(name="begin_run")
    async def begin_run(self, ref: RunRef) -> RunPlan:
        """Marks a run that was started without its plan as running, and returns the plan."""
        return RunPlan.of(await self._lifecycle.begin(ref.tenant_id, ref.run_id))

    @activity.defn(name="read_plan")
    async def read_plan(self, ref: RunRef) -> RunPlan:
        """Returns the plan of a run whose limits were raised."""
        return RunPlan.of(await self._lifecycle.reread(ref.tenant_id, ref.run_id))

    @activity.defn(name="note_status")
    async def note_status(self, note: RunNote) -> None:
        """Records that the run waits, is paused, or is running again."""
        said = note.retry
        retry = None if said is None else ModelRetry(said.attempt, said.at, said.code, said.message)
        waits = Waits(RunStatus(note.status), note.waiting_for, note.questions, retry)
        await self._lifecycle.note(note.tenant_id, note.run_id, waits)

    @activity.defn(name="read_unheard_messages")
    async def read_unheard_messages(self, ref: RunRef) -> UnheardMessages:
        """Returns people's messages that are stored and that no step has heard."""
        return UnheardMessages(messages=tuple(await self._lifecycle.unheard(ref.tenant_id, ref.run_id)))

    @activity.defn(name="await_release")
    async def await_release(self, ref: RunRef) -> None:
        """Fails as long as a kill switch halts the run; the server repeats it, so that no history grows."""
        await self._release_look.look(ref.tenant_id, ref.run_id)

    @activity.defn(name="await_budget")
    async def await_budget(self, wait: BudgetWait) -> None:
        """Fails as long as a ledger has no room for the call that waits; the server repeats it."""
        full = wait.exceeded
        await self._budgets.look(wait.tenant_id, wait.run_id, full.budget_id, Decimal(full.needed), held=full.held)

    @activity.defn(name="record_usage")
    async def record_usage(self, ref: RunRef) -> RecordedUsage | None:
        """Adds up the usage records into the run's row, at the end of the run and of each part of it.

        So operators see in the history what was used; and what a call has used that was given up late is counted.
        """
        used = await self._lifecycle.total(ref.tenant_id, ref.run_id)
        if used is None:
            return None
        return RecordedUsage(
            steps=used.steps,
            tool_calls=used.tool_calls,
            input_tokens=used.input_tokens,
            output_tokens=used.output_tokens,
            wasted_tokens=used.wasted_tokens,
        )

    @activity.defn(name="finish_run")
    async def finish_run(self, end: RunEnd) -> RunEnded | None:
        """Closes the run's row: totals, answer, milestone, audit event; returns the status where it is another."""
        reason = StopReason(end.stop_reason) if end.stop_reason else None
        ending = Ending(RunStatus(end.status), reason, end.error_code, end.error_message)
        status = await self._lifecycle.end(end.tenant_id, end.run_id, ending)
        return None if status is None or status is ending.status else RunEnded(status=status.value)
