"""Calls of activities by workflows, with their timeouts and retry policies.

A local activity holds the workflow task, so it gets seconds; when it is slower (a database that restarts), the same
activity is run as a regular one, which may take as long as it needs.
"""

import asyncio
from collections.abc import Callable, Sequence
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

    from models.messages.budgets import BudgetWait, ExceededBudget
    from models.messages.runs import ModelTurn
    from taskforce.core.domain.access.fair_shares import TENANT_BUSY, TURN_SECONDS
    from taskforce.core.domain.runs.kill_switches import HALTED
    from taskforce.core.domain.runs.model_retry import WORKER_SHUTDOWN
    from taskforce.core.domain.runs.outcomes import OUTCOME_LOST, OUTCOME_PATIENCE

Result = TypeVar("Result")

STICKY_CANCEL = "cancellation-is-sticky"
"""2026-12: a cancellation that an activity or a child outlived ends the workflow; before, it was lost."""

# A halted step is not repeated by the server: the run itself waits for the release, without an end and visibly. Nor is
# a local one whose tenant is busy: a regular one waits for its turn and holds no workflow task meanwhile.
LOCAL = RetryPolicy(
    initial_interval=timedelta(milliseconds=100),
    maximum_attempts=3,
    non_retryable_error_types=[HALTED, TENANT_BUSY],
)
PATIENT = RetryPolicy(
    initial_interval=timedelta(milliseconds=500),
    maximum_interval=timedelta(seconds=20),
    non_retryable_error_types=[HALTED],
)
# The server does not repeat what the database did not answer: the run itself waits for it, without an end and visibly.
DATABASE_AWAY = ("database_busy", "database_closed", "database_outcome_unknown", "database_unavailable", OUTCOME_LOST)
# Attempts for about an hour. A timeout of all of them together would count time in which no worker lives. They are for
# the tool: one that its tenant's share had no room for has not been tried, and the run itself waits for the turn.
TOOL = RetryPolicy(
    initial_interval=timedelta(milliseconds=500),
    maximum_interval=timedelta(seconds=20),
    maximum_attempts=200,
    non_retryable_error_types=[HALTED, TENANT_BUSY, *DATABASE_AWAY],
)
RELEASE = RetryPolicy(initial_interval=timedelta(milliseconds=500), maximum_interval=timedelta(seconds=10))
BUDGET_LOOK = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=30))
# The run itself retries, so that its status shows the next attempt; see `workflows/model_retries.py`.
ONCE = RetryPolicy(maximum_attempts=1)
LOCAL_TIME = timedelta(seconds=5)
ROW_TIME = timedelta(seconds=60)
DECISION_PATIENCE = timedelta(minutes=2)
"""Time in which the activities of a decision are retried before its update fails."""
MODEL_PATIENCE = timedelta(minutes=30)
"""The longest that a model call of older histories waited; the activity's timeout was that or the run's last time."""
SEND = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=60))
SEND_TIME = timedelta(minutes=2)
HEARTBEAT = timedelta(seconds=10)
MARGIN = timedelta(seconds=15)
TURN = timedelta(seconds=TURN_SECONDS)


def stop_if_cancelled() -> None:
    """Raises the workflow's cancellation again, where an activity or a child has taken it and succeeded all the same.

    Called before each effect and each step: what is waited for until it has stopped (`WAIT_CANCELLATION_COMPLETED`)
    hands back its result, and Temporal delivers one request of a cancellation only.

    Raises:
        asyncio.CancelledError: The workflow's cancellation was requested.
    """
    if workflow.cancellation_reason() is not None and workflow.patched(STICKY_CANCEL):
        raise asyncio.CancelledError


def _ignored(_: object) -> None:
    pass


async def run_local(
    activity: str,
    message: BaseModel,
    result: type[Result] | None = None,
    *,
    time: timedelta = LOCAL_TIME,
    patience: timedelta | None = None,
    retries: RetryPolicy = PATIENT,
    regular_time: timedelta = ROW_TIME,
    waits: Callable[[bool], None] = _ignored,
    slow: Callable[[FailureError], None] = _ignored,
) -> Result:
    """Runs an idempotent activity that takes milliseconds.

    Args:
        activity: The activity's name.
        message: The activity's input.
        result: Type of the result; None for none.
        time: Timeout of the local activity.
        patience: Timeout of the regular activity that follows a slow local one; None waits without end.
        retries: Retries of the regular one.
        regular_time: Timeout of each attempt of the regular one.
        waits: Called with whether it waits for the database.
        slow: Called with the failure of the local one, before the regular one begins.

    Returns:
        The activity's result.

    Raises:
        FailureError: The activity refused (not retryable), or the patience is over.
    """
    try:
        value: Result = await _local(activity, message, result, time)
        return value
    except FailureError as error:
        # The SDK raises a local activity's failure as it is, a regular one's within an ActivityError.
        if is_cancelled_exception(error) or refusal(error) is not None or is_halted(error):
            raise
        slow(error)
        away = is_database_away(error)
    if away:
        waits(True)
    try:
        return await run_regular(activity, message, result, time=regular_time, patience=patience, retries=retries)
    finally:
        if away:
            waits(False)


