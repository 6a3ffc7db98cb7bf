"""What a failed activity has worked, as its failure tells."""

from datetime import timedelta

import pytest
from temporalio import exceptions
from temporalio.exceptions import ActivityError, ApplicationError, RetryState, TimeoutType

from taskforce.core.domain.runs.model_retry import WORKER_SHUTDOWN
from workflows.runtime.activity_calls import is_worker_lost, worked_seconds

MINUTE = timedelta(minutes=1)


def within(cause: BaseException) -> ActivityError:
    """The error of a regular activity, as the SDK raises it."""
    error = ActivityError(
        "failed",
        scheduled_event_id=5,
        started_event_id=6,
        identity="",
        activity_type="call_model",
        activity_id="1",
        retry_state=RetryState.MAXIMUM_ATTEMPTS_REACHED,
    )
    error.__cause__ = cause
    return error


def timed_out(kind: TimeoutType, *beats: object) -> exceptions.TimeoutError:
    return exceptions.TimeoutError("over", type=kind, last_heartbeat_details=beats)


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (ApplicationError("failed", "unavailable", 2_500, type="model_unavailable"), 2.5),
        (ApplicationError("failed", "unavailable", 2_500, type="database_unavailable"), 0.0),
        (ApplicationError("an older worker's", "unavailable", type="model_unavailable"), None),
        (timed_out(TimeoutType.START_TO_CLOSE, 1_000), 60.0),
        (timed_out(TimeoutType.HEARTBEAT, 1_000), 1.0),
        (timed_out(TimeoutType.HEARTBEAT), 0.0),
        (timed_out(TimeoutType.SCHEDULE_TO_CLOSE), 0.0),
    ],
)
def test_what_a_failed_activity_has_worked(error: BaseException, seconds: float | None) -> None:
    assert worked_seconds(within(error), MINUTE) == seconds


@pytest.mark.parametrize(
    ("error", "is_lost"),
    [
        (timed_out(TimeoutType.HEARTBEAT), True),
        (ApplicationError("The worker stopped.", 1_000, type=WORKER_SHUTDOWN), True),
        (timed_out(TimeoutType.START_TO_CLOSE), False),
        (ApplicationError("failed", "unavailable", 2_500, type="model_unavailable"), False),
    ],
)
def test_which_attempts_have_lost_their_worker(error: BaseException, is_lost: bool) -> None:
    assert is_worker_lost(within(error)) is is_lost
