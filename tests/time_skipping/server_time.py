"""The time of a server that skips, for everything in the product that takes a clock."""

import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio import client, worker
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput

from taskforce.core.domain.approvals.changes import Change
from taskforce.core.domain.approvals.submissions import DecisionResult, SubmittedDecision
from tests.fixtures.stack import PROOF_KEY
from workflows.client.approvals import ApprovalClient
from workflows.client.client import WorkflowClient
from workflows.client.executions import WorkflowExecutions

_Reading = tuple[datetime, float]


class ServerTime(client.Interceptor, worker.Interceptor):
    """A clock that reads the server's time when an activity begins.

    The server does not skip while an activity runs, so that from then on its time goes as everybody's does. A client
    that is made with this interceptor hands it to its workers.
    """

    def __init__(self) -> None:
        self._ask: Callable[[], Awaitable[datetime]] | None = None
        self._reading: ContextVar[_Reading] = ContextVar("reading")

    def follow(self, ask: Callable[[], Awaitable[datetime]]) -> None:
        """Names what knows the server's time; it is there only after the client is made."""
        self._ask = ask

    def __call__(self) -> datetime:
        """The server's time, within an activity."""
        at, then = self._reading.get()
        return at + timedelta(seconds=time.monotonic() - then)

    async def read(self) -> None:
        assert self._ask is not None
        self._reading.set(((await self._ask()).astimezone(UTC), time.monotonic()))

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        return _Reads(next, self)


class SkippedClient(WorkflowClient):
    """The product's door to a server that skips: what goes through it is vouched for by the server's time.

    Args:
        client: A client of the server.
        task_queue: The queue that the workers poll.
        clock: The server's time.
    """

    def __init__(self, client: client.Client, task_queue: str, clock: ServerTime) -> None:
        super().__init__(client, task_queue, PROOF_KEY, clock)
        self.approvals = _SkippedApprovals(WorkflowExecutions(client, task_queue), clock)


class _SkippedApprovals(ApprovalClient):
    def __init__(self, executions: WorkflowExecutions, clock: ServerTime) -> None:
        super().__init__(executions, PROOF_KEY, clock)
        self._server = clock

    async def change(self, tenant_id: str, request_id: str, change: Change) -> DecisionResult:
        await self._server.read()
        return await super().change(tenant_id, request_id, change)

    async def decide(
        self, tenant_id: str, request_id: str, decision: SubmittedDecision, update_id: str | None = None
    ) -> DecisionResult:
        await self._server.read()
        return await super().decide(tenant_id, request_id, decision, update_id)


class _Reads(ActivityInboundInterceptor):
    def __init__(self, following: ActivityInboundInterceptor, clock: ServerTime) -> None:
        super().__init__(following)
        self._clock = clock

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        await self._clock.read()
        return await self.next.execute_activity(input)
