"""The terms of a request for approval: quorum, deciders, expiry and timed actions."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from taskforce.core.domain.errors import Invalid

MOST_ACTIONS: Final = 50
LONGEST: Final = 366 * 24 * 3_600
"""Longest time to expiry, in seconds."""


class ActionKind(StrEnum):
    """The kind of a timed action. Expiry is no action: see `Terms.expire_seconds`."""

    REMIND = "remind"
    WIDEN = "widen"
    REASSIGN = "reassign"


@dataclass(frozen=True, slots=True)
class Deciders:
    """The users who may decide: people by id, and holders of one of the roles at the time of the decision."""

    roles: tuple[str, ...] = ()
    people: tuple[str, ...] = ()

    def include(self, user_id: str, roles: Collection[str]) -> bool:
        """Tells whether a user with these roles is among them."""
        return user_id in self.people or any(role in roles for role in self.roles)

    def widened(self, more: "Deciders") -> "Deciders":
        """Returns the union with others, without duplicates."""
        return Deciders(_joined(self.roles, more.roles), _joined(self.people, more.people))

    def __bool__(self) -> bool:
        return bool(self.roles or self.people)

    def __str__(self) -> str:
        return ", ".join((*self.roles, *(f"user {person}" for person in self.people)))


NOBODY: Final = Deciders()


@dataclass(frozen=True, slots=True)
class TimedAction:
    """An action that is due a number of seconds after a request was opened.

    Attributes:
        kind: Remind, widen or reassign.
        after_seconds: Seconds from the opening.
        to: Who is reminded (empty: the deciders), added to the deciders, or made the deciders.
    """

    kind: ActionKind
    after_seconds: int
    to: Deciders = NOBODY


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms under which a request is decided; a request keeps the terms that it was opened with.

    Attributes:
        required_approvers: Number of distinct people who must approve.
        rejections_to_close: Number of distinct people whose rejection closes it.
        allowed_roles: Roles of which an approver must hold one at the time of the decision.
        self_approval: Whether the requester may decide.
        expire_seconds: Seconds until a pending request expires.
        signal_channel: Whether unauthenticated decisions from the Temporal UI and CLI count.
        allowed_people: People who may decide, whatever their roles.
        comment_required: Whether a decision needs a comment.
        actions: Timed actions before expiry; sorted by time.
        carries_out: Whether an approved request is executed automatically; else a user starts it later.
        notify_on_create: Whether webhooks are notified of a new request.
        notify_on_action: Whether webhooks are notified of each decision and action.
        service_accounts: Whether service accounts may decide, and API keys that another user issued.
        independence_seconds: Seconds before the request within which a grant of an account or a deciding role makes its
            granter and the grantee count as one person.

    Raises:
        Invalid: `terms_invalid` when a number is not positive (a quorum of 0 would approve by itself), nobody could
            ever decide, or an action is never due or names nobody.
    """

    required_approvers: int = 1
    rejections_to_close: int = 1
    allowed_roles: tuple[str, ...] = ("admin",)
    self_approval: bool = False
    expire_seconds: int = 72 * 3_600
    signal_channel: bool = False
    allowed_people: tuple[str, ...] = ()
    comment_required: bool = False
    actions: tuple[TimedAction, ...] = ()
    carries_out: bool = True
    notify_on_create: bool = True
    notify_on_action: bool = True
    service_accounts: bool = False
    independence_seconds: int = 24 * 3_600

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            text = f"The terms cannot be taken: {' '.join(problems)}"
            raise Invalid("terms_invalid", text, details={"problems": problems})
        # `Approval.acted` counts actions by position, so they must be in the order of time.
        object.__setattr__(self, "actions", tuple(sorted(self.actions, key=lambda one: one.after_seconds)))

    @property
    def deciders(self) -> Deciders:
        """Returns the roles and people who may decide when the request is opened."""
        return Deciders(self.allowed_roles, self.allowed_people)

    @property
    def all_deciders(self) -> Deciders:
        """Returns the roles and people who may decide by these terms, those of timed actions included."""
        found = self.deciders
        for one in self.actions:
            found = found if one.kind is ActionKind.REMIND else found.widened(one.to)
        return found

    def asks_no_more_than(self, before: "Terms") -> bool:
        """Tells whether whatever was approved under other terms satisfies these, whoever decided it and how.

        Args:
            before: The terms under which it was approved.
        """
        now, then = self.all_deciders, before.all_deciders
        who = set(then.roles) <= set(now.roles) and set(then.people) <= set(now.people)
        # False is less than True: what is lifted now may not have been lifted then, and the other way round.
        lifts = ("self_approval", "signal_channel", "service_accounts", "rejections_to_close")
        demands = ("required_approvers", "comment_required", "independence_seconds")
        lifted = all(getattr(self, name) >= getattr(before, name) for name in lifts)
        return who and lifted and all(getattr(self, name) <= getattr(before, name) for name in demands)

    def _problems(self) -> Collection[str]:
        found: list[str] = []
        if min(self.required_approvers, self.rejections_to_close, self.expire_seconds) < 1:
            found.append("Approvers, rejections and seconds to expiry must be at least 1.")
        if self.expire_seconds > LONGEST:
            found.append("A request expires within 366 days.")
        if not 0 <= self.independence_seconds <= LONGEST:
            found.append("Between a grant and the decision of who was given it there are 0 to 366 days.")
        if not self.deciders:
            found.append("Somebody must be allowed to decide: name roles or people.")
        # With a role, or an action that adds deciders, enough approvers may still appear.
        if not self.allowed_roles and len(set(self.allowed_people)) < self.required_approvers and not self._widens():
            found.append("Fewer people may decide than must approve.")
        if len(self.actions) > MOST_ACTIONS:
            found.append(f"At most {MOST_ACTIONS} actions.")
        for one in self.actions:
            if not 0 < one.after_seconds < self.expire_seconds:
                found.append(f"{one.kind.value}: it happens after the opening and before the request expires.")
            if one.kind is not ActionKind.REMIND and not one.to:
                found.append(f"{one.kind.value}: name the roles or people.")
        return found

    def _widens(self) -> bool:
        return any(one.kind is not ActionKind.REMIND for one in self.actions)


def _joined(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    return (*first, *(one for one in second if one not in first))
