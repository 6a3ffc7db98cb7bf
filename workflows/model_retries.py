"""Retries of a failed model call by the run itself, so that its status shows the next attempt."""

from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError

from workflows.run_work import RunWork
from workflows.runtime.activity_calls import asked_wait, last_failure, may_pass

with workflow.unsafe.imports_passed_through():
    from models.messages.runs import RetryNote, RunPlan
    from taskforce.core.domain.runs.model_retry import MESSAGE_SHOWN, gives_up, pause_before
    from taskforce.core.domain.runs.run import TIME_USED_UP

# 2026-12: in older histories the server retries the activity, which the run's status cannot show.
RETRIED_BY_THE_RUN = "model-calls-retried-by-the-run"


class ModelRetries:
    """The attempts of one model call.

    Attributes:
        tried: Number of failed attempts.
    """

    def __init__(self) -> None:
        self.tried = 0
        self._failing_since: datetime | None = None

    def begin_anew(self) -> None:
        """Forgets since when the call fails: the model's patience does not run while a kill switch halts the run."""
        self._failing_since = None

    def begin_again(self) -> None:
        """Counts an attempt that the database failed: the model has not, but usage is recorded by attempt."""
        self.tried += 1
        self._failing_since = None

    def next_try(self, error: FailureError, plan: RunPlan, work: RunWork) -> RetryNote:
        """Returns the next attempt after a failure.

        Args:
            error: The failure.
            plan: The run's plan with patience and longest pause.
            work: The run's work, what the failed attempt took included.

        Returns:
            The next attempt.

        Raises:
            FailureError: No attempt is left: a retry changes nothing, or the patience or the run's time
                (`time_used_up`) is over.
        """
        if not may_pass(error) or not workflow.patched(RETRIED_BY_THE_RUN):
            raise error
        now, code, message = workflow.now(), *last_failure(error)
        self.tried += 1
        self._failing_since = self._failing_since or now
        attempt = self.tried + 1
        # `workflow.random`: a replay must draw the same number.
        pause = pause_before(attempt, plan.model_pause_seconds, asked_wait(error), workflow.random().random())
        failing, patience = now - self._failing_since, plan.model_patience_seconds
        is_impatient = gives_up(failing, pause, patience)
        if work.is_counted():
            is_used_up = work.counted >= timedelta(seconds=plan.max_seconds)
        else:
            left = work.time_left(plan.max_seconds)
            is_used_up = pause >= left and not (is_impatient and timedelta(seconds=patience) - failing < left)
        if is_used_up:
            raise ApplicationError(message, type=TIME_USED_UP, non_retryable=True) from None
        if is_impatient:
            text = f"{message} ({'tried once' if self.tried == 1 else f'tried {self.tried} times'})"
            raise ApplicationError(text, type=code, non_retryable=True) from None
        return RetryNote(attempt=attempt, at=now + pause, code=code, message=message[:MESSAGE_SHOWN])
