"""Trace context in Temporal's headers: a workflow hands on what it was started with, and starts no spans itself.

Workflow code is replayed, so that it neither reads a clock nor makes ids for spans: a header is data like
any other, and no command depends on it.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, NoReturn

from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.worker import (
    ContinueAsNewInput,
    HandleUpdateInput,
    Interceptor,
    StartActivityInput,
    StartChildWorkflowInput,
    StartLocalActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

with workflow.unsafe.imports_passed_through():
    from taskforce.core.domain.traces import CAUSE_HEADER, HEADER, header_of

Headers = Mapping[str, Payload]

_CAUSE: ContextVar[Payload | None] = ContextVar("_CAUSE", default=None)


def with_traceparent(headers: Headers, traceparent: str | None) -> Headers:
    """Adds a `traceparent` to headers; None adds nothing."""
    if traceparent is None:
        return headers
    return {**headers, HEADER: Payload(metadata={"encoding": b"json/plain"}, data=header_of(traceparent))}


class TraceHeaders(Interceptor):
    """Has workflows hand on their trace context."""

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:  # noqa: A002
        """Returns the interceptor of each workflow."""
        del input
        return _Inbound


class _Inbound(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_Outbound(outbound))

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:  # noqa: A002, ANN401 - the SDK's signature
        # A handler is a task of its own, and so is this context.
        _CAUSE.set(input.headers.get(HEADER))
        return await super().handle_update_handler(input)


class _Outbound(WorkflowOutboundInterceptor):
    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:  # noqa: A002
        input.headers = _handed_on(input.headers)
        return super().start_activity(input)

    def start_local_activity(self, input: StartLocalActivityInput) -> workflow.ActivityHandle[Any]:  # noqa: A002
        input.headers = _handed_on(input.headers)
        return super().start_local_activity(input)

    async def start_child_workflow(self, input: StartChildWorkflowInput) -> workflow.ChildWorkflowHandle[Any, Any]:  # noqa: A002
        input.headers = _handed_on(input.headers)
        return await super().start_child_workflow(input)

    def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:  # noqa: A002
        input.headers = _handed_on(input.headers)
        super().continue_as_new(input)


def _handed_on(headers: Headers) -> Headers:
    carried = {HEADER: workflow.info().headers.get(HEADER), CAUSE_HEADER: _CAUSE.get()}
    return {**headers, **{name: payload for name, payload in carried.items() if payload is not None}}
