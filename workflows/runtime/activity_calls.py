"""How workflows call activities: timeouts and retries in one place.

Local activities hold the workflow task, so they get seconds; when the world is slower than that (a database that
restarts), the same activity runs as a regular one, which waits as long as it takes.
"""

from datetime import timedelta
from typing import Any, TypeVar

from temporalio import exceptions, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    FailureError,
    RetryState,
    TimeoutType,
    is_cancelled_exception,
)

from workflows.runtime.markdown import summary as in_summary

with workflow.unsafe.imports_passed_through():
    from pydantic import BaseModel

Result = TypeVar("Result")

LOCAL = RetryPolicy(initial_interval=timedelta(milliseconds=100), maximum_attempts=3)
PATIENT = RetryPolicy(initial_interval=timedelta(milliseconds=500), maximum_interval=timedelta(seconds=20))
# The run itself makes a failed call again, and says so; see `workflows/model_retries.py`.
ONCE = RetryPolicy(maximum_attempts=1)
LOCAL_TIME = timedelta(seconds=5)
ROW_TIME = timedelta(seconds=60)
DECISION_PATIENCE = timedelta(minutes=2)
"""For so long a decision is tried before whoever has made it is told that it could not be taken."""
MODEL_TIME = timedelta(minutes=10)
MODEL_PATIENCE = timedelta(minutes=30)
SEND = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=60))
SEND_TIME = timedelta(minutes=2)
HEARTBEAT = timedelta(seconds=10)
MARGIN = timedelta(seconds=15)


async def run_local(
    activity: str,
    message: BaseModel,
    result: type[Result] | None = None,
    *,
    time: timedelta = LOCAL_TIME,
    patience: timedelta | None = None,
) -> Result:
    """Runs an idempotent activity that takes milliseconds.

    Args:
        activity: Its name.
        message: Its input.
        result: The type of what it returns; None for nothing.
        time: Time for the local attempt.
        patience: Time for the regular activity that follows a slow one; None waits for as long as it takes.

    Returns:
        What the activity returned.

    Raises:
        FailureError: The activity said no, in a way that a retry does not change.
    """
    try:
        value: Result = await _local(activity, message, result, time)
        return value
    except FailureError as error:
        # The SDK raises a local activity's failure as it is, a regular one's within an ActivityError.
        if is_cancelled_exception(error) or refusal(error) is not None:
            raise
    return await run_regular(activity, message, result, patience=patience)


async def _local(activity: str, message: BaseModel, result: type[Result] | None, time: timedelta) -> Any:  # noqa: ANN401
    return await workflow.execute_local_activity(
        activity, message, result_type=result, schedule_to_close_timeout=time, retry_policy=LOCAL
    )


async def run_regular(
    activity: str,
    message: BaseModel,
    result: type[Result] | None = None,
    *,
    time: timedelta = ROW_TIME,
    patience: timedelta | None = None,
    summary: str | None = None,
) -> Result:
    """Runs an idempotent activity that may take as long as it takes, seen in the Temporal UI.

    A worker that dies meanwhile is noticed by its silence, long before the time of the attempt is over.

    Args:
        activity: Its name.
        message: Its input.
        result: The type of what it returns; None for nothing.
        time: Time for each attempt.
        patience: Time for all attempts; None waits for as long as it takes.
        summary: What the Temporal UI calls it.

    Raises:
        ActivityError: The activity said no, or the time is over.
    """
    value: Result = await workflow.execute_activity(
        activity,
        message,
        result_type=result,
        start_to_close_timeout=time,
        schedule_to_close_timeout=patience,
        heartbeat_timeout=HEARTBEAT,
        retry_policy=PATIENT,
        summary=summary and in_summary(summary),
    )
    return value


async def call_model(message: BaseModel, result: type[Result], left: timedelta) -> Result:
    """Makes one attempt of `call_model`, within the time that the run has left.

    Raises:
        ActivityError: The model refused, failed, or did not answer in time.
    """
    reply: Result = await workflow.execute_activity(
        "call_model",
        message,
        result_type=result,
        start_to_close_timeout=MODEL_TIME,
        schedule_to_close_timeout=min(MODEL_PATIENCE, left),
        heartbeat_timeout=HEARTBEAT,
        retry_policy=ONCE,
        cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    )
    return reply


async def run_tool(message: BaseModel, result: type[Result], tool: str, time: timedelta, left: timedelta) -> Result:
    """Runs a tool that is slow or touches the world as a regular activity, named by its tool in the Temporal UI."""
    outcome: Result = await workflow.execute_activity(
        "run_tool",
        message,
        result_type=result,
        start_to_close_timeout=time,
        schedule_to_close_timeout=max(left, time),
        heartbeat_timeout=HEARTBEAT,
        retry_policy=PATIENT,
        cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary=in_summary(tool),
    )
    return outcome


async def deliver(message: BaseModel, result: type[Result], summary: str) -> Result:
    """Makes one attempt to deliver to a webhook. A refusal is a result; only our own parts are retried."""
    outcome: Result = await workflow.execute_activity(
        "attempt_delivery",
        message,
        result_type=result,
        start_to_close_timeout=SEND_TIME,
        heartbeat_timeout=HEARTBEAT,
        retry_policy=SEND,
        cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary=summary and in_summary(summary),
    )
    return outcome


def refusal(error: BaseException) -> ApplicationError | None:
    """The failure that retrying does not change, if that is what an activity's error holds."""
    cause = error.cause if isinstance(error, ActivityError) else error
    return cause if isinstance(cause, ApplicationError) and cause.non_retryable else None


def is_refusal(error: BaseException, code: str) -> bool:
    """Whether the failure says no with a certain code."""
    refused = refusal(error)
    return refused is not None and refused.type == code


def may_pass(error: BaseException) -> bool:
    """Whether an activity that is made once failed in a way that another attempt may change."""
    cause = error.cause if isinstance(error, ActivityError) else None
    if isinstance(cause, exceptions.TimeoutError):
        return cause.type in {TimeoutType.HEARTBEAT, TimeoutType.START_TO_CLOSE}
    return isinstance(cause, ApplicationError) and not cause.non_retryable


def asked_wait(error: BaseException) -> float | None:
    """Seconds that a failure asks to wait before the next attempt."""
    cause = error.cause if isinstance(error, ActivityError) else None
    delay = cause.next_retry_delay if isinstance(cause, ApplicationError) else None
    return None if delay is None else delay.total_seconds()


def ran_out(error: BaseException) -> bool:
    """Whether the activity was given up because its time was over, or would have been before the next attempt."""
    return isinstance(error, ActivityError) and (
        error.retry_state is RetryState.TIMEOUT or isinstance(error.cause, exceptions.TimeoutError)
    )


def failure_kind(error: BaseException) -> str | None:
    """Reads the kind of the domain's error that an activity's failure holds; None where it holds none.

    Failures that older workers have recorded do not say it.
    """
    found = None
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ApplicationError):
            found = next((detail for detail in cause.details if isinstance(detail, str)), None)
        cause = cause.__cause__
    return found


def last_failure(error: BaseException) -> tuple[str, str]:
    """Code and message of the innermost failure that an activity's error holds, for the run's row."""
    silent = "model_unavailable" if getattr(error, "activity_type", None) == "call_model" else "internal"
    found = (silent, str(error))
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ApplicationError):
            found = (cause.type or silent, cause.message)
        cause = cause.__cause__
    return found
