"""The rules by which people decide a request.

The workflow that waits for the decision, and the use cases that look up the people, ask these same methods.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from taskforce.core.domain.errors import Conflict, Invalid
from taskforce.core.domain.ids import is_id

MAX_COMMENT = 2_000


class ApprovalStatus(StrEnum):
    """Where a request stands. All but the first are final."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


class Verdict(StrEnum):
    """What an approver says."""

    APPROVE = "approve"
    REJECT = "reject"


class Channel(StrEnum):
    """How a decision reached us: on `api` its author is authenticated, on `signal` only claimed."""

    API = "api"
    SIGNAL = "signal"


@dataclass(frozen=True, slots=True)
class Terms:
    """Under which a request is decided; a request keeps those that it began with.

    Attributes:
        required_approvers: Distinct people who must approve.
        rejections_to_close: Distinct people whose rejection ends it.
        allowed_roles: Roles of which an approver must hold one at the moment of the decision.
        self_approval: Whether the requester may decide.
        expire_seconds: Seconds until it ends by itself.
        signal_channel: Whether unauthenticated signals from the Temporal UI and CLI count.

    Raises:
        Invalid: `terms_invalid` when a number is not positive: nobody's word would approve, or close, a request.
    """

    required_approvers: int = 1
    rejections_to_close: int = 1
    allowed_roles: tuple[str, ...] = ("admin",)
    self_approval: bool = False
    expire_seconds: int = 72 * 3_600
    signal_channel: bool = False

    def __post_init__(self) -> None:
        if min(self.required_approvers, self.rejections_to_close, self.expire_seconds) < 1:
            raise Invalid("terms_invalid", "Approvers, rejections and seconds to expiry must be at least 1.")


@dataclass(frozen=True, slots=True)
class Decision:
    """One person's word on a request."""

    approver_id: str
    verdict: Verdict
    comment: str
    channel: Channel
    at: datetime


@dataclass(frozen=True, slots=True)
class Approval:
    """A request while it is decided.

    Attributes:
        request_id: Its id.
        requester_id: Who wants it.
        terms: How it is decided.
        opened_at: When it was asked; it expires `terms.expire_seconds` later.
        decisions: What was said so far, oldest first.
        withdrawn: Whether the requester, or the end of what asked, took it back.
    """

    request_id: str
    requester_id: str
    terms: Terms
    opened_at: datetime
    decisions: tuple[Decision, ...] = ()
    withdrawn: bool = False

    @property
    def expires_at(self) -> datetime:
        """When it ends by itself."""
        return self.opened_at + timedelta(seconds=self.terms.expire_seconds)

    def status(self, now: datetime) -> ApprovalStatus:
        """Where it stands at a time.

        A quorum that was reached in time stays reached: expiry ends only what is undecided.
        """
        if self.withdrawn:
            return ApprovalStatus.WITHDRAWN
        if self._count(Verdict.REJECT) >= self.terms.rejections_to_close:
            return ApprovalStatus.REJECTED
        if self._count(Verdict.APPROVE) >= self.terms.required_approvers:
            return ApprovalStatus.APPROVED
        return ApprovalStatus.EXPIRED if now >= self.expires_at else ApprovalStatus.PENDING

    def check(self, approver_id: str, channel: Channel, now: datetime) -> None:
        """Refuses a decision that cannot count, whoever the approver is.

        Raises:
            Conflict: `request_closed`, `already_decided`, `self_approval` or `channel_refused`.
        """
        status = self.status(now)
        if status is not ApprovalStatus.PENDING:
            raise Conflict("request_closed", f"The request is {status.value}; it takes no more decisions.")
        if any(decision.approver_id == approver_id for decision in self.decisions):
            raise Conflict("already_decided", "This person has already decided.")
        if approver_id == self.requester_id and not self.terms.self_approval:
            raise Conflict("self_approval", "The requester may not decide.")
        if channel is Channel.SIGNAL and not self.terms.signal_channel:
            raise Conflict("channel_refused", "Decisions by signal are not accepted here; use the API.")

    def decide(self, decision: Decision) -> "Approval":
        """Adds a decision.

        Raises:
            Conflict: As `check`.
        """
        self.check(decision.approver_id, decision.channel, decision.at)
        return replace(self, decisions=(*self.decisions, decision))

    def reason(self, now: datetime) -> str:
        """Why it ended as it did, for the record and for the model."""
        status = self.status(now)
        words = [d for d in self.decisions if d.verdict.value == _VERDICT_OF.get(status)]
        said = "; ".join(f"{d.approver_id}: {d.comment}" if d.comment else d.approver_id for d in words)
        if status is ApprovalStatus.EXPIRED:
            return "nobody decided in time"
        if status is ApprovalStatus.WITHDRAWN:
            return "the request was withdrawn"
        return said

    def _count(self, verdict: Verdict) -> int:
        return sum(decision.verdict is verdict for decision in self.decisions)


_VERDICT_OF = {ApprovalStatus.APPROVED: "approve", ApprovalStatus.REJECTED: "reject"}


def content_hash(content: object) -> str:
    """Binds an approval to what is approved.

    Args:
        content: JSON-compatible content.

    Returns:
        SHA-256 in hex over its canonical JSON (sorted keys, no spaces).
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    # A lone surrogate, which JSON can carry as an escape, is content like any other.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def workflow_id(tenant_id: str, request_id: str) -> str:
    """The Temporal workflow id of a request."""
    return f"{tenant_id}:approval:{request_id}"


def request_of(workflow: str) -> tuple[str, str] | None:
    """(tenant, request) of a workflow id that `workflow_id` made, else None; a tenant's id holds no colon."""
    tenant_id, _, request_id = workflow.partition(":approval:")
    return (tenant_id, request_id) if tenant_id and ":" not in tenant_id and is_id(request_id) else None
