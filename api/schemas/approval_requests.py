"""Approval requests in requests and responses."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, Field, JsonValue, model_validator

from api.schemas.request_body import RequestBody
from taskforce.core.domain.approvals.approval import MAX_COMMENT, ApprovalStatus, Channel, Verdict
from taskforce.core.domain.approvals.records import HistoryEntry, Request

Comment = Annotated[str, Field(max_length=MAX_COMMENT)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Names = Annotated[list[Name], Field(max_length=100)]


class DecisionIn(RequestBody):
    """An approval, with what the approver adds to it.

    Attributes:
        comment: The reason.
        content_hash: The hash of the content that the approver was shown; a decision on other content is refused.
        arguments: The arguments of the tool call that the approver approves instead; earlier approvals count no more.
        for_run: Whether the tool needs no further approval in this run; all who approve must say so.
    """

    comment: Comment = ""
    content_hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    arguments: dict[str, JsonValue] | None = None
    for_run: bool = False


class RejectionIn(RequestBody):
    """A rejection; the agent receives the comment."""

    comment: Comment = ""
    content_hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None


class CommentIn(RequestBody):
    """A comment on a request."""

    comment: Annotated[str, Field(min_length=1, max_length=MAX_COMMENT)]


class WithdrawalIn(RequestBody):
    """A withdrawal of a request, with its reason."""

    comment: Comment = ""


class ReassignmentIn(RequestBody):
    """A reassignment of a request to other approvers.

    Attributes:
        roles: Roles, each of whose holders may decide.
        people: User ids of people who may decide.
        comment: The reason.
    """

    roles: Names = []
    people: Names = []
    comment: Comment = ""

    @model_validator(mode="after")
    def _named(self) -> Self:
        if not (self.roles or self.people):
            raise ValueError("name roles or people who shall decide")
        return self


class RequestIn(RequestBody):
    """A new approval request.

    Attributes:
        request_type: The type of the request, for which the tenant has a definition.
        title: The title in lists.
        description: The reason of the request.
        resource_type: The kind of resource that it is about.
        resource_id: The id of that resource.
        payload: Exactly what is requested; it matches the definition's schema, if that has one.
        workflow_id: The id of the definition, where the type has several.
    """

    request_type: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    title: Name
    description: Comment = ""
    resource_type: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = "none"
    resource_id: Annotated[str, Field(max_length=200)] = ""
    payload: dict[str, JsonValue] = {}
    workflow_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] | None = None


class DecisionOut(BaseModel):
    """One person's decision.

    Attributes:
        on_behalf_of: The absent approver whom a delegate stood in for.
        content_hash: The hash of the content that was decided on.
    """

    approver_id: str
    verdict: Verdict
    comment: str
    channel: Channel
    at: datetime
    on_behalf_of: str | None
    content_hash: str | None


class HappeningOut(BaseModel):
    """One event in the history of a request."""

    kind: str
    actor_id: str
    comment: str
    data: dict[str, JsonValue]
    at: datetime


class HistoryOut(BaseModel):
    """The history of a request, oldest event first."""

    items: list[HappeningOut]


class RequestOut(BaseModel):
    """An approval request.

    Attributes:
        payload: Exactly what was requested, and the agent's reason.
        edited: What is requested since an approver has changed the arguments.
        content_hash: SHA-256 over what is requested now: an approval counts for this content only.
        run_id: The run that waits for it, if one does.
        workflow_id: The id of the definition that it began with.
        allowed_roles: Roles that decide it now.
        allowed_people: People who decide it now.
        for_run: Whether the approval holds for the tool for the rest of the run.
        next_action: The next timed action, if there is one before it expires.
        can_decide: Whether the caller may decide it now.
        carries_out: Whether what was approved is done at once; else somebody does it, or the approval is the record.
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
    carries_out: bool
    decisions: list[DecisionOut]
    opened_at: datetime
    expires_at: datetime
    next_action: str | None
    next_at: datetime
    closed_at: datetime | None
    reason: str | None


def request_out(request: Request, now: datetime, *, can_decide: bool) -> RequestOut:
    """Renders an approval request for a caller.

    Args:
        request: The row.
        now: The time, UTC: a quorum that is reached shows before its workflow has closed the row.
        can_decide: Whether this caller may decide it now.
    """
    approval, terms = request.approval, request.approval.terms
    coming = approval.next_action
    return RequestOut(
        request_id=approval.request_id,
        request_type=request.request_type,
        title=request.title,
        description=request.description,
        # Past its time a request is over, also before its workflow has closed the row.
        status=request.status if request.closed_at is not None else approval.status(now),
        requester_id=approval.requester_id,
        resource_type=request.resource_type,
        resource_id=request.resource_id,
        payload=dict(request.payload),
        edited=None if request.edited is None else dict(request.edited),
        content_hash=approval.content,
        run_id=request.run_id,
        # Rows without a run hold 0, which would read as a step.
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
        carries_out=terms.carries_out,
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
    """Renders the history of a request for a caller."""
    return HistoryOut(
        items=[
            HappeningOut(kind=one.kind, actor_id=one.actor_id, comment=one.comment, data=dict(one.data), at=one.at)
            for one in happenings
        ]
    )
