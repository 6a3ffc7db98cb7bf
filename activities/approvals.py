"""Activities of the `Approval` workflow."""

from temporalio import activity

from models.messages.approvals import (
    ApprovalInput,
    CloseRequest,
    DecisionCheck,
    DecisionRecord,
    OpenedRequest,
    RefusedDecision,
)
from taskforce.application.calls import CallRef
from taskforce.application.deciding import Attempted, Deciding
from taskforce.core.domain.approvals import ApprovalStatus, Channel, Decision, Verdict


class ApprovalActivities:
    """Open, check, record and close.

    Args:
        deciding: The use cases.
    """

    def __init__(self, deciding: Deciding) -> None:
        self._deciding = deciding

    @activity.defn(name="open_request")
    async def open_request(self, asked: ApprovalInput) -> OpenedRequest:
        """Commits the request and returns what is needed to decide it by the rules."""
        if asked.filed:
            request = await self._deciding.begin(asked.tenant_id, asked.request_id)
        else:
            ref = CallRef(asked.tenant_id, asked.run_id, asked.step, asked.call)
            request = await self._deciding.open(ref, asked.request_id)
        terms = request.approval.terms
        return OpenedRequest(
            title=request.title,
            requester_id=request.approval.requester_id,
            request_type=request.request_type,
            opened_at=request.approval.opened_at,
            expire_seconds=terms.expire_seconds,
            required_approvers=terms.required_approvers,
            rejections_to_close=terms.rejections_to_close,
            allowed_roles=terms.allowed_roles,
            self_approval=terms.self_approval,
            signal_channel=terms.signal_channel,
        )

    @activity.defn(name="authorize_decision")
    async def authorize_decision(self, check: DecisionCheck) -> None:
        """Fails with the code of what stands against this person's deciding."""
        channel = Channel(check.channel)
        await self._deciding.authorize(Attempted(check.tenant_id, check.request_id, check.approver_id, channel))

    @activity.defn(name="refuse_decision")
    async def refuse_decision(self, refused: RefusedDecision) -> None:
        """Audits a decision that the workflow refused."""
        channel = Channel(refused.channel)
        attempt = Attempted(refused.tenant_id, refused.request_id, refused.approver_id, channel)
        await self._deciding.refuse(attempt, refused.code)

    @activity.defn(name="record_decision")
    async def record_decision(self, made: DecisionRecord) -> None:
        """Records a decision that counts."""
        decision = Decision(made.approver_id, Verdict(made.verdict), made.comment, Channel(made.channel), made.at)
        await self._deciding.record(made.tenant_id, made.request_id, decision)

    @activity.defn(name="close_request")
    async def close_request(self, end: CloseRequest) -> None:
        """Ends the request."""
        await self._deciding.close(end.tenant_id, end.request_id, ApprovalStatus(end.status), end.reason)
