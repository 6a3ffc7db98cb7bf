"""Retries of a failed model call by the run itself, so that its status shows the next attempt."""

from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError

from workflows.run_work import RunWork
from workflows.runtime.activity_calls import asked_wait, is_worker_lost, last_failure, may_pass

with workflow.unsafe.imports_passed_through():
    from models.messages.runs import RetryNote, RunPlan
    from taskforce.core.domain.runs.model_retry import MESSAGE_SHOWN, MOST_LOST_WORKERS, gives_up, pause_before
    from taskforce.core.domain.runs.run import TIME_USED_UP

# 2026-12: in older histories the server retries the activity, which the run's status cannot show.
RETRIED_BY_THE_RUN = "model-calls-retried-by-the-run"
PATIENCE_COUNTED = "model-patience-is-counted"
"""2026-12: patience is for the pauses of a call and what its attempts worked; before, all time since its first failure
was held against it, also time in which no worker lived."""


class ModelRetries:
    """The attempts of one model call.

    Attributes:
        tried: Number of failed attempts.
    """

    def __init__(self) -> None:
        self.tried = 0
        self._lost_workers = 0
        self._pause = timedelta()
        self._failing: timedelta | None = None
        # What older histories hold against the patience.
        self._failing_since: datetime | None = None

    def begin_anew(self) -> None:
        """Forgets for how long the call fails: the model's patience does not run while a kill switch halts the run."""
        self._failing = self._failing_since = None

    def begin_again(self) -> None:
        """Counts an attempt that the database failed: the model has not, but usage is recorded by attempt."""
        self.tried += 1
        self.begin_anew()

    def next_try(self, error: FailureError, plan: RunPlan, work: RunWork, took: timedelta) -> RetryNote:
        """Returns the next attempt after a failure.

        Args:
            error: The failure.
            plan: The run's plan with patience and longest pause.
            work: The run's work, what the failed attempt took included.
            took: The failed attempt's work.

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
        is_impatient = self._is_impatient(error, took, pause, patience)
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

    def _is_impatient(self, error: FailureError, took: timedelta, pause: timedelta, patience: int) -> bool:
        since = self._failing_since or workflow.now()
        before = gives_up(workflow.now() - since, pause, patience)
        self._lost_workers = self._lost_workers + 1 if is_worker_lost(error) else 0
        if 0 < self._lost_workers <= MOST_LOST_WORKERS:
            # Not the model's failure: what comes next is its first.
            self._failing, now = None, False
        else:
            self._failing = timedelta() if self._failing is None else self._failing + self._pause + took
            now = gives_up(self._failing, pause, patience)
        self._pause = pause
        # Where both say the same nobody needs to know which of them counts, and no history grows by the patch.
        return now if now == before or workflow.patched(PATIENCE_COUNTED) else before
