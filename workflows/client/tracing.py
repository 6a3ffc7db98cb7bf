"""Trace context of calls to Temporal: workflows and updates are given the span from which they follow."""

from typing import Any

from temporalio.client import (
    Interceptor,
    OutboundInterceptor,
    StartWorkflowInput,
    StartWorkflowUpdateInput,
    WorkflowHandle,
    WorkflowUpdateHandle,
)

from taskforce.core.interfaces.tracing import Tracer
from workflows.runtime.trace_headers import with_traceparent


class TracedCalls(Interceptor):
    """Adds the current span to the headers of starts and updates.

    Args:
        tracer: The process's tracer.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:  # noqa: A002 - the SDK's signature
        """Wraps the client."""
        return _Outbound(next, self._tracer)


class _Outbound(OutboundInterceptor):
    def __init__(self, inner: OutboundInterceptor, tracer: Tracer) -> None:
        super().__init__(inner)
        self._tracer = tracer

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:  # noqa: A002
        input.headers = with_traceparent(input.headers, self._tracer.current())
        return await super().start_workflow(input)

    async def start_workflow_update(self, input: StartWorkflowUpdateInput) -> WorkflowUpdateHandle[Any]:  # noqa: A002
        input.headers = with_traceparent(input.headers, self._tracer.current())
        return await super().start_workflow_update(input)
