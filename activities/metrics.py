"""The measurement of activities for the metrics, applied to every activity by an interceptor."""

import asyncio
import time
from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory, CancelledError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from taskforce.core.interfaces.metrics import ActivityEnded, FactObserver


class MetricsInterceptor(Interceptor):
    """Tells an observer of each attempt of an activity.

    Args:
        observer: Who is told.
    """

    def __init__(self, observer: FactObserver) -> None:
        self._observer = observer

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        """Wraps an activity with the measurement."""
        return _Measuring(next, self._observer)


class _Measuring(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, observer: FactObserver) -> None:  # noqa: A002
        super().__init__(next)
        self._observer = observer

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002, ANN401 - the SDK's signature
        began, outcome = time.perf_counter(), "failed"
        try:
            result = await self.next.execute_activity(input)
            outcome = "succeeded"
            return result
        except (asyncio.CancelledError, CancelledError):
            outcome = "cancelled"
            raise
        except ApplicationError as error:
            # Refused for now, as it should be.
            outcome = "postponed" if error.category is ApplicationErrorCategory.BENIGN else "failed"
            raise
        finally:
            seconds = time.perf_counter() - began
            self._observer.observed("", [ActivityEnded(activity.info().activity_type, outcome, seconds)])
