"""Heartbeats of running activities, by which the server notices a dead worker and delivers cancellations."""

import asyncio
from contextvars import copy_context
from typing import Any

from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from activities.work import reported_progress, worked_ms

EVERY_SECONDS = 2.0
# A heartbeat is a call to the server, which short activities need not make; cancellations arrive with it only.
FIRST_SECONDS = 0.5


class HeartbeatInterceptor(Interceptor):
    """Sends heartbeats for every running activity that has a heartbeat timeout."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        """Wraps an activity with heartbeats."""
        return _HeartbeatInboundInterceptor(next)


class _HeartbeatInboundInterceptor(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002, ANN401 - the SDK's signature
        if activity.info().heartbeat_timeout is None:
            return await self.next.execute_activity(input)
        timer = _HeartbeatTimer()
        try:
            return await self.next.execute_activity(input)
        finally:
            timer.stop()


class _HeartbeatTimer:
    """A repeating timer of heartbeats; cheaper than a task, since most activities end before the first one."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        # A timer's callback runs outside the activity's context, by which the SDK finds the activity.
        self._context = copy_context()
        self._next = self._loop.call_later(FIRST_SECONDS, self._beat, context=self._context)

    def stop(self) -> None:
        """Stops the timer."""
        self._next.cancel()

    def _beat(self) -> None:
        # Another attempt begins with what this one has worked; so does the run, if this process dies.
        activity.heartbeat(worked_ms(), *reported_progress())
        self._next = self._loop.call_later(EVERY_SECONDS, self._beat, context=self._context)
