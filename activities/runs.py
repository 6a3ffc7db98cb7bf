"""Activities that steer a run's row."""

from temporalio import activity

from models.messages.frame import RunRef
from models.messages.runs import RunEnd, RunNote, RunPlan
from taskforce.application.running import Running
from taskforce.core.domain.runs import Ending, RunStatus, StopReason


class RunActivities:
    """Begin, notes, totals and end of a run.

    Args:
        running: The use cases.
        answer_seconds: How long a run waits for a person's answer.
    """

    def __init__(self, running: Running, answer_seconds: int) -> None:
        self._running = running
        self._answer_seconds = answer_seconds

    @activity.defn(name="begin_run")
    async def begin_run(self, ref: RunRef) -> RunPlan:
        """Marks the run as running and tells the workflow what it needs to steer it."""
        brief = await self._running.begin(ref.tenant_id, ref.run_id)
        return RunPlan(
            agent_id=brief.agent.agent_id,
            user_id=brief.user_id,
            max_steps=brief.limits.max_steps,
            max_tokens=brief.limits.max_tokens,
            max_seconds=brief.limits.max_seconds,
            answer_seconds=self._answer_seconds,
        )

    @activity.defn(name="note_status")
    async def note_status(self, note: RunNote) -> None:
        """Records that the run waits, is paused, or goes on."""
        await self._running.note(note.tenant_id, note.run_id, RunStatus(note.status), note.waiting_for)

    @activity.defn(name="record_usage")
    async def record_usage(self, ref: RunRef) -> None:
        """Closes the totals of a part of the run that continues as new."""
        await self._running.total(ref.tenant_id, ref.run_id)

    @activity.defn(name="finish_run")
    async def finish_run(self, end: RunEnd) -> None:
        """Ends the run: totals, answer, milestone, audit."""
        reason = StopReason(end.stop_reason) if end.stop_reason else None
        ending = Ending(RunStatus(end.status), reason, end.error_code, end.error_message)
        await self._running.end(end.tenant_id, end.run_id, ending)
