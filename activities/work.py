"""The time that an activity works: what its run is told of it, whatever becomes of the attempt."""

import time
from contextvars import ContextVar
from typing import Any

from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

_BEGAN: ContextVar[float | None] = ContextVar("_BEGAN", default=None)


def worked_ms() -> int:
    """Returns the milliseconds that the running activity has worked; 0 outside of one.

    Those of earlier attempts are among them, as far as their heartbeats have told.
    """
    began = _BEGAN.get()
    return 0 if began is None else round((time.monotonic() - began) * 1_000)


class WorkInterceptor(Interceptor):
    """Measures how long activities work."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        """Wraps an activity with the measurement."""
        return _WorkInboundInterceptor(next)


class _WorkInboundInterceptor(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002, ANN401 - the SDK's signature
        before = next((one for one in activity.info().heartbeat_details if isinstance(one, int)), 0)
        _BEGAN.set(time.monotonic() - before / 1_000)
        return await self.next.execute_activity(input)
