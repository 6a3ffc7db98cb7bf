"""Shares of the tenants in one worker: whose model calls or tools hang keeps nobody else from its places."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from activities.work import resume_work, suspend_work
from taskforce.core.domain.access.fair_shares import TENANT_BUSY, FairShares, tenant_busy
from taskforce.core.domain.errors import Limited

MODEL_CALLS = 600
TOOL_CALLS = 600
ADMITTED_FOR_EACH = 2.5
SHORT_ACTIVITIES = 200
"""Slots besides, for all activities that take milliseconds."""
LONGEST_PAUSE = 60.0
"""Seconds at most before a refused activity is tried again."""
# A waiting attempt uses up its timeout: a tool's has a margin of 15 s, a model call's has minutes.
PATIENCE = {"call_model": timedelta(seconds=30), "run_tool": timedelta(seconds=5)}


@dataclass(frozen=True, slots=True)
class CallLimits:
    """Bounds the slow activities that one worker performs at a time; a tenant alone gets a third.

    Attributes:
        model_calls: Number of model calls.
        tool_calls: Number of calls of tools that are not quick.
        retry_seconds: Time before a refused activity is tried again.
    """

    model_calls: int = MODEL_CALLS
    tool_calls: int = TOOL_CALLS
    retry_seconds: float = 5.0

    @property
    def slots(self) -> int:
        """Returns the number of activities that the worker takes from the server: a slot is a coroutine, and cheap."""
        return _admitted(self.model_calls) + _admitted(self.tool_calls) + SHORT_ACTIVITIES


class TenantShares(Interceptor):
    """Lets a slow activity begin when its tenant's share has room; it waits for a while, then it is tried again later.

    The refusal is retryable and comes before the activity has done anything.

    Args:
        limits: The bounds.
    """

    def __init__(self, limits: CallLimits | None = None) -> None:
        limits = limits or CallLimits()
        # Apart, so that a tenant's tools keep nobody's model calls waiting either, not even its own.
        calls = {"call_model": limits.model_calls, "run_tool": limits.tool_calls}
        self._turns = {activity_type: _Turns(most, limits.retry_seconds) for activity_type, most in calls.items()}

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        """Wraps an activity with the wait for its tenant's share."""
        return _TurnInboundInterceptor(next, self._turns)


class _Turns:
    """The shares of one kind of activity: of those that are performed, and of those that wait for it besides."""

    def __init__(self, calls: int, retry_seconds: float) -> None:
        self.begun = _shares(calls, retry_seconds)
        self.admitted = _shares(_admitted(calls), retry_seconds)


class _TurnInboundInterceptor(ActivityInboundInterceptor):
    def __init__(self, inner: ActivityInboundInterceptor, turns: Mapping[str, _Turns]) -> None:
        super().__init__(inner)
        self._turns = turns

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002, ANN401 - the SDK's signature
        info = activity.info()
        turns = self._turns.get(info.activity_type)
        # A local activity holds its workflow task and is over within seconds: it does not wait.
        if turns is None or info.is_local:
            return await self.next.execute_activity(input)
        tenant_id = str(getattr(input.args[0], "tenant_id", ""))
        suspend_work()
        try:
            with turns.admitted.taken(tenant_id):
                async with turns.begun.awaited(tenant_id, _patience(info).total_seconds()):
                    resume_work()
                    return await self.next.execute_activity(input)
        except Limited as error:
            if error.code != TENANT_BUSY:
                raise
            # Later and later, for a tool has a bounded number of attempts and a turn may take hours to come.
            raise tenant_busy(min((error.retry_after or 0) * info.attempt, LONGEST_PAUSE)) from None


def _patience(info: activity.Info) -> timedelta:
    longest = PATIENCE[info.activity_type]
    # Of a run with little time left the call gets little, and a timeout would count as work.
    return longest if info.start_to_close_timeout is None else min(longest, info.start_to_close_timeout / 2)


def _admitted(calls: int) -> int:
    return int(calls * ADMITTED_FOR_EACH)


def _shares(places: int, retry_seconds: float) -> FairShares:
    return FairShares(places, partial(tenant_busy, retry_seconds))
