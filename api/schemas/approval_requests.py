"""Requests for approval as they travel over HTTP."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from taskforce.core.domain.approvals.approval import MAX_COMMENT, ApprovalStatus, Channel, Verdict
from taskforce.core.domain.approvals.records import HistoryEntry, Request

Comment = Annotated[str, Field(max_length=MAX_COMMENT)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Names = Annotated[list[Name], Field(max_length=100)]


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class DecisionIn(_Said):
    """What an approver adds to the verdict.

    Attributes:
        comment: Why.
        content_hash: What the approver was shown; a decision on something else is refused.
        arguments: The arguments of the tool call that the approver approves instead; earlier approvals count no more.
        for_run: Whether the tool needs no further approval in this run; all who approve must say so.
    """

    comment: Comment = ""
    content_hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    arguments: dict[str, JsonValue] | None = None
    for_run: bool = False


class RejectionIn(_Said):
    """What an approver adds to a rejection; the agent is told the comment."""

    comment: Comment = ""
    content_hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None


class CommentIn(_Said):
    """What somebody says about a request."""

    comment: Annotated[str, Field(min_length=1, max_length=MAX_COMMENT)]


class WithdrawalIn(_Said):
    """Why somebody takes a request back."""

    comment: Comment = ""


class ReassignmentIn(_Said):
    """Who shall decide from now on.

    Attributes:
        roles: Whoever holds one of these roles.
        people: People by id.
        comment: Why.
    """

    roles: Names = []
    people: Names = []
    comment: Comment = ""

    @model_validator(mode="after")
    def _named(self) -> Self:
        if not (self.roles or self.people):
            raise ValueError("name roles or people who shall decide")
        return self


class RequestIn(_Said):
    """What is asked for.

    Attributes:
        request_type: What kind of request it is; the tenant has a definition of it.
        title: For lists.
        description: Why it is asked for.
        resource_type: What kind of thing it is about.
        resource_id: Which one.
        payload: Exactly what is asked for; it fits the definition's schema, if that has one.
        workflow_id: The definition, where there are several of the type.
    """

    request_type: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    title: Name
    description: Comment = ""
    resource_type: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = "none"
    resource_id: Annotated[str, Field(max_length=200)] = ""
    payload: dict[str, JsonValue] = {}
    workflow_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] | None = None


class DecisionOut(BaseModel):
    """One person's word.

    Attributes:
        on_behalf_of: Who was away.
        content_hash: What it was about.
    """

    approver_id: str
    verdict: Verdict
    comment: str
    channel: Channel
    at: datetime
    on_behalf_of: str | None
    content_hash: str | None


class HappeningOut(BaseModel):
    """One thing that happened to a request."""

    kind: str
    actor_id: str
    comment: str
    data: dict[str, JsonValue]
    at: datetime


class HistoryOut(BaseModel):
    """What has happened to a request, oldest first."""

    items: list[HappeningOut]


class RequestOut(BaseModel):
    """A request for approval.

    Attributes:
        payload: Exactly what was asked for, and the agent's reason.
        edited: What is asked for since an approver has changed it.
        content_hash: SHA-256 over what is asked for now: an approval counts for nothing else.
        run_id: The run that waits for it, if one does.
        workflow_id: The definition that it began with.
        allowed_roles: Roles that decide it now.
        allowed_people: People who decide it now.
        for_run: Whether the approval holds for the tool for the rest of the run.
        next_action: What happens by itself next, if anything does before it expires.
        can_decide: Whether the caller may decide it now.
    """

    request_id: str
    request_type: str
    title: str
    description: str
    status: ApprovalStatus
    requester_id: str
    resource_type: str
    resource_id: str
    payload: dict[str, JsonValue]
    edited: dict[str, JsonValue] | None
    content_hash: str
    run_id: str | None
    step: int | None
    call: int | None
    workflow_id: str | None
    required_approvers: int
    rejections_to_close: int
    allowed_roles: list[str]
    allowed_people: list[str]
    self_approval: bool
    comment_required: bool
    for_run: bool
    can_decide: bool
    decisions: list[DecisionOut]
    opened_at: datetime
    expires_at: datetime
    next_action: str | None
    next_at: datetime
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
    coming = approval.next_action
    return RequestOut(
        request_id=approval.request_id,
        request_type=request.request_type,
        title=request.title,
        description=request.description,
        status=request.status if request.closed_at is not None else approval.status(now),
        requester_id=approval.requester_id,
        resource_type=request.resource_type,
        resource_id=request.resource_id,
        payload=dict(request.payload),
        edited=None if request.edited is None else dict(request.edited),
        content_hash=approval.content,
        run_id=request.run_id,
        step=None if request.run_id is None else request.step,
        call=None if request.run_id is None else request.call,
        workflow_id=request.definition_id,
        required_approvers=terms.required_approvers,
        rejections_to_close=terms.rejections_to_close,
        allowed_roles=list(approval.who.roles),
        allowed_people=list(approval.who.people),
        self_approval=terms.self_approval,
        comment_required=terms.comment_required,
        for_run=request.for_run,
        can_decide=can_decide,
        decisions=[
            DecisionOut(
                approver_id=one.approver_id,
                verdict=one.verdict,
                comment=one.comment,
                channel=one.channel,
                at=one.at,
                on_behalf_of=one.on_behalf_of,
                content_hash=one.content,
            )
            for one in approval.decisions
        ],
        opened_at=approval.opened_at,
        expires_at=approval.expires_at,
        next_action=None if coming is None else coming.kind.value,
        next_at=approval.next_at(),
        closed_at=request.closed_at,
        reason=request.reason,
    )


def history_out(happenings: list[HistoryEntry]) -> HistoryOut:
    """The history of a request as a caller sees it."""
    return HistoryOut(
        items=[
            HappeningOut(kind=one.kind, actor_id=one.actor_id, comment=one.comment, data=dict(one.data), at=one.at)
            for one in happenings
        ]
    )
