"""The workflow client: the Temporal clients of each noun, the workers' pollers, and search attributes."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import structlog
from temporalio.api.enums.v1 import IndexedValueType, TaskQueueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import CountWorkflowExecutionsRequest, DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from taskforce.core.domain.approvals.update_proofs import ProofKey
from taskforce.core.domain.errors import Unavailable
from taskforce.core.interfaces.clock import Clock, utc_now
from taskforce.core.interfaces.tracing import NO_TRACING, Tracer
from workflows.client.approvals import ApprovalClient
from workflows.client.errors import mapped
from workflows.client.executions import RPC_TIME, WorkflowExecutions
from workflows.client.runs import RunClient
from workflows.client.schedules import ScheduleClient
from workflows.client.tenants import TenantClient
from workflows.client.webhook_deliveries import DeliveryClient
from workflows.runtime import search_attributes

# A long poll lasts a minute at most: a worker that has not polled since is gone.
POLL_TIME = timedelta(seconds=75)

_log = structlog.get_logger(__name__)


class WorkflowClient:
    """The client of all workflows; the only access to Temporal.

    Args:
        client: A connected client.
        task_queue: The queue that the workers poll.
        proof_key: The key of the gateway's proofs; without it, updates count as signals.
        clock: The time.
        tracer: Traces starts.

    Attributes:
        task_queue: The queue that the workers poll.
        runs: The workflows of runs.
        approvals: The workflows of requests for approval.
        deliveries: The workflows of deliveries to webhooks.
        tenants: The workflows that delete tenants.
        schedules: The schedules of workflows.
    """

    def __init__(
        self,
        client: Client,
        task_queue: str,
        proof_key: ProofKey | None = None,
        clock: Clock = utc_now,
        *,
        tracer: Tracer = NO_TRACING,
    ) -> None:
        self.task_queue = task_queue
        self._executions = WorkflowExecutions(client, task_queue, tracer)
        self.runs = RunClient(self._executions)
        self.approvals = ApprovalClient(self._executions, proof_key, clock)
        self.deliveries = DeliveryClient(self._executions)
        self.tenants = TenantClient(self._executions)
        self.schedules = ScheduleClient(self._executions)

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
        """Registers missing search attributes; without the right to Temporal's operator API, checks that none is.

        Returns:
            The names that were added.

        Raises:
            Unavailable: `search_attributes_missing` when they cannot be added, with the command that adds them;
                `temporal_unavailable`.
        """
        operator, namespace = self._executions.client.operator_service, self._executions.client.namespace
        try:
            # Listed first: adding needs a permission that a deployment may withhold once they exist.
            known = await operator.list_search_attributes(ListSearchAttributesRequest(namespace=namespace))
        except RPCError as error:
            await self._require_search_attributes()
            _log.warning("search_attributes.not_listed", reason=error.status.name.lower(), command=self._registration())
            return []
        lacking = [key.name for key in search_attributes.ALL if key.name not in known.custom_attributes]
        if lacking:
            kinds = dict.fromkeys(lacking, IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD)
            try:
                await operator.add_search_attributes(
                    AddSearchAttributesRequest(namespace=namespace, search_attributes=kinds)
                )
            except RPCError as error:
                raise self._missing() from error
        return lacking

    async def _require_search_attributes(self) -> None:
        """Queries by each attribute, which takes no more than the right to read the namespace."""
        asked = " OR ".join(f"{key.name} = 'none'" for key in search_attributes.ALL)
        request = CountWorkflowExecutionsRequest(namespace=self._executions.client.namespace, query=asked)
        try:
            await self._executions.client.workflow_service.count_workflow_executions(request, timeout=RPC_TIME)
        except RPCError as error:
            if error.status is RPCStatusCode.INVALID_ARGUMENT:
                raise self._missing() from error
            raise mapped(error, "namespace") from error

    def _missing(self) -> Unavailable:
        return Unavailable(
            "search_attributes_missing", f"Could not register search attributes. Run: {self._registration()}"
        )

    def _registration(self) -> str:
        names = " ".join(f"--name {key.name} --type Keyword" for key in search_attributes.ALL)
        namespace = self._executions.client.namespace
        return f"temporal operator search-attribute create --namespace {namespace} {names}"
