"""Workflow executions of any type: start, handle and list."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from temporalio.client import Client, WorkflowHandle, WorkflowHistoryEventFilterType
from temporalio.common import (
    Priority,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.types import MethodAsyncSingleParam

from taskforce.core.interfaces.tracing import NO_TRACING, Tracer
from taskforce.core.interfaces.workflows import WorkflowState
from workflows.client.errors import mapped
from workflows.runtime import markdown, search_attributes

Workflow = TypeVar("Workflow")
Given = TypeVar("Given")
Outcome = TypeVar("Outcome")

RPC_TIME = timedelta(seconds=10)
PAGE = 1_000


class WorkflowExecutions:
    """Starts and finds workflow executions, for the clients of each noun.

    Args:
        client: A connected client.
        task_queue: The queue that the workers poll.
        tracer: Traces starts.
    """

    def __init__(self, client: Client, task_queue: str, tracer: Tracer = NO_TRACING) -> None:
        self.tracer = tracer
        self.client = client
        self.task_queue = task_queue

    async def start(
        self,
        run: MethodAsyncSingleParam[Workflow, Given, Outcome],
        given: Given,
        *,
        workflow_id: str,
        attributes: Mapping[SearchAttributeKey[str], str],
        summary: str,
        noun: str,
        reuse: WorkflowIDReusePolicy = WorkflowIDReusePolicy.REJECT_DUPLICATE,
    ) -> bool:
        """Starts a workflow; a running one is left as it is.

        Args:
            run: The workflow's run method.
            given: The workflow's input.
            workflow_id: The workflow id.
            attributes: The search attributes, the tenant's among them: servers that know fairness keys let tenants
                take turns by it, for the workflow and, as they inherit it, for its activities and children.
            summary: The label in the Temporal UI.
            noun: The noun for `<noun>_not_found`.
            reuse: Whether a closed workflow may be started again.

        Returns:
            False when it was started before.

        Raises:
            Unavailable: `temporal_unavailable`.
        """
        try:
            await self.client.start_workflow(
                run,
                given,
                id=workflow_id,
                task_queue=self.task_queue,
                id_reuse_policy=reuse,
                search_attributes=TypedSearchAttributes([SearchAttributePair(k, v) for k, v in attributes.items()]),
                static_summary=markdown.summary(summary),
                priority=Priority(fairness_key=attributes[search_attributes.TENANT]),
                rpc_timeout=RPC_TIME,
            )
        # Started before, by another attempt or by recovery: the outcome is the same.
        except WorkflowAlreadyStartedError:
            return False
        except RPCError as error:
            raise mapped(error, noun) from error
        return True

    def handle(
        self, run: MethodAsyncSingleParam[Workflow, Any, Outcome], workflow_id: str
    ) -> WorkflowHandle[Workflow, Outcome]:
        """Returns a handle by workflow id; the execution need not exist."""
        return self.client.get_workflow_handle_for(run, workflow_id)

    async def state(self, workflow_id: str) -> WorkflowState:
        """Tells whether there is an execution of a workflow id, and whether its latest one is open.

        Raises:
            Unavailable: `temporal_unavailable`.
        """
        try:
            described = await self.client.get_workflow_handle(workflow_id).describe(rpc_timeout=RPC_TIME)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return WorkflowState.ABSENT
            raise mapped(error, "run") from error
        return WorkflowState.OPEN if described.close_time is None else WorkflowState.CLOSED

    async def ended(self, workflow_type: str, since: datetime) -> Sequence[str]:
        """Lists the workflow ids of all executions that were terminated, or timed out, after a time, page by page.

        Raises:
            Unavailable: `temporal_unavailable`.
        """
        ended = "ExecutionStatus IN ('Terminated', 'TimedOut')"
        query = f"WorkflowType = '{workflow_type}' AND {ended} AND CloseTime > '{since.isoformat()}'"
        try:
            return [one.id async for one in self.client.list_workflows(query, page_size=PAGE)]
        except RPCError as error:
            raise mapped(error, "run") from error

    async def termination_reason(self, workflow_id: str) -> str:
        """Returns what an operator wrote who terminated a workflow; empty where nothing was said.

        Raises:
            Missing: `workflow_not_found`.
            Unavailable: `temporal_unavailable`.
        """
        closing = WorkflowHistoryEventFilterType.CLOSE_EVENT
        events = self.client.get_workflow_handle(workflow_id).fetch_history_events(
            event_filter_type=closing, rpc_timeout=RPC_TIME
        )
        try:
            return "".join([event.workflow_execution_terminated_event_attributes.reason async for event in events])
        except RPCError as error:
            raise mapped(error, "workflow") from error