async def _local(activity: str, message: BaseModel, result: type[Result] | None, time: timedelta) -> Any:  # noqa: ANN401
    # `schedule_to_close` bounds all attempts together, for the workflow task waits for them.
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
    retries: RetryPolicy = PATIENT,
    summary: str | None = None,
) -> Result:
    """Runs an idempotent activity as a regular one, visible in the Temporal UI.

    A dead worker is noticed by its missing heartbeats, long before the timeout of the attempt.

    Args:
        activity: The activity's name.
        message: The activity's input.
        result: Type of the result; None for none.
        time: Timeout of each attempt.
        patience: Timeout of all attempts together; None waits without end.
        retries: When another attempt follows.
        summary: Its label in the Temporal UI.

    Raises:
        ActivityError: The activity refused, or the patience is over.
    """
    value: Result = await workflow.execute_activity(
        activity,
        message,
        result_type=result,
        start_to_close_timeout=time,
        schedule_to_close_timeout=patience,
        heartbeat_timeout=HEARTBEAT,
        retry_policy=retries,
        summary=summary and in_summary(summary),
    )
    return value


async def call_model(message: ModelTurn, result: type[Result], time: timedelta) -> Result:
    """Makes one attempt of `call_model`.

    Args:
        message: The activity's input.
        result: Type of the result.
        time: How long the call may take. It waits for a worker without an end, and its time begins with its tenant's
            turn.

    Raises:
        ActivityError: The model refused, failed, or did not answer in time.
        asyncio.CancelledError: As `stop_if_cancelled`.
    """
    stop_if_cancelled()
    reply: Result = await workflow.execute_activity(
        "call_model",
        message.model_copy(update={"seconds": time.total_seconds()}),
        result_type=result,
        # The worker ends a call in time; the server ends one whose worker does not.
        start_to_close_timeout=time + TURN + MARGIN,
        heartbeat_timeout=HEARTBEAT,
        retry_policy=ONCE,
        # Waits for the activity to stop, so that it records the tokens of a cancelled call.
        cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    )
    return reply


async def run_tool(message: BaseModel, result: type[Result], tool: str, time: timedelta) -> Result:
    """Runs a slow tool, or one with outside effects, as a regular activity labelled by its tool."""
    outcome: Result = await workflow.execute_activity(
        "run_tool",
        message,
        result_type=result,
        # A tool gets its whole timeout, also where the run has less time left; then its outcome is stored.
        start_to_close_timeout=time + OUTCOME_PATIENCE,
        heartbeat_timeout=HEARTBEAT,
        retry_policy=TOOL,
        cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary=in_summary(tool),
    )
    return outcome


async def await_release(message: BaseModel) -> None:
    """Waits until no kill switch halts a run, however long that is; the server repeats the look."""
    await workflow.execute_activity(
        "await_release",
        message,
        start_to_close_timeout=ROW_TIME,
        heartbeat_timeout=HEARTBEAT,
        retry_policy=RELEASE,
        summary=in_summary("a kill switch to be let go"),
    )


async def await_budget(message: BudgetWait, time: timedelta | None = None) -> None:
    """Waits until a ledger has room for a call; the server repeats the look.

    Args:
        message: The call.
        time: For how long; None is for ever.
    """
    await workflow.execute_activity(
        "await_budget",
        message,
        schedule_to_close_timeout=time,
        start_to_close_timeout=ROW_TIME,
        heartbeat_timeout=HEARTBEAT,
        retry_policy=BUDGET_LOOK,
        summary=in_summary("room in a budget"),
    )


async def deliver(message: BaseModel, result: type[Result], summary: str) -> Result:
    """Makes one attempt of a delivery. The receiver's refusal is a result; only failures of our own are retried."""
    stop_if_cancelled()
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
    """Returns the non-retryable failure that an activity's error holds; None when it holds none."""
    cause = _cause(error)
    return cause if isinstance(cause, ApplicationError) and cause.non_retryable else None


def is_refusal(error: BaseException, code: str) -> bool:
    """Tells whether an error holds a non-retryable failure with a code."""
    refused = refusal(error)
    return refused is not None and refused.type == code


