"""Activities of the `Approval` workflow."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from temporalio import activity

from models.messages.approvals import (
    ApprovalInput,
    CarriedOut,
    ChangeInput,
    ChangeRecord,
    CloseRequest,
    DecisionCheck,
    DecisionGround,
    DecisionInput,
    DecisionRecord,
    DueAction,
    OpenedRequest,
    RefusedDecision,
    RequestRef,
    TimedRecord,
)
from models.messages.budgets import ExceededBudget
from taskforce.application.approvals.budget_raise_requests import BudgetWish
from taskforce.application.approvals.changes import ApprovalChanges
from taskforce.application.approvals.decisions import ApprovalDecisions, DecisionAttempt, RecordedDecision
from taskforce.application.approvals.execution import ApprovalExecution
from taskforce.application.approvals.handler import TOOL_CALL
from taskforce.application.approvals.update_proofs import ReceivedUpdate, UpdateVerification
from taskforce.application.runs.tool_calls import CallRef
from taskforce.core.domain.approvals.approval import ApprovalStatus, Channel, Decision, Verdict
from taskforce.core.domain.approvals.changes import Change
from taskforce.core.domain.approvals.excerpt import ExcerptRules
from taskforce.core.domain.approvals.records import Request
from taskforce.core.domain.approvals.terms import Deciders, TimedAction
from taskforce.core.domain.approvals.update_proofs import UpdateProof
from taskforce.core.domain.errors import Conflict
from taskforce.core.domain.metering.budgets import LedgerKey


class ApprovalActivities:
    """The activities that open, check, record, close and execute a request for approval.

    Args:
        decisions: The use cases of decisions.
        changes: The use cases of withdrawal and reassignment.
        execution: The use case that executes an approved request.
        updates: The verification of updates' proofs.
        excerpts: What the Temporal UI shows of requests.
    """

    def __init__(
        self,
        decisions: ApprovalDecisions,
        changes: ApprovalChanges,
        execution: ApprovalExecution,
        updates: UpdateVerification,
        *,
        excerpts: ExcerptRules,
    ) -> None:
        self._decisions = decisions
        self._changes = changes
        self._execution = execution
        self._updates = updates
        self._excerpts = excerpts

    @activity.defn(name="open_request")
    async def open_request(self, start: ApprovalInput) -> OpenedRequest:
        """Commits the request of a tool call, or loads a request that is a row; returns its terms."""
        if not start.run_id:
            return self._opened(await self._decisions.open(start.tenant_id, start.request_id))
        ref = CallRef(start.tenant_id, start.run_id, start.step, start.call)
        if start.exceeded is not None:
            return self._opened(await self._decisions.open_raise(ref, start.request_id, _wish(start.exceeded)))
        return self._opened(await self._decisions.open_call(ref, start.request_id))

    def _opened(self, request: Request) -> OpenedRequest:
        shown = {"excerpt": self._excerpts.excerpt(request), "gateway_url": self._excerpts.gateway_url}
        return _opened(request, {name: value for name, value in shown.items() if value})

    @activity.defn(name="authorize_decision")
    async def authorize_decision(self, check: DecisionCheck) -> DecisionGround:
        """Checks that a user may decide; returns whom they represent, or fails with the code of the refusal."""
        channel = await self._accepted(check)
        attempt = DecisionAttempt(
            check.tenant_id,
            check.request_id,
            check.approver_id,
            channel,
            check.edit,
            whole=check.lasting,
            key_id=check.key_id,
        )
        behalf = await self._decisions.authorize(attempt)
        ground: dict[str, object] = {} if behalf is None else {"on_behalf_of": behalf}
        if channel.value != check.channel:
            ground["claimed"] = True
        return DecisionGround.model_validate(ground)

    async def _accepted(self, check: DecisionCheck) -> Channel:
        if check.channel == "signal":
            return Channel.SIGNAL
        try:
            return await self._updates.accept(_received(check, check.said, check.update_id))
        except Conflict as refused:
            # The refusal is audited under the signal channel, on which an author is only claimed.
            # A forged or replayed update: the author that it names is not proven.
            attempt = DecisionAttempt(check.tenant_id, check.request_id, check.approver_id, Channel.SIGNAL)
            await self._decisions.refuse(attempt, refused.code)
            raise

    @activity.defn(name="refuse_decision")
    async def refuse_decision(self, refused: RefusedDecision) -> None:
        """Appends a refused decision to the audit log."""
        channel = Channel(refused.channel)
        if channel is Channel.API:
            channel = self._updates.channel(_received(refused, refused.said))
        attempt = DecisionAttempt(refused.tenant_id, refused.request_id, refused.approver_id, channel)
        await self._decisions.refuse(attempt, refused.code)

    @activity.defn(name="record_decision")
    async def record_decision(self, record: DecisionRecord) -> None:
        """Records a decision that counts.

        Raises:
            ApplicationError: `proof_invalid` when it claims the API channel without a valid proof.
        """
        # The proof is verified again: the workflow's input is no evidence of the channel.
        verdict, channel = Verdict(record.verdict), Channel(record.channel)
        if channel is Channel.API and self._updates.channel(_received(record, record.said)) is not Channel.API:
            raise Conflict("proof_invalid", "The gateway does not vouch for this decision.")
        decision = Decision(
            record.approver_id,
            verdict,
            record.comment,
            channel,
            record.at,
            record.on_behalf_of,
            record.content or record.edit,
            record.key_id,
        )
        await self._decisions.record(record.tenant_id, record.request_id, RecordedDecision(decision, record.for_run))

    @activity.defn(name="record_change")
    async def record_change(self, record: ChangeRecord) -> None:
        """Records a withdrawal or reassignment after checking the user's right to it."""
        said = record.change
        to = Deciders(said.roles, said.people)
        # The channel is decided below; until the proof is verified the author is only claimed.
        claimed = Change(
            said.actor_id, said.kind, record.at, said.comment, to, said.http_request, said.key_id, Channel.SIGNAL
        )
        try:
            channel = await self._updates.accept(_received(record, said, record.update_id))
        except Conflict as refused:
            await self._changes.refuse(record.tenant_id, record.request_id, claimed, refused.code)
            raise
        await self._changes.record(record.tenant_id, record.request_id, replace(claimed, channel=channel))

    @activity.defn(name="act_on_request")
    async def act_on_request(self, due: TimedRecord) -> None:
        """Performs a due timed action: reminds, widens or reassigns."""
        await self._decisions.act(due.tenant_id, due.request_id, due.number, due.at)

    @activity.defn(name="close_request")
    async def close_request(self, end: CloseRequest) -> None:
        """Closes the request's row with its final status and reason."""
        await self._decisions.close(end.tenant_id, end.request_id, ApprovalStatus(end.status), end.reason)

    @activity.defn(name="carry_out_request")
    async def carry_out_request(self, ref: RequestRef) -> CarriedOut:
        """Executes an approved request; may take hours."""
        return CarriedOut(done=await self._execution.carry_out(ref.tenant_id, ref.request_id))


