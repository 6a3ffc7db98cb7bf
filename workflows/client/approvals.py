"""The Temporal client of requests for approval."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TypeVar

from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.service import RPCError

from models.messages.approvals import (
    ApprovalInput,
    ApprovalOutcome,
    ChangeInput,
    DecisionInput,
    DecisionOutcome,
    Proof,
)
from taskforce.core.domain.approvals.approval import request_of, workflow_id
from taskforce.core.domain.approvals.changes import Change
from taskforce.core.domain.approvals.records import Request
from taskforce.core.domain.approvals.submissions import DecisionResult, SubmittedDecision
from taskforce.core.domain.approvals.update_proofs import ProofKey
from taskforce.core.domain.errors import Kind, Missing
from taskforce.core.interfaces.clock import Clock, utc_now
from taskforce.core.interfaces.workflows import ApprovalWorkflows, Ended, WorkflowState
from workflows.approval import ApprovalWorkflow
from workflows.client.errors import carried, mapped
from workflows.client.executions import RPC_TIME, WorkflowExecutions
from workflows.runtime import search_attributes

Update = TypeVar("Update", DecisionInput, ChangeInput)

DECISION_TIME = timedelta(seconds=20)
TERMINATED = "an operator ended the request"
CONCLUSION_TIME = timedelta(seconds=5)
_KINDS = frozenset(Kind)


class ApprovalClient(ApprovalWorkflows):
    """Starts the workflows of requests, and sends decisions and changes to them.

    Args:
        executions: The workflow executions.
        proof_key: The key of the gateway's proofs; None sends updates without proof.
        clock: The time.
    """

    def __init__(
        self, executions: WorkflowExecutions, proof_key: ProofKey | None = None, clock: Clock = utc_now
    ) -> None:
        self._executions = executions
        self._proof_key = proof_key
        self._clock = clock

    async def start(self, tenant_id: str, request: Request) -> bool:
        """Starts the workflow of a committed request that no run waits for; idempotent."""
        approval = request.approval
        attributes = {
            search_attributes.TENANT: tenant_id,
            search_attributes.USER: approval.requester_id,
            search_attributes.APPROVAL_TYPE: request.request_type,
        }
        return await self._executions.start(
            ApprovalWorkflow.run,
            ApprovalInput(tenant_id=tenant_id, request_id=approval.request_id),
            workflow_id=workflow_id(tenant_id, approval.request_id),
            attributes=attributes,
            summary=f"{request.title}, asked by {approval.requester_id}",
            noun="request",
        )

    async def decide(
        self, tenant_id: str, request_id: str, decision: SubmittedDecision, update_id: str | None = None
    ) -> DecisionResult:
        """Sends an authenticated decision as an update; idempotent by its id."""
        said = self._vouched(tenant_id, request_id, decision_input(decision))
        # The update id makes a repeated request of the client find the first decision.
        update = self._handle(tenant_id, request_id).execute_update(
            ApprovalWorkflow.decide, said, id=update_id, rpc_timeout=DECISION_TIME
        )
        return _result(await carried(update))

    async def decided(self, tenant_id: str, request_id: str, update_id: str) -> DecisionResult | None:
        """Returns the result of an earlier update, waiting for it if needed; None when its id is not known."""
        update = self._handle(tenant_id, request_id).get_update_handle_for(ApprovalWorkflow.decide, update_id)
        with suppress(Missing):
            return _result(await carried(update.result(rpc_timeout=DECISION_TIME)))
        return None

    async def decided_by(self, tenant_id: str, request_id: str) -> Sequence[str]:
        """Returns the ids of the approvers that the request's workflow has counted."""
        try:
            state = await self._handle(tenant_id, request_id).query(ApprovalWorkflow.state, rpc_timeout=RPC_TIME)
        except RPCError as error:
            raise mapped(error, "request") from error
        return state.decided_by

    async def change(self, tenant_id: str, request_id: str, change: Change) -> DecisionResult:
        """Sends a withdrawal or a reassignment as an update."""
        said = self._vouched(tenant_id, request_id, change_input(change))
        update = self._handle(tenant_id, request_id).execute_update(
            ApprovalWorkflow.change, said, rpc_timeout=DECISION_TIME
        )
        return _result(await carried(update))

    async def concluded(self, tenant_id: str, request_id: str) -> None:
        """Waits until a decided request's workflow has closed, a few seconds at most."""
        try:
            async with asyncio.timeout(CONCLUSION_TIME.total_seconds()):
                await self._handle(tenant_id, request_id).result()
        except (TimeoutError, WorkflowFailureError):
            return
        except RPCError as error:
            raise mapped(error, "request") from error

    async def state(self, tenant_id: str, request_id: str) -> WorkflowState:
        """Returns what has become of a request's workflow."""
        return await self._executions.state(workflow_id(tenant_id, request_id))

    async def ended_from_outside(self, since: datetime) -> Ended:
        """Lists requests whose workflow was terminated after a time."""
        return [one for one in map(request_of, await self._executions.ended("Approval", since)) if one is not None]

    async def termination_reason(self, tenant_id: str, request_id: str) -> str:
        """Returns why a request that an operator terminated has ended, in the operator's words if there are any."""
        with suppress(Missing):
            said = await self._executions.termination_reason(workflow_id(tenant_id, request_id))
            return f"{TERMINATED}: {said}" if said else TERMINATED
        return TERMINATED

    def _vouched(self, tenant_id: str, request_id: str, update: Update) -> Update:
        """Returns the update with a proof of the gateway."""
        if self._proof_key is None:
            return update
        made = self._proof_key.prove(update.proven(tenant_id, request_id), self._clock())
        return update.model_copy(update={"proof": Proof(made_at=made.made_at, nonce=made.nonce, code=made.code)})

    def _handle(self, tenant_id: str, request_id: str) -> WorkflowHandle[ApprovalWorkflow, ApprovalOutcome]:
        return self._executions.handle(ApprovalWorkflow.run, workflow_id(tenant_id, request_id))


def decision_input(decision: SubmittedDecision) -> DecisionInput:
    """Builds the message of the update `decide`."""
    # Unset fields are not serialized: defaults stay out of the history and out of the proof.
    optional = {
        "edit": decision.edit,
        "for_run": decision.for_run,
        "key_id": decision.key_id,
    }
    return DecisionInput.model_validate(
        {
            "approver_id": decision.approver_id,
            "verdict": decision.verdict.value,
            "comment": decision.comment,
            "seen": decision.seen,
            **{name: value for name, value in optional.items() if value},
        }
    )


def change_input(change: Change) -> ChangeInput:
    """Builds the message of the update `change`."""
    optional = {"roles": change.to.roles, "people": change.to.people, "key_id": change.key_id}
    return ChangeInput.model_validate(
        {
            "actor_id": change.actor_id,
            "kind": change.kind,
            "comment": change.comment,
            "http_request": change.http_request,
            **{name: value for name, value in optional.items() if value},
        }
    )


def _result(outcome: DecisionOutcome) -> DecisionResult:
    # A worker of another release may send a kind that is unknown here, or none.
    kind = Kind(outcome.kind) if outcome.kind in _KINDS else None
    return DecisionResult(outcome.status, outcome.code, outcome.message, kind)
