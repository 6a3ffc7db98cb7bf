"""How a run makes a model call again that failed: what may pass is tried again for a while, and people see when."""

from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError

from workflows.runtime.activity_calls import asked_wait, last_failure, may_pass

with workflow.unsafe.imports_passed_through():
    from models.messages.runs import RetryNote, RunPlan
    from taskforce.core.domain.runs.model_retry import MESSAGE_SHOWN, gives_up, pause_before
    from taskforce.core.domain.runs.run import TIME_USED_UP

# 2026-12: the calls of runs that failed before were made again by the server, which told nobody.
RETRIED_BY_THE_RUN = "model-calls-retried-by-the-run"


class ModelRetries:
    """The tries of one model call.

    Attributes:
        tried: How often it was made.
    """

    def __init__(self) -> None:
        self.tried = 0
        self._failing_since: datetime | None = None

    def next_try(self, error: FailureError, plan: RunPlan, left: timedelta) -> RetryNote:
        """When the call is made again.

        Args:
            error: Why it failed.
            plan: How long it may be tried, and the longest pause.
            left: What is left of the run's time.

        Returns:
            The next try, as it is shown.

        Raises:
            FailureError: It is not: retrying changes nothing, or the patience or the run's time are over
                (`time_used_up`).
        """
        if not may_pass(error) or not workflow.patched(RETRIED_BY_THE_RUN):
            raise error
        now, code, message = workflow.now(), *last_failure(error)
        self.tried += 1
        self._failing_since = self._failing_since or now
        attempt = self.tried + 1
        pause = pause_before(attempt, plan.model_pause_seconds, asked_wait(error), workflow.random().random())
        failing, patience = now - self._failing_since, plan.model_patience_seconds
        if gives_up(failing, pause, patience) and timedelta(seconds=patience) - failing < left:
            told = f"{message} ({'tried once' if self.tried == 1 else f'tried {self.tried} times'})"
            raise ApplicationError(told, type=code, non_retryable=True) from None
        if pause >= left:
            raise ApplicationError(message, type=TIME_USED_UP, non_retryable=True) from None
        return RetryNote(attempt=attempt, at=now + pause, code=code, message=message[:MESSAGE_SHOWN])