def _received(ref: RequestRef, update: DecisionInput | ChangeInput | None, update_id: str = "") -> ReceivedUpdate:
    """Builds the received update; one from an older worker, which passed no proof on, has none."""
    proven = {} if update is None else update.proven(ref.tenant_id, ref.request_id)
    sent = None if update is None else update.proof
    proof = None if sent is None else UpdateProof(sent.made_at, sent.nonce, sent.code)
    # An update id is unique within one execution of a workflow only, so the execution's run id is part of the key.
    arrival = f"{activity.info().workflow_run_id}/{update_id}"
    return ReceivedUpdate(ref.tenant_id, ref.request_id, proven, proof, arrival)


def _opened(request: Request, shown: Mapping[str, object]) -> OpenedRequest:
    terms = request.approval.terms
    # Unset fields are not serialized: defaults stay out of the history.
    said: dict[str, object] = {
        "allowed_people": terms.allowed_people,
        "comment_required": terms.comment_required,
        "actions": tuple(_due(action) for action in terms.actions),
        # A tool call is carried out by its run.
        "carries_out": terms.carries_out and request.request_type != TOOL_CALL,
    }
    return OpenedRequest.model_validate(
        {
            "title": request.title,
            "requester_id": request.approval.requester_id,
            "request_type": request.request_type,
            "opened_at": request.approval.opened_at,
            "expire_seconds": terms.expire_seconds,
            "required_approvers": terms.required_approvers,
            "rejections_to_close": terms.rejections_to_close,
            "allowed_roles": terms.allowed_roles,
            "self_approval": terms.self_approval,
            "signal_channel": terms.signal_channel,
            "content": request.content_hash,
            "hears_late": True,
            **{name: value for name, value in said.items() if value},
            **shown,
        }
    )


def _due(action: TimedAction) -> DueAction:
    named = {name: value for name, value in (("roles", action.to.roles), ("people", action.to.people)) if value}
    return DueAction.model_validate({"kind": action.kind.value, "after_seconds": action.after_seconds, **named})


def _wish(exceeded: ExceededBudget) -> BudgetWish:
    key = LedgerKey(exceeded.budget_id, exceeded.subject, datetime.fromisoformat(exceeded.period_start))
    return BudgetWish(key, Decimal(exceeded.needed), Decimal(exceeded.left))
