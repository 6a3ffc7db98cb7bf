"""The aggregate `Approval`: quorum, self-approval, expiry and timed actions of a request for approval.

The `Approval` workflow and the use cases of `application/approvals` call these same methods. Times are arguments.
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
NOT_NEEDED = "there is room without it"
"""The reason of a raise that a run takes back, as its budget has room again."""


class ApprovalStatus(StrEnum):
    """The status of a request for approval; all but `pending` are final."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    VOIDED = "voided"


class Verdict(StrEnum):
    """The verdict of an approver's decision."""

    APPROVE = "approve"
    REJECT = "reject"


class Channel(StrEnum):
    """The channel of a decision: on `api` its author is authenticated, on `signal` only claimed."""

    API = "api"
    SIGNAL = "signal"


@dataclass(frozen=True, slots=True)
class Decision:
    """One approver's decision on a request.

    Attributes:
        approver_id: The user who decides.
        verdict: Approval or rejection.
        comment: The reason that the approver gave; may be empty.
        channel: The channel on which it was received.
        at: Time of the decision, UTC.
        on_behalf_of: The user who delegated the decision to the approver; None when the approver decides for
            themselves.
        content: SHA-256 of the content that was decided on; None until it is known.
        key_id: The API key that authenticated the approver, None for a person; rights that
            the approval grants are cut to the key's.
        party: The users who count as one person with the approver; None where only the ids are known.
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
        """Returns the ids of approver, represented user, and all who count as one person with them."""
        named = frozenset({self.approver_id, self.on_behalf_of or self.approver_id})
        return named if self.party is None else named | self.party.people


@dataclass(frozen=True, slots=True)
class Approval:
    """A request for approval with the decisions on it; immutable, each method returns the next state.

    Attributes:
        request_id: Its id.
        requester_id: The user who made the request.
        terms: The terms under which it is decided.
        opened_at: Time of the request, UTC; it expires `terms.expire_seconds` later.
        decisions: All decisions so far, oldest first, those that no longer count included.
        withdrawn: Whether the requester, or the end of the requesting run, withdrew it.
        content: SHA-256 of the requested content; an approver's edit replaces it, and approvals of other content stop
            counting.
        deciders: Roles and people who may decide since a reassignment; None for those of the terms.
        acted: Number of the terms' timed actions that were performed.
        voided: Whether it ended because the requested resource was changed meanwhile.
        why: Why it was withdrawn or voided, in the words of whoever did; empty where nothing was said.
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
    why: str = ""

    @property
    def expires_at(self) -> datetime:
        """Returns the time at which the request expires, UTC."""
        return self.opened_at + timedelta(seconds=self.terms.expire_seconds)

    @property
    def who(self) -> Deciders:
        """Returns the roles and people who may decide now."""
        return self.terms.deciders if self.deciders is None else self.deciders

    @property
    def next_action(self) -> TimedAction | None:
        """Returns the next timed action; None when only expiry is left."""
        return self.terms.actions[self.acted] if self.acted < len(self.terms.actions) else None

    def next_at(self) -> datetime:
        """Returns the time, UTC, of the next timed action, or of expiry when none is left."""
        coming = self.next_action
        return self.expires_at if coming is None else self.opened_at + timedelta(seconds=coming.after_seconds)

    def status(self, now: datetime) -> ApprovalStatus:
        """Returns the status at a time.

        A quorum that was reached in time stays reached: only a pending request expires.
        """
        if self.withdrawn:
            return ApprovalStatus.WITHDRAWN
        if self.voided:
            return ApprovalStatus.VOIDED
        # Rejections are checked first: with both thresholds met, the cautious verdict wins.
        if len(self._said(Verdict.REJECT)) >= self.terms.rejections_to_close:
            return ApprovalStatus.REJECTED
        if len(self._said(Verdict.APPROVE)) >= self.terms.required_approvers:
            return ApprovalStatus.APPROVED
        return ApprovalStatus.EXPIRED if now >= self.expires_at else ApprovalStatus.PENDING

    def check(self, approver_id: str, channel: Channel, now: datetime, on_behalf_of: str | None = None) -> None:
        """Requires that a decision may count; roles are not checked here.

        Args:
            approver_id: The user who decides.
            channel: The channel of the decision.
            now: Time of the decision, UTC.
            on_behalf_of: The user whom the approver represents, if any.

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
        """Requires that the terms accept decisions on this channel.

        Raises:
            Conflict: `channel_refused`.
        """
        if channel is Channel.SIGNAL and not self.terms.signal_channel:
            raise Conflict("channel_refused", "Decisions by signal are not accepted here; use the API.")

    def check_independent(self, approver_id: str, decides: Party, asks: Party) -> None:
        """Requires that the approver is independent of the requester and of those who have decided.

        Args:
            approver_id: The user who decides.
            decides: The users who count as one person with the approver.
            asks: The users who count as one person with the requester.

        Raises:
            Conflict: `self_approval` or `already_decided` when the same person stands behind both; `not_independent`
                when one has recently granted the other the account or the role by which they decide.
        """
        if not self.terms.self_approval:
            if decides.is_same_as(asks):
                raise Conflict("self_approval", "The requester may not decide, nor who stands behind them.")
            if decides.is_tied_to(asks):
                raise _not_independent("asked for this")
        # Ties between two approvers count too: a quorum of a person and their new account is a quorum of one.
        for other in self._standing():
            # The same approver may send a decision again whose first record failed; that is no second person.
            if other.approver_id == approver_id:
                continue
            party = Party(other.people, frozenset() if other.party is None else other.party.sponsors)
            if decides.is_same_as(party):
                raise Conflict("already_decided", "Whoever stands behind this decision has already decided.")
            if decides.is_tied_to(party):
                raise _not_independent("has decided already")

    def check_comment(self, comment: str, seen: str | None) -> None:
        """Requires a comment where the terms ask for one, and that the approver was shown the current content.

        Args:
            comment: The approver's reason.
            seen: SHA-256 of the content that the approver was shown; None when unknown.

        Raises:
            Conflict: `comment_required`; `content_changed` when the approver was shown other content.
        """
        if self.terms.comment_required and not comment.strip():
            raise Conflict("comment_required", "A decision on this request must say why: add a comment.")
        # An approver's screen may be older than another approver's edit.
        if seen is not None and seen != self.content:
            raise Conflict("content_changed", "What is asked for has changed meanwhile. Look at it again.")

    def decide(self, decision: Decision, seen: str | None = None) -> "Approval":
        """Adds a decision. An approval of edited content replaces the requested content: earlier approvals stop
        counting.

        Args:
            decision: The decision; its `content` is None when it is on the current content.
            seen: SHA-256 of the content that the approver was shown; None when unknown.

        Raises:
            Conflict: As `check` and `check_comment`; `already_decided` also for an approver of exactly this content.
        """
        self.check(decision.approver_id, decision.channel, decision.at, decision.on_behalf_of)
        self.check_comment(decision.comment, seen)
        # A rejection is about the request as a whole, so an edit sent with it has no effect.
        edited = decision.content if decision.verdict is Verdict.APPROVE else None
        on = edited or self.content
        # An edit back to earlier content revives the earlier approvals of it, so a second one by the same person is
        # none.
        if decision.verdict is Verdict.APPROVE and any(
            one.verdict is Verdict.APPROVE and one.content == on and one.people & decision.people
            for one in self.decisions
        ):
            raise Conflict("already_decided", "This person has already approved exactly this.")
        return replace(self, content=on, decisions=(*self.decisions, replace(decision, content=on)))

    def act(self, now: datetime) -> "Approval":
        """Performs the next timed action on the state: widens or replaces the deciders, or counts a reminder.

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
        """Replaces the roles and people who may decide from now on; earlier decisions stay.

        Raises:
            Conflict: `request_closed`.
            Invalid: `deciders_missing` when nobody is named.
        """
        self._require_pending(now)
        if not to:
            raise Invalid("deciders_missing", "Name roles or people who shall decide.")
        return replace(self, deciders=to)

    def withdraw(self, now: datetime, by: str = "", comment: str = "") -> "Approval":
        """Withdraws the request.

        Args:
            now: Time of the withdrawal, UTC.
            by: The user who withdraws it.
            comment: The user's reason; may be empty.

        Raises:
            Conflict: `request_closed`.
        """
        self._require_pending(now)
        return replace(self, withdrawn=True, why=withdrawal_reason(by, comment))

    def void(self, now: datetime, why: str = "") -> "Approval":
        """Voids a request whose resource was changed meanwhile.

        Args:
            now: Time at which that was found, UTC.
            why: What has become of the resource; may be empty.

        Raises:
            Conflict: `request_closed`.
        """
        self._require_pending(now)
        return replace(self, voided=True, why=why)

    def reason(self, now: datetime) -> str:
        """Returns why the request ended as it did, for its row and for the model: approvers with their comments."""
        status = self.status(now)
        if status in _REASONS:
            return self.why or _REASONS[status]
        if status is ApprovalStatus.EXPIRED:
            return self._missed()
        return _quoted(self._said(_VERDICT_OF[status])) if status in _VERDICT_OF else ""

    def _missed(self) -> str:
        """Returns what was decided on a request that expired, and what was not."""
        approved, rejected = self._said(Verdict.APPROVE), self._said(Verdict.REJECT)
        if not approved and not rejected:
            return "nobody decided in time"
        parts = [f"only {len(approved)} of {self.terms.required_approvers} approvals came in time", _quoted(approved)]
        if rejected:
            # Too few to close the request, and yet the only thing that the requester can act on.
            parts += [f"{len(rejected)} of {self.terms.rejections_to_close} rejections", _quoted(rejected)]
        return "; ".join(part for part in parts if part)

    def _require_pending(self, now: datetime) -> None:
        status = self.status(now)
        if status is not ApprovalStatus.PENDING:
            raise Conflict("request_closed", f"The request is {status.value}; it takes no more decisions.")

    def _standing(self) -> tuple[Decision, ...]:
        """Returns the decisions that count: rejections, and approvals of the current content without a rejection."""
        against = {person for d in self.decisions if d.verdict is Verdict.REJECT for person in d.people}
        # Who rejected one version and later approves another still objects: the rejection wins.
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


