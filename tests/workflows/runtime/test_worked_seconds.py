"""What a failed activity has worked, as its failure tells."""

from datetime import timedelta

import pytest
from temporalio import exceptions
from temporalio.exceptions import ApplicationError, TimeoutType

from workflows.runtime.activity_calls import worked_seconds

MINUTE = timedelta(minutes=1)


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
    assert worked_seconds(error, MINUTE) == seconds
