"""Parties: the users who count as one person when a request is decided (four-eyes principle).

A decision counts for the person behind it. Behind an API key stands its issuer, behind a service account its creator,
and so on from issuer to issuer: all of them are one person, as long as the key or the account exists. Who has recently
granted somebody an account, or the role by which they decide, counts as one person with them for a while; two users
who received grants from the same third person stay two.

"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from taskforce.core.domain.identity.access_grants import AccessGrant

MOST_PEOPLE: Final = 64
"""People behind one decision, at most; a decision behind which there are more does not count."""


@dataclass(frozen=True, slots=True)
class Party:
    """The users behind one requester or approver.

    Attributes:
        people: The user, whom they represent, and the issuers of their credential; they count as one person.
        sponsors: Users who have recently granted one of them the account, or the role by which they decide.
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
class Standing:
    """The grounds on which a user may decide a request.

    Attributes:
        roles: The user's roles that may decide it.
        named: Whether the request's terms name the user, so that no role is needed.
    """

    roles: frozenset[str] = frozenset()
    named: bool = False


def recent_grants(grants: Iterable[AccessGrant], since: datetime, standing: Standing | None) -> tuple[AccessGrant, ...]:
    """Selects the grants that tie a user to who granted them.

    Args:
        grants: All grants that the user received.
        since: Older grants are left out, UTC.
        standing: The grounds on which the user decides. A role's grant ties only where the user decides by that role
            alone: with another deciding role that was held longer, it was not needed. None where every role counts.
    """
    recent = [one for one in grants if one.at >= since]
    roles = {one.role for one in recent if one.role is not None}
    if standing is not None:
        roles = set() if standing.named or standing.roles - roles else roles & standing.roles
    return tuple(one for one in recent if one.role is None or one.role in roles)