def withdrawal_reason(by: str, comment: str) -> str:
    """Returns why a request was withdrawn: the person's words, else who it was."""
    said = comment.strip()
    if not by:
        return said
    return f"{by} withdrew the request: {said}" if said else f"{by} withdrew the request"


def _quoted(decisions: tuple[Decision, ...]) -> str:
    return "; ".join(f"{_named(d)}: {d.comment}" if d.comment else _named(d) for d in decisions)


def _named(decision: Decision) -> str:
    return f"{decision.approver_id} for {decision.on_behalf_of}" if decision.on_behalf_of else decision.approver_id


_VERDICT_OF = {ApprovalStatus.APPROVED: Verdict.APPROVE, ApprovalStatus.REJECTED: Verdict.REJECT}
_REASONS = {
    ApprovalStatus.WITHDRAWN: "the request was withdrawn",
    ApprovalStatus.VOIDED: "what was asked for has changed",
}


def workflow_id(tenant_id: str, request_id: str) -> str:
    """Returns the Temporal workflow id of a request."""
    return f"{tenant_id}:approval:{request_id}"


def update_id(tenant_id: str, request_id: str, user_id: str, key: str, failed: int = 0) -> str:
    """Derives the Temporal update id of a decision from the user's idempotency key, without disclosing the key.

    Args:
        tenant_id: The tenant.
        request_id: The request.
        user_id: The user who decides.
        key: The idempotency key.
        failed: The number of earlier updates of this key that made no decision; each has an id of its own.
    """
    return canonical_hash([tenant_id, request_id, user_id, key, *([failed] if failed else [])])


def request_of(workflow: str) -> tuple[str, str] | None:
    """Parses a workflow id of `workflow_id` into (tenant id, request id); None for any other. Tenant ids hold no
    colon.
    """
    # Workflow ids of other types, and of other products in the namespace, are not ours to parse.
    tenant_id, _, request_id = workflow.partition(":approval:")
    return (tenant_id, request_id) if tenant_id and ":" not in tenant_id and is_id(request_id) else None