def exceeded_budget(error: BaseException) -> ExceededBudget | None:
    """Returns the ledger that had no room for a call, as its refusal tells; None where it tells nothing."""
    cause = _cause(error)
    details = cause.details if isinstance(cause, ApplicationError) else ()
    told = next((one for one in details if isinstance(one, dict)), None)
    return None if told is None else ExceededBudget.model_validate(told)


def is_halted(error: BaseException) -> bool:
    """Tells whether an activity refused because a kill switch is pulled."""
    return _has_code(error, HALTED)


def is_busy(error: BaseException) -> bool:
    """Tells whether an activity did not begin because its tenant had its share of the worker in use."""
    return _has_code(error, TENANT_BUSY)


def is_outcome_lost(error: BaseException) -> bool:
    """Tells whether a tool has ended whose outcome the database did not take."""
    return _has_code(error, OUTCOME_LOST)


def has_timed_out(error: BaseException) -> bool:
    """Tells whether an activity's time was over."""
    return isinstance(_cause(error), exceptions.TimeoutError)


def is_database_away(error: BaseException) -> bool:
    """Tells whether an activity failed because the database did not answer."""
    return _has_code(error, *DATABASE_AWAY)


def _has_code(error: BaseException, *codes: str) -> bool:
    cause = _cause(error)
    return isinstance(cause, ApplicationError) and cause.type in codes


def _cause(error: BaseException) -> BaseException | None:
    # The SDK raises a local activity's failure as it is, a regular one's within an ActivityError; so it does a local
    # activity's timeout, but not in a replay.
    return error.cause if isinstance(error, ActivityError) else error


def worked_seconds(error: BaseException, time: timedelta) -> float | None:
    """Returns the seconds that a failed activity has worked; None when it does not tell, as those of older workers.

    Args:
        error: The failure.
        time: The activity's timeout of an attempt.
    """
    cause = _cause(error)
    if is_database_away(error) and not is_outcome_lost(error):
        return 0.0
    if isinstance(cause, exceptions.TimeoutError):
        if cause.type is TimeoutType.START_TO_CLOSE:
            return time.total_seconds()
        # A worker has died: its last heartbeat tells.
        return _milliseconds(cause.last_heartbeat_details, 0) / 1_000
    if isinstance(cause, ApplicationError) and (told := _milliseconds(cause.details, -1)) >= 0:
        return told / 1_000
    return None


def _milliseconds(details: Sequence[object], default: int) -> int:
    return next((one for one in details if isinstance(one, int)), default)


def may_pass(error: BaseException) -> bool:
    """Tells whether another attempt of an activity may succeed."""
    cause = error.cause if isinstance(error, ActivityError) else None
    if isinstance(cause, exceptions.TimeoutError):
        return cause.type in {TimeoutType.HEARTBEAT, TimeoutType.START_TO_CLOSE}
    return isinstance(cause, ApplicationError) and not cause.non_retryable


def is_worker_lost(error: BaseException) -> bool:
    """Tells whether an attempt ended with its worker, which died or was stopped."""
    cause = _cause(error)
    if isinstance(cause, exceptions.TimeoutError):
        return cause.type is TimeoutType.HEARTBEAT
    return _has_code(error, WORKER_SHUTDOWN)


def asked_wait(error: BaseException) -> float | None:
    """Returns the seconds that a failure asks to wait before the next attempt; None when it does not."""
    cause = _cause(error)
    delay = cause.next_retry_delay if isinstance(cause, ApplicationError) else None
    return None if delay is None else delay.total_seconds()


def ran_out(error: BaseException) -> bool:
    """Tells whether an activity timed out, or would have before its next attempt."""
    return isinstance(error, ActivityError) and (
        error.retry_state is RetryState.TIMEOUT or isinstance(error.cause, exceptions.TimeoutError)
    )


def failure_kind(error: BaseException) -> str | None:
    """Returns the error kind that an activity's failure holds; None for failures recorded by older workers."""
    found = None
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ApplicationError):
            found = next((detail for detail in cause.details if isinstance(detail, str)), None)
        cause = cause.__cause__
    return found


def last_failure(error: BaseException) -> tuple[str, str]:
    """Returns code and message of the innermost failure of an activity's error, for the run's row."""
    # An activity that timed out carries no code of the product's.
    silent = "model_unavailable" if getattr(error, "activity_type", None) == "call_model" else "internal"
    found = (silent, str(error))
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ApplicationError):
            found = (cause.type or silent, cause.message)
        cause = cause.__cause__
    return found
