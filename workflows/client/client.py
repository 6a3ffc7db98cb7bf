"""The workflow client: the Temporal clients of each noun, the workers' pollers, and search attributes."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from temporalio.api.enums.v1 import IndexedValueType, TaskQueueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.service import RPCError

from taskforce.core.domain.approvals.update_proofs import ProofKey
from taskforce.core.domain.errors import Unavailable
from taskforce.core.interfaces.clock import Clock, utc_now
from workflows.client.approvals import ApprovalClient
from workflows.client.errors import mapped
from workflows.client.executions import RPC_TIME, WorkflowExecutions
from workflows.client.runs import RunClient
from workflows.client.tenants import TenantClient
from workflows.client.webhook_deliveries import DeliveryClient
from workflows.runtime import search_attributes

# A long poll lasts a minute at most: a worker that has not polled since is gone.
POLL_TIME = timedelta(seconds=75)


class WorkflowClient:
    """The client of all workflows; the only access to Temporal.

    Args:
        client: A connected client.
        task_queue: The queue that the workers poll.
        proof_key: The key of the gateway's proofs; without it, updates count as signals.
        clock: The time.

    Attributes:
        task_queue: The queue that the workers poll.
        runs: The workflows of runs.
        approvals: The workflows of requests for approval.
        deliveries: The workflows of deliveries to webhooks.
        tenants: The workflows that delete tenants.
    """

    def __init__(
        self, client: Client, task_queue: str, proof_key: ProofKey | None = None, clock: Clock = utc_now
    ) -> None:
        self.task_queue = task_queue
        self._executions = WorkflowExecutions(client, task_queue)
        self.runs = RunClient(self._executions)
        self.approvals = ApprovalClient(self._executions, proof_key, clock)
        self.deliveries = DeliveryClient(self._executions)
        self.tenants = TenantClient(self._executions)

    async def pollers(self) -> int:
        """Returns the number of workers that have polled within `POLL_TIME`.

        Raises:
            Unavailable: `temporal_unavailable`.
        """
        request = DescribeTaskQueueRequest(
            namespace=self._executions.client.namespace,
            task_queue=TaskQueue(name=self.task_queue),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        )
        try:
            answer = await self._executions.client.workflow_service.describe_task_queue(request, timeout=RPC_TIME)
        except RPCError as error:
            raise mapped(error, "task queue") from error
        lately = datetime.now(UTC) - POLL_TIME
        return sum(poller.last_access_time.ToDatetime(UTC) > lately for poller in answer.pollers)

    async def ensure_search_attributes(self) -> Sequence[str]:
        """Registers missing search attributes.

        Returns:
            The names that were added.

        Raises:
            Unavailable: `search_attributes_missing` when they cannot be added.
        """
        operator, namespace = self._executions.client.operator_service, self._executions.client.namespace
        wanted = [key.name for key in search_attributes.ALL]
        try:
            known = await operator.list_search_attributes(ListSearchAttributesRequest(namespace=namespace))
            lacking = [name for name in wanted if name not in known.custom_attributes]
            if lacking:
                kinds = dict.fromkeys(lacking, IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD)
                await operator.add_search_attributes(
                    AddSearchAttributesRequest(namespace=namespace, search_attributes=kinds)
                )
        except RPCError as error:
            names = " ".join(f"--name {name} --type Keyword" for name in wanted)
            raise Unavailable(
                "search_attributes_missing",
                f"Could not register search attributes. Run: temporal operator search-attribute create {names}",
            ) from error
        return lacking
