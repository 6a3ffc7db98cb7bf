"""Spans of activities: one an attempt, in the trace of the workflow that calls it."""

from collections.abc import Mapping
from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from taskforce.core.domain.traces import (
    CAUSE_HEADER,
    DELIVERY,
    HEADER,
    RUN,
    TENANT,
    derived_traceparent,
    traceparent_in,
)
from taskforce.core.interfaces.tracing import Attribute, SpanKind, SpanStart, Tracer

UNTRACED = frozenset({"await_release"})
"""Polls: the server repeats them for as long as a kill switch halts the run, which may be days."""

_SAID: Mapping[str, str] = {
    "tenant_id": TENANT,
    "run_id": RUN,
    "step": "taskforce.step",
    "call": "taskforce.call",
    "request_id": "taskforce.approval.id",
    "delivery_id": DELIVERY,
    "status": "taskforce.status",
}
"""The attributes for what messages say; their other fields may hold content."""


class ActivitySpans(Interceptor):
    """Traces activities.

    Args:
        tracer: The process's tracer.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        """Wraps an activity with its span."""
        return _SpanInboundInterceptor(next, self._tracer)


class _SpanInboundInterceptor(ActivityInboundInterceptor):
    def __init__(self, inner: ActivityInboundInterceptor, tracer: Tracer) -> None:
        super().__init__(inner)
        self._tracer = tracer

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002, ANN401 - the SDK's signature
        info = activity.info()
        if info.activity_type in UNTRACED:
            return await self.next.execute_activity(input)
        # A workflow that was started by a process without tracing has given none.
        parent = _read(input, HEADER) or derived_traceparent(info.workflow_id or info.activity_id)
        cause = _read(input, CAUSE_HEADER)
        start = SpanStart(info.activity_type, SpanKind.CONSUMER, _attributes(info, input))
        with self._tracer.span(start, parent=parent, links=(cause,) if cause else ()) as span:
            try:
                return await self.next.execute_activity(input)
            except ApplicationError as error:
                if error.category is not ApplicationErrorCategory.BENIGN:
                    span.fail(error.type or "internal")
                    raise
                refused = error
        # Part of the way things go, such as a tenant's busy share: raised outside, where it does not fail the span.
        raise refused


def _read(called: ExecuteActivityInput, header: str) -> str | None:
    payload = called.headers.get(header)
    return None if payload is None else traceparent_in(payload.data)


def _attributes(info: activity.Info, called: ExecuteActivityInput) -> dict[str, Attribute]:
    message = called.args[0] if called.args else None
    said = {label: getattr(message, name, None) for name, label in _SAID.items()}
    return {
        "temporal.workflow.id": info.workflow_id or "",
        "temporal.workflow.run_id": info.workflow_run_id or "",
        "temporal.activity.attempt": info.attempt,
        **{label: value for label, value in said.items() if isinstance(value, str | int)},
    }
