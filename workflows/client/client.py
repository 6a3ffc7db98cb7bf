"""The one way to Temporal: start, decide, signal, query, and a look at who polls."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from temporalio.api.enums.v1 import IndexedValueType, TaskQueueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError
from temporalio.types import MethodAsyncSingleParam

from models.messages.approvals import (
    ApprovalInput,
    ApprovalOutcome,
    ChangeInput,
    DecisionInput,
    DecisionOutcome,
    Proof,
)
from models.messages.deletions import DeletionRef
from models.messages.runs import RunInput, RunPlan, RunProgress
from models.messages.webhooks import DeliveryInput
from taskforce.core.domain.approvals.approval import request_of
from taskforce.core.domain.approvals.approval import workflow_id as approval_workflow_id
from taskforce.core.domain.approvals.records import Request
from taskforce.core.domain.approvals.update_proofs import ProofKey
from taskforce.core.domain.errors import Missing, Unavailable
from taskforce.core.domain.runs.run import RunSpec, run_of
from taskforce.core.domain.runs.run import workflow_id as run_workflow_id
from taskforce.core.domain.tenants.deletion import workflow_id as deletion_workflow_id
from taskforce.core.domain.webhooks.delivery import delivery_of
from taskforce.core.domain.webhooks.delivery import workflow_id as delivery_workflow_id
from taskforce.core.interfaces.clock import Clock, utc_now
from taskforce.core.interfaces.workflows import Forgotten
from workflows.agent_run import AgentRun
from workflows.approval import ApprovalWorkflow
from workflows.client import history_deletion
from workflows.client.errors import carried, mapped
from workflows.runtime import markdown, search_attributes
from workflows.tenant_deletion import TenantDeletion
from workflows.webhook_delivery import WebhookDelivery

Workflow = TypeVar("Workflow")
Given = TypeVar("Given")
Outcome = TypeVar("Outcome")
Said = TypeVar("Said", DecisionInput, ChangeInput)

RPC_TIME = timedelta(seconds=10)
DECISION_TIME = timedelta(seconds=20)
CONCLUSION_TIME = timedelta(seconds=5)
MOST_ENDED = 500
# A poll lasts a minute at most; who has not come back since is gone.
POLL_TIME = timedelta(seconds=75)


class WorkflowClient:
    """What the gateway and the sweeper do with workflows.

    Args:
        client: A connected client.
        task_queue: The queue that the workers poll.
        proof_key: What the gateway vouches with for what people decide; left out, nothing that goes through here is
            believed to be theirs.
        clock: The time.
    """

    def __init__(
        self, client: Client, task_queue: str, proof_key: ProofKey | None = None, clock: Clock = utc_now
    ) -> None:
        self._client = client
        self._task_queue = task_queue
        self._proof_key = proof_key
        self._clock = clock

    async def start_run(self, brief: RunSpec) -> bool:
        """Starts the workflow of a committed run; starting it again is harmless.

        Returns:
            False when it was started before.

        Raises:
            Unavailable: `temporal_unavailable`; the sweeper starts the run later.
        """
        tenant_id, run_id = brief.tenant_id, brief.run_id
        about = {search_attributes.AGENT: brief.agent.agent_id, search_attributes.USER: brief.user_id}
        values = {search_attributes.TENANT: tenant_id, **about}
        return await self._start(
            AgentRun.run,
            RunInput(tenant_id=tenant_id, run_id=run_id, plan=RunPlan.of(brief)),
            run_workflow_id(tenant_id, run_id),
            values,
            f"{brief.agent.label} for {brief.user_id}",
            "run",
        )

    async def start_delivery(self, tenant_id: str, delivery_id: str, event: str) -> None:
        """Starts the workflow of a committed delivery; starting it again is harmless.

        Raises:
            Unavailable: `temporal_unavailable`; the delivery is started later.
        """
        await self._start(
            WebhookDelivery.run,
            DeliveryInput(tenant_id=tenant_id, delivery_id=delivery_id),
            delivery_workflow_id(tenant_id, delivery_id),
            {search_attributes.TENANT: tenant_id},
            f"{event} to a webhook",
            "delivery",
        )

    async def _start(
        self,
        run: MethodAsyncSingleParam[Workflow, Given, Outcome],
        given: Given,
        workflow_id: str,
        values: Mapping[SearchAttributeKey[str], str],
        summary: str,
        noun: str,
        reuse: WorkflowIDReusePolicy = WorkflowIDReusePolicy.REJECT_DUPLICATE,
    ) -> bool:
        try:
            await self._client.start_workflow(
                run,
                given,
                id=workflow_id,
                task_queue=self._task_queue,
                id_reuse_policy=reuse,
                search_attributes=TypedSearchAttributes([SearchAttributePair(k, v) for k, v in values.items()]),
                static_summary=markdown.summary(summary),
                rpc_timeout=RPC_TIME,
            )
        except WorkflowAlreadyStartedError:
            return False
        except RPCError as error:
            raise mapped(error, noun) from error
        return True

    async def cancel_run(self, tenant_id: str, run_id: str) -> None:
        """Asks the run to end; it tells its model call and its tools."""
        try:
            await self._run(tenant_id, run_id).cancel(rpc_timeout=RPC_TIME)
        except RPCError as error:
            raise mapped(error, "run") from error

    async def signal_run(self, tenant_id: str, run_id: str, signal: str, *arguments: str) -> None:
        """Sends `pause`, `resume` or `add_word` to a run."""
        try:
            await self._run(tenant_id, run_id).signal(signal, args=list(arguments), rpc_timeout=RPC_TIME)
        except RPCError as error:
            raise mapped(error, "run") from error

    async def progress(self, tenant_id: str, run_id: str) -> RunProgress:
        """Asks the workflow what it is doing; needs a worker."""
        try:
            return await self._run(tenant_id, run_id).query(AgentRun.progress, rpc_timeout=RPC_TIME)
        except RPCError as error:
            raise mapped(error, "run") from error

    async def start_request(self, tenant_id: str, request: Request) -> bool:
        """Starts the workflow of a committed request that no run waits for; starting it again is harmless.

        Returns:
            False when it was started before.

        Raises:
            Unavailable: `temporal_unavailable`; the sweeper starts the workflow later.
        """
        approval = request.approval
        values = {
            search_attributes.TENANT: tenant_id,
            search_attributes.USER: approval.requester_id,
            search_attributes.APPROVAL_TYPE: request.request_type,
        }
        return await self._start(
            ApprovalWorkflow.run,
            ApprovalInput(tenant_id=tenant_id, request_id=approval.request_id),
            approval_workflow_id(tenant_id, approval.request_id),
            values,
            f"{request.title}, asked by {approval.requester_id}",
            "request",
        )

    async def change_request(self, tenant_id: str, request_id: str, wish: ChangeInput) -> DecisionOutcome:
        """Carries a withdrawal or a reassignment to its request.

        Raises:
            DomainError: As `decide`.
        """
        vouched = self._vouched(tenant_id, request_id, wish)
        update = self._request(tenant_id, request_id).execute_update(
            ApprovalWorkflow.change, vouched, rpc_timeout=DECISION_TIME
        )
        return await carried(update)

    async def decide(
        self, tenant_id: str, request_id: str, decision: DecisionInput, update_id: str | None = None
    ) -> DecisionOutcome:
        """Carries an authenticated decision to its request; one that is known by the update's id is not made again.

        Raises:
            Conflict: The request refuses it; the code says why.
            Missing: `request_not_found`: no workflow waits for it, not yet or not any more.
            Unavailable: `decision_pending` when no worker answers in time, `temporal_unavailable`,
                `encryption_key_missing`.
        """
        vouched = self._vouched(tenant_id, request_id, decision)
        update = self._request(tenant_id, request_id).execute_update(
            ApprovalWorkflow.decide, vouched, id=update_id, rpc_timeout=DECISION_TIME
        )
        return await carried(update)

    async def decided(self, tenant_id: str, request_id: str, update_id: str) -> DecisionOutcome | None:
        """What a decision has brought, waiting for it if need be; None where no such one is known, or not any more.

        Raises:
            Conflict, Unavailable: As `decide`.
        """
        update = self._request(tenant_id, request_id).get_update_handle_for(ApprovalWorkflow.decide, update_id)
        with suppress(Missing):
            return await carried(update.result(rpc_timeout=DECISION_TIME))
        return None

    async def start_deletion(self, tenant_id: str) -> None:
        """Starts the deletion of a tenant, or lets one that was ended from outside go on; twice is harmless.

        Raises:
            Unavailable: `temporal_unavailable`; the sweeper starts it later.
        """
        await self._start(
            TenantDeletion.run,
            DeletionRef(tenant_id=tenant_id),
            deletion_workflow_id(tenant_id),
            {search_attributes.TENANT: tenant_id},
            f"Deletes the tenant {tenant_id}",
            "deletion",
            WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        )

    async def forget_tenant(self, tenant_id: str) -> Forgotten:
        """Deletes the closed executions of a tenant, as far as the server lets us; see `forgetting`.

        Raises:
            Unavailable: `temporal_unavailable`.
        """
        try:
            return await history_deletion.forget_tenant(self._client, tenant_id)
        except RPCError as error:
            raise mapped(error, "tenant") from error

    async def concluded(self, tenant_id: str, request_id: str) -> None:
        """Waits, a few seconds at most, until what follows a decided request is done.

        Raises:
            Unavailable: `temporal_unavailable`.
        """
        try:
            async with asyncio.timeout(CONCLUSION_TIME.total_seconds()):
                await self._request(tenant_id, request_id).result()
        except (TimeoutError, WorkflowFailureError):
            return
        except RPCError as error:
            raise mapped(error, "request") from error

    async def pollers(self) -> int:
        """How many workers have polled lately.

        Raises:
            Unavailable: `temporal_unavailable`.
        """
        request = DescribeTaskQueueRequest(
            namespace=self._client.namespace,
            task_queue=TaskQueue(name=self._task_queue),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        )
        try:
            answer = await self._client.workflow_service.describe_task_queue(request, timeout=RPC_TIME)
        except RPCError as error:
            raise mapped(error, "task queue") from error
        lately = datetime.now(UTC) - POLL_TIME
        return sum(poller.last_access_time.ToDatetime(UTC) > lately for poller in answer.pollers)

    async def ended_from_outside(self, since: datetime) -> Sequence[tuple[str, str]]:
        """Runs whose workflow was terminated, so that it could not end its row itself.

        Args:
            since: Only those that were ended after this time.

        Returns:
            (tenant, run) of each.

        Raises:
            Unavailable: `temporal_unavailable`.
        """
        return [run for run in map(run_of, await self._ended("AgentRun", since)) if run is not None]

    async def requests_ended_from_outside(self, since: datetime) -> Sequence[tuple[str, str]]:
        """(tenant, request) of requests whose workflow was terminated; see `ended_from_outside`."""
        return [one for one in map(request_of, await self._ended("Approval", since)) if one is not None]

    async def deliveries_ended_from_outside(self, since: datetime) -> Sequence[tuple[str, str]]:
        """As `ended_from_outside`, for deliveries to webhooks."""
        found = map(delivery_of, await self._ended("WebhookDelivery", since))
        return [delivery for delivery in found if delivery is not None]

    async def _ended(self, kind: str, since: datetime) -> Sequence[str]:
        ended = "ExecutionStatus IN ('Terminated', 'TimedOut')"
        query = f"WorkflowType = '{kind}' AND {ended} AND CloseTime > '{since.isoformat()}'"
        try:
            return [one.id async for one in self._client.list_workflows(query, limit=MOST_ENDED)]
        except RPCError as error:
            raise mapped(error, "run") from error

    async def ensure_search_attributes(self) -> Sequence[str]:
        """Registers what is missing of the search attributes.

        Returns:
            The names that were added.

        Raises:
            Unavailable: `search_attributes_missing` where this client may not add them.
        """
        operator, namespace = self._client.operator_service, self._client.namespace
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

    def _vouched(self, tenant_id: str, request_id: str, said: Said) -> Said:
        """The same update with the proof that it came through this door."""
        if self._proof_key is None:
            return said
        made = self._proof_key.prove(said.proven(tenant_id, request_id), self._clock())
        proof = Proof(made_at=made.made_at, nonce=made.nonce, code=made.code)
        return said.model_copy(update={"proof": proof})

    def _request(self, tenant_id: str, request_id: str) -> WorkflowHandle[ApprovalWorkflow, ApprovalOutcome]:
        return self._client.get_workflow_handle_for(ApprovalWorkflow.run, approval_workflow_id(tenant_id, request_id))

    def _run(self, tenant_id: str, run_id: str) -> WorkflowHandle[AgentRun, str]:
        return self._client.get_workflow_handle_for(AgentRun.run, run_workflow_id(tenant_id, run_id))
