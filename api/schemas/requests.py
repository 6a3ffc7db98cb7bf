"""Requests for approval as they travel over HTTP."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from taskforce.core.domain.approvals import MAX_COMMENT, ApprovalStatus, Channel, Verdict
from taskforce.core.interfaces.stored import Request


class DecisionIn(BaseModel):
    """What an approver adds to the verdict."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    comment: Annotated[str, Field(max_length=MAX_COMMENT)] = ""


class DecisionOut(BaseModel):
    """One person's word."""

    approver_id: str
    verdict: Verdict
    comment: str
    channel: Channel
    at: datetime


class RequestOut(BaseModel):
    """A request for approval.

    Attributes:
        payload: Exactly what is approved, and the agent's reason.
        content_hash: SHA-256 over what is approved: an approval counts for nothing else.
        run_id, step, call: The call of a run that it is about; null and 0 when it is about no run.
        can_decide: Whether the caller may decide it now.
    """

    request_id: str
    request_type: str
    title: str
    status: ApprovalStatus
    requester_id: str
    resource_type: str
    resource_id: str
    payload: dict[str, JsonValue]
    content_hash: str
    run_id: str | None
    step: int
    call: int
    required_approvers: int
    rejections_to_close: int
    allowed_roles: list[str]
    self_approval: bool
    can_decide: bool
    decisions: list[DecisionOut]
    opened_at: datetime
    expires_at: datetime
    closed_at: datetime | None
    reason: str | None


def request_out(request: Request, now: datetime, *, can_decide: bool) -> RequestOut:
    """A request as a caller sees it.

    Args:
        request: The row.
        now: The time: a quorum that is reached shows before its workflow has closed the row.
        can_decide: Whether this caller may decide it now.
    """
    approval, terms = request.approval, request.approval.terms
    return RequestOut(
        request_id=approval.request_id,
        request_type=request.request_type,
        title=request.title,
        status=request.status if request.closed_at is not None else approval.status(now),
        requester_id=approval.requester_id,
        resource_type=request.resource_type,
        resource_id=request.resource_id,
        payload=dict(request.payload),
        content_hash=request.content_hash,
        run_id=request.run_id,
        step=request.step,
        call=request.call,
        required_approvers=terms.required_approvers,
        rejections_to_close=terms.rejections_to_close,
        allowed_roles=list(terms.allowed_roles),
        self_approval=terms.self_approval,
        can_decide=can_decide,
        decisions=[
            DecisionOut(
                approver_id=one.approver_id, verdict=one.verdict, comment=one.comment, channel=one.channel, at=one.at
            )
            for one in approval.decisions
        ],
        opened_at=approval.opened_at,
        expires_at=approval.expires_at,
        closed_at=request.closed_at,
        reason=request.reason,
    )
