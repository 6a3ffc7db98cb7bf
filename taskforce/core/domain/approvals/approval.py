"""The rules by which people decide a request.

The workflow that waits for the decision, and the use cases that look up the people, ask these same methods.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from taskforce.core.domain.approvals.parties import Party
from taskforce.core.domain.approvals.terms import ActionKind, Deciders, Terms, TimedAction
from taskforce.core.domain.canonical_json import canonical_hash
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
    VOIDED = "voided"


class Verdict(StrEnum):
    """What an approver says."""

    APPROVE = "approve"
    REJECT = "reject"


class Channel(StrEnum):
    """How a decision reached us: on `api` its author is authenticated, on `signal` only claimed."""

    API = "api"
    SIGNAL = "signal"


@dataclass(frozen=True, slots=True)
class Decision:
    """One person's word on a request.

    Attributes:
        approver_id: Who.
        verdict: What they say.
        comment: Why.
        channel: How it reached us.
        at: When, UTC.
        on_behalf_of: Who has asked the approver to decide in their place, while they are away.
        content: Hash of what was decided on; None until it is known.
        key_id: The API key that spoke for the approver, if it was one, to which what they hand on is cut.
        party: Who counts as one person with the approver; None where only the ids are known.
    """

    approver_id: str
    verdict: Verdict
    comment: str
    channel: Channel
    at: datetime
    on_behalf_of: str | None = None
    content: str | None = None
    key_id: str | None = None
    party: Party | None = None

    @property
    def people(self) -> frozenset[str]:
        """Whose word it is: the approver's, of whom they stand for, and of whoever counts as one person with them."""
        named = frozenset({self.approver_id, self.on_behalf_of or self.approver_id})
        return named if self.party is None else named | self.party.people


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
        content: Hash of what is asked for now; an approver may edit it, and then all approve what was edited.
        deciders: Who may decide now; None for those of the terms.
        acted: How many of the terms' timed actions have happened.
        voided: Whether what it asks for has changed under it.
    """

    request_id: str
    requester_id: str
    terms: Terms
    opened_at: datetime
    decisions: tuple[Decision, ...] = ()
    withdrawn: bool = False
    content: str = ""
    deciders: Deciders | None = None
    acted: int = 0
    voided: bool = False

    @property
    def expires_at(self) -> datetime:
        """When it ends by itself."""
        return self.opened_at + timedelta(seconds=self.terms.expire_seconds)

    @property
    def who(self) -> Deciders:
        """Who may decide now."""
        return self.terms.deciders if self.deciders is None else self.deciders

    @property
    def next_action(self) -> TimedAction | None:
        """What happens next by itself, besides expiry."""
        return self.terms.actions[self.acted] if self.acted < len(self.terms.actions) else None

    def next_at(self) -> datetime:
        """When something happens next by itself."""
        coming = self.next_action
        return self.expires_at if coming is None else self.opened_at + timedelta(seconds=coming.after_seconds)

    def status(self, now: datetime) -> ApprovalStatus:
        """Where it stands at a time.

        A quorum that was reached in time stays reached: expiry ends only what is undecided.
        """
        if self.withdrawn:
            return ApprovalStatus.WITHDRAWN
        if self.voided:
            return ApprovalStatus.VOIDED
        if len(self._said(Verdict.REJECT)) >= self.terms.rejections_to_close:
            return ApprovalStatus.REJECTED
        if len(self._said(Verdict.APPROVE)) >= self.terms.required_approvers:
            return ApprovalStatus.APPROVED
        return ApprovalStatus.EXPIRED if now >= self.expires_at else ApprovalStatus.PENDING

    def check(self, approver_id: str, channel: Channel, now: datetime, on_behalf_of: str | None = None) -> None:
        """Refuses a decision that cannot count, whatever roles the approver holds.

        Raises:
            Conflict: `request_closed`, `already_decided`, `self_approval` or `channel_refused`.
        """
        self._require_pending(now)
        people = {approver_id, on_behalf_of or approver_id}
        if any(people & decision.people for decision in self._standing()):
            raise Conflict("already_decided", "This person has already decided.")
        if self.requester_id in people and not self.terms.self_approval:
            raise Conflict("self_approval", "The requester may not decide.")
        self.require_channel(channel)

    def require_channel(self, channel: Channel) -> None:
        """Refuses what nobody vouches for where signals do not count.

        Raises:
            Conflict: `channel_refused`.
        """
        if channel is Channel.SIGNAL and not self.terms.signal_channel:
            raise Conflict("channel_refused", "Decisions by signal are not accepted here; use the API.")

    def check_independent(self, approver_id: str, decides: Party, asks: Party) -> None:
        """Refuses a decision of somebody who, under another id, has asked or decided already.

        Args:
            approver_id: Who decides.
            decides: Who counts as one person with them.
            asks: Who counts as one person with the requester.

        Raises:
            Conflict: `self_approval` or `already_decided` for the same human; `not_independent` for somebody who has
                just been given the account, or the role that decides, by the other, or has given it.
        """
        if not self.terms.self_approval:
            if decides.is_same_as(asks):
                raise Conflict("self_approval", "The requester may not decide, nor who stands behind them.")
            if decides.is_tied_to(asks):
                raise _not_independent("asked for this")
        for other in self._standing():
            # A word that is said once more, when its first saying was lost, is not another one's.
            if other.approver_id == approver_id:
                continue
            party = Party(other.people, frozenset() if other.party is None else other.party.sponsors)
            if decides.is_same_as(party):
                raise Conflict("already_decided", "Whoever stands behind this decision has already decided.")
            if decides.is_tied_to(party):
                raise _not_independent("has decided already")

    def check_word(self, comment: str, seen: str | None) -> None:
        """Refuses a word that says too little, or is about something else.

        Raises:
            Conflict: `comment_required`; `content_changed` when the approver was shown something else.
        """
        if self.terms.comment_required and not comment.strip():
            raise Conflict("comment_required", "A decision on this request must say why: add a comment.")
        if seen is not None and seen != self.content:
            raise Conflict("content_changed", "What is asked for has changed meanwhile. Look at it again.")

    def decide(self, decision: Decision, seen: str | None = None) -> "Approval":
        """Adds a decision. An approval of other content changes what is asked for: earlier ones count no more.

        Args:
            decision: The word; its `content` is None for what is asked for now.
            seen: Hash of what the approver was shown; None where that is not known.

        Raises:
            Conflict: As `check` and `check_word`; `already_decided` also for who has approved this very content.
        """
        self.check(decision.approver_id, decision.channel, decision.at, decision.on_behalf_of)
        self.check_word(decision.comment, seen)
        edited = decision.content if decision.verdict is Verdict.APPROVE else None
        on = edited or self.content
        # An approval of this from before others made something else of it stands again with this one.
        if decision.verdict is Verdict.APPROVE and any(
            one.verdict is Verdict.APPROVE and one.content == on and one.people & decision.people
            for one in self.decisions
        ):
            raise Conflict("already_decided", "This person has already approved exactly this.")
        return replace(self, content=on, decisions=(*self.decisions, replace(decision, content=on)))

    def act(self, now: datetime) -> "Approval":
        """Does the next timed action.

        Raises:
            Conflict: `request_closed`, or `action_not_due`.
        """
        self._require_pending(now)
        action = self.next_action
        if action is None or now < self.next_at():
            raise Conflict("action_not_due", "Nothing is to be done now.")
        after = replace(self, acted=self.acted + 1)
        if action.kind is ActionKind.WIDEN:
            return replace(after, deciders=self.who.widened(action.to))
        return replace(after, deciders=action.to) if action.kind is ActionKind.REASSIGN else after

    def reassign(self, to: Deciders, now: datetime) -> "Approval":
        """Lets others decide, from now on; what was said stays.

        Raises:
            Conflict: `request_closed`.
            Invalid: `deciders_missing` when nobody is named.
        """
        self._require_pending(now)
        if not to:
            raise Invalid("deciders_missing", "Name roles or people who shall decide.")
        return replace(self, deciders=to)

    def withdraw(self, now: datetime) -> "Approval":
        """Takes the request back.

        Raises:
            Conflict: `request_closed`.
        """
        self._require_pending(now)
        return replace(self, withdrawn=True)

    def void(self, now: datetime) -> "Approval":
        """Ends a request whose subject has changed under it.

        Raises:
            Conflict: `request_closed`.
        """
        self._require_pending(now)
        return replace(self, voided=True)

    def reason(self, now: datetime) -> str:
        """Why it ended as it did, for the record and for the model."""
        status = self.status(now)
        if status in _REASONS:
            return _REASONS[status]
        words = self._said(_VERDICT_OF[status]) if status in _VERDICT_OF else ()
        return "; ".join(f"{_named(d)}: {d.comment}" if d.comment else _named(d) for d in words)

    def _require_pending(self, now: datetime) -> None:
        status = self.status(now)
        if status is not ApprovalStatus.PENDING:
            raise Conflict("request_closed", f"The request is {status.value}; it takes no more decisions.")

    def _standing(self) -> tuple[Decision, ...]:
        """The decisions that count: rejections, and approvals of what is asked for now by who has not rejected it."""
        against = {person for d in self.decisions if d.verdict is Verdict.REJECT for person in d.people}
        return tuple(
            d
            for d in self.decisions
            if d.verdict is Verdict.REJECT or (d.content in {None, self.content} and against.isdisjoint(d.people))
        )

    def _said(self, verdict: Verdict) -> tuple[Decision, ...]:
        return tuple(decision for decision in self._standing() if decision.verdict is verdict)


def _not_independent(what: str) -> Conflict:
    return Conflict(
        "not_independent",
        f"Whoever {what} has just given you this right, or you theirs; somebody independent must decide.",
    )


def _named(decision: Decision) -> str:
    return f"{decision.approver_id} for {decision.on_behalf_of}" if decision.on_behalf_of else decision.approver_id


_VERDICT_OF = {ApprovalStatus.APPROVED: Verdict.APPROVE, ApprovalStatus.REJECTED: Verdict.REJECT}
_REASONS = {
    ApprovalStatus.EXPIRED: "nobody decided in time",
    ApprovalStatus.WITHDRAWN: "the request was withdrawn",
    ApprovalStatus.VOIDED: "what was asked for has changed",
}


def workflow_id(tenant_id: str, request_id: str) -> str:
    """The Temporal workflow id of a request."""
    return f"{tenant_id}:approval:{request_id}"


def update_id(tenant_id: str, request_id: str, user_id: str, key: str) -> str:
    """Names the decision that a user sends with an idempotency key, and tells nobody the key."""
    return canonical_hash([tenant_id, request_id, user_id, key])


def request_of(workflow: str) -> tuple[str, str] | None:
    """(tenant, request) of a workflow id that `workflow_id` made, else None; a tenant's id holds no colon."""
    tenant_id, _, request_id = workflow.partition(":approval:")
    return (tenant_id, request_id) if tenant_id and ":" not in tenant_id and is_id(request_id) else None
