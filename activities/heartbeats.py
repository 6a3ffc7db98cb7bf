"""Heartbeats while an activity works, so that a dead worker is noticed and a cancellation arrives."""

import asyncio
from contextvars import copy_context
from typing import Any

from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

EVERY_SECONDS = 2.0
# What is done sooner is told nobody: each heartbeat is a call to the server, and by it alone a cancellation arrives.
FIRST_SECONDS = 0.5


class HeartbeatInterceptor(Interceptor):
    """Every activity that is given a time for its heartbeats heartbeats, as long as it works."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        """Wraps each activity."""
        return _Beating(next)


class _Beating(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002, ANN401 - the SDK's signature
        if activity.info().heartbeat_timeout is None:
            return await self.next.execute_activity(input)
        beats = _Beats()
        try:
            return await self.next.execute_activity(input)
        finally:
            beats.stop()


class _Beats:
    """A timer that heartbeats, again and again: cheaper than a task for what mostly ends before the first."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        # The SDK finds the activity by its context.
        self._context = copy_context()
        self._next = self._loop.call_later(FIRST_SECONDS, self._beat, context=self._context)

    def stop(self) -> None:
        """Heartbeats no more."""
        self._next.cancel()

    def _beat(self) -> None:
        activity.heartbeat()
        self._next = self._loop.call_later(EVERY_SECONDS, self._beat, context=self._context)
