"""Parties: the users who count as one person when a request is decided (four-eyes principle).

A decision counts for the person behind it. Behind an API key stands its issuer, behind a service account its creator,
and so on from issuer to issuer: all of them are one person, as long as the key or the account exists. Who has recently
granted somebody an account, or the role by which they decide, counts as one person with them for a while; two users
who received grants from the same third person stay two. So does, in that request, who has reassigned it to somebody who
may not decide it by its terms.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from taskforce.core.domain.approvals.terms import Deciders, Terms
from taskforce.core.domain.identity.access_grants import AccessGrant

MOST_PEOPLE: Final = 64
"""People behind one decision, at most; a decision behind which there are more does not count."""


@dataclass(frozen=True, slots=True)
class Party:
    """The users behind one requester or approver.

    Attributes:
        people: The user, whom they represent, and the issuers of their credential; they count as one person.
        sponsors: Users who have recently granted one of them the account, or the role by which they decide, or who have
            reassigned the request to one of them beyond its terms.
    """

    people: frozenset[str]
    sponsors: frozenset[str] = frozenset()

    def is_same_as(self, other: "Party") -> bool:
        """Tells whether the same person stands behind both."""
        return not self.people.isdisjoint(other.people)

    def is_tied_to(self, other: "Party") -> bool:
        """Tells whether one of the two has recently granted the other an account or a role."""
        return not (self.sponsors.isdisjoint(other.people) and self.people.isdisjoint(other.sponsors))


@dataclass(frozen=True, slots=True)
class DecisionGrounds:
    """The grounds on which a user may decide a request.

    Attributes:
        roles: The user's roles that may decide it.
        named: Whether the request's terms name the user, so that no role is needed. A reassignment's naming is none.
        reassigned: Whether the user may decide by a reassignment only, and not by the terms.
    """

    roles: frozenset[str] = frozenset()
    named: bool = False
    reassigned: bool = False

    def __bool__(self) -> bool:
        return bool(self.roles or self.named)


@dataclass(frozen=True, slots=True)
class Reassignment:
    """A reassignment of a request by a user, as its history tells it.

    Attributes:
        actor_id: The user who reassigned the request.
        to: The deciders whom they named.
        key_id: The API key that authenticated the user; None for a person.
    """

    actor_id: str
    to: Deciders
    key_id: str | None = None


def decision_grounds(user_id: str, roles: frozenset[str], who: Deciders, terms: Terms) -> DecisionGrounds | None:
    """Returns the grounds on which a user may decide a request now; None where there are none.

    Args:
        user_id: The user.
        roles: The user's roles.
        who: The current deciders of the request.
        terms: The terms of the request, whose timed actions count as well.
    """
    if not who.include(user_id, roles):
        return None
    own = terms.all_deciders
    by_terms = roles & frozenset(own.roles)
    current = DecisionGrounds(by_terms & frozenset(who.roles), user_id in who.people and user_id in own.people)
    # Somebody whom a reassignment names, and who might decide by the terms anyway, decides by the terms.
    usual = current or DecisionGrounds(by_terms, user_id in own.people)
    return usual or DecisionGrounds(roles & frozenset(who.roles), reassigned=True)


def reassignments_to(
    changes: Iterable[Reassignment], user_id: str, roles: frozenset[str], grounds: DecisionGrounds | None
) -> tuple[Reassignment, ...]:
    """Selects the reassignments by which a user decides, for they tie the user to who made them.

    Args:
        changes: All reassignments of the request.
        user_id: The user.
        roles: The user's roles.
        grounds: The grounds on which the user decides; None where every reassignment counts.
    """
    if grounds is not None and not grounds.reassigned:
        return ()
    return tuple(one for one in changes if grounds is None or one.to.include(user_id, roles))


def recent_grants(
    grants: Iterable[AccessGrant], since: datetime, grounds: DecisionGrounds | None
) -> tuple[AccessGrant, ...]:
    """Selects the grants that tie a user to who granted them.

    Args:
        grants: All grants that the user received.
        since: Older grants are left out, UTC.
        grounds: The grounds on which the user decides. A role's grant ties only where the user decides by that role
            alone: with another deciding role that was held longer, it was not needed. Every role counts where there
            are none, or where only a reassignment names the user.
    """
    recent = [one for one in grants if one.at >= since]
    roles = {one.role for one in recent if one.role is not None}
    if grounds:
        roles = set() if grounds.named or grounds.roles - roles else roles & grounds.roles
    return tuple(one for one in recent if one.role is None or one.role in roles)
