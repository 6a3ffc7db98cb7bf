"""Shares of the tenants in one worker: whose model calls or tools hang keeps nobody else from its places."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from activities.work import resume_work, suspend_work
from taskforce.core.domain.access.fair_shares import TENANT_BUSY, TURN_SECONDS, FairShares, tenant_busy
from taskforce.core.domain.errors import Limited, Unavailable

MODEL_CALLS = 600
TOOL_CALLS = 600
WORKFLOW_TASKS = 30
"""Workflow tasks that a worker performs at a time: more of them go on together, and each takes longer."""
QUICK_CALLS = WORKFLOW_TASKS
"""Each waits within its workflow task: so a tenant alone gets a third of these, too."""
ADMITTED_FOR_EACH = 2.5
SHORT_ACTIVITIES = 200
"""Slots besides, for all activities that take milliseconds."""
CALL_TIMED_OUT = "call_timed_out"
LONGEST_PAUSE = 60.0
"""Seconds at most before a refused activity is tried again."""
TOOL_TURN_SECONDS = 5.0
"""A waiting attempt uses up its timeout: a tool's has a margin of 15 s, a model call's has room for all of the wait."""


@dataclass(frozen=True, slots=True)
class CallLimits:
    """Bounds the slow activities that one worker performs at a time; a tenant alone gets a third.

    Attributes:
        model_calls: Number of model calls.
        tool_calls: Number of calls of tools that are not quick.
        quick_calls: Number of calls of quick tools, within their workflow task.
        turn_seconds: Longest wait of a model call for its turn, at most `TURN_SECONDS`.
        retry_seconds: Time before a refused activity is tried again.
    """

    model_calls: int = MODEL_CALLS
    tool_calls: int = TOOL_CALLS
    quick_calls: int = QUICK_CALLS
    turn_seconds: float = TURN_SECONDS
    retry_seconds: float = 5.0

    @property
    def slots(self) -> int:
        """Returns the number of activities that the worker takes from the server: a slot is a coroutine, and cheap."""
        return _admitted(self.model_calls) + _admitted(self.tool_calls) + SHORT_ACTIVITIES


class TenantShares(Interceptor):
    """Lets a slow activity begin when its tenant's share has room; it waits for a while, then it is tried again later.

    A quick tool does not wait: it is refused at once, and its workflow runs it as a slow one. The refusal is retryable
    and comes before the activity has done anything.

    Args:
        limits: The bounds.
    """

    def __init__(self, limits: CallLimits | None = None) -> None:
        limits = limits or CallLimits()
        # Apart, so that a tenant's tools keep nobody's model calls waiting either, not even its own.
        self._turns = {
            "call_model": _Turns(limits.model_calls, limits.turn_seconds, limits.retry_seconds),
            "run_tool": _Turns(limits.tool_calls, TOOL_TURN_SECONDS, limits.retry_seconds),
        }
        self._quick = {"run_tool": _shares(limits.quick_calls, limits.retry_seconds)}

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        """Wraps an activity with the wait for its tenant's share."""
        return _TurnInboundInterceptor(next, self._turns, self._quick)


class _Turns:
    """The shares of one kind of activity: of those that are performed, and of those that wait for it besides."""

    def __init__(self, calls: int, turn_seconds: float, retry_seconds: float) -> None:
        self._longest = timedelta(seconds=turn_seconds)
        self.begun = _shares(calls, retry_seconds)
        self.admitted = _shares(_admitted(calls), retry_seconds)

    def patience(self, info: activity.Info) -> float:
        """Returns the seconds that an activity waits at most."""
        time = info.start_to_close_timeout
        # The timeout of a call of a workflow from before 2026-12 may be all that its run has left.
        return (self._longest if time is None else min(self._longest, time / 2)).total_seconds()


class _TurnInboundInterceptor(ActivityInboundInterceptor):
    def __init__(
        self, inner: ActivityInboundInterceptor, turns: Mapping[str, _Turns], quick: Mapping[str, FairShares]
    ) -> None:
        super().__init__(inner)
        self._turns = turns
        self._quick = quick

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002, ANN401 - the SDK's signature
        info = activity.info()
        turns, quick = self._turns.get(info.activity_type), self._quick.get(info.activity_type)
        tenant_id = str(getattr(input.args[0], "tenant_id", "")) if input.args else ""
        if info.is_local and quick is not None:
            # It holds its workflow task, which must not wait.
            with quick.taken(tenant_id):
                return await self.next.execute_activity(input)
        if turns is None or info.is_local:
            return await self.next.execute_activity(input)
        seconds: float | None = getattr(input.args[0], "seconds", None)
        suspend_work()
        try:
            with turns.admitted.taken(tenant_id):
                async with turns.begun.awaited(tenant_id, turns.patience(info)):
                    resume_work()
                    async with _bounded(seconds):
                        return await self.next.execute_activity(input)
        except Limited as error:
            if error.code != TENANT_BUSY:
                raise
            # Later and later, for workflows from before 2026-12 have a bounded number of attempts of a tool.
            raise tenant_busy(min((error.retry_after or 0) * info.attempt, LONGEST_PAUSE)) from None


@asynccontextmanager
async def _bounded(seconds: float | None) -> AsyncIterator[None]:
    """Bounds the time of a call from here; None leaves it to the activity's timeout.

    Raises:
        Unavailable: `call_timed_out`.
    """
    # A millisecond more, in which it is told what the call has worked: the run compares that with the same bound.
    deadline = asyncio.timeout(None if seconds is None else seconds + 0.001)
    try:
        async with deadline:
            yield
    except (TimeoutError, asyncio.CancelledError):
        task = asyncio.current_task()
        if not deadline.expired() or (task is not None and task.cancelling()):
            raise
        raise Unavailable(CALL_TIMED_OUT, f"The call took longer than {seconds:g} s.") from None


def _admitted(calls: int) -> int:
    return int(calls * ADMITTED_FOR_EACH)


def _shares(places: int, retry_seconds: float) -> FairShares:
    return FairShares(places, partial(tenant_busy, retry_seconds))
