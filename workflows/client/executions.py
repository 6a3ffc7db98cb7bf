"""Workflow executions of any type: start, handle and list."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from temporalio.client import Client, WorkflowHandle
from temporalio.common import (
    Priority,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError
from temporalio.types import MethodAsyncSingleParam

from workflows.client.errors import mapped
from workflows.runtime import markdown, search_attributes

Workflow = TypeVar("Workflow")
Given = TypeVar("Given")
Outcome = TypeVar("Outcome")

RPC_TIME = timedelta(seconds=10)
MOST_ENDED = 500


class WorkflowExecutions:
    """Starts and finds workflow executions, for the clients of each noun.

    Args:
        client: A connected client.
        task_queue: The queue that the workers poll.
    """

    def __init__(self, client: Client, task_queue: str) -> None:
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

    async def ended(self, workflow_type: str, since: datetime) -> Sequence[str]:
        """Lists the workflow ids of executions that were terminated, or timed out, after a time.

        Raises:
            Unavailable: `temporal_unavailable`.
        """
        ended = "ExecutionStatus IN ('Terminated', 'TimedOut')"
        query = f"WorkflowType = '{workflow_type}' AND {ended} AND CloseTime > '{since.isoformat()}'"
        try:
            return [one.id async for one in self.client.list_workflows(query, limit=MOST_ENDED)]
        except RPCError as error:
            raise mapped(error, "run") from error
