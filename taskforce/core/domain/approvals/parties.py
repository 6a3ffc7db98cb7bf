"""Who counts as one person where a request is decided.

A decision counts for the human behind it. Behind an API key stands whoever issued it, behind a service account whoever
made it, and so on from issuer to issuer: all of them are one person, for as long as the key or the account lasts. Who
has only just given somebody an account, or the role by which they decide, is counted as one person with them for a
while; two who were given it by the same third are not one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from taskforce.core.domain.identity.access_grants import AccessGrant

MOST_PEOPLE: Final = 64
"""People behind one decision that are followed; a decision behind which there are more does not count."""


@dataclass(frozen=True, slots=True)
class Party:
    """Those who speak when somebody asks or decides.

    Attributes:
        people: Who counts as one person: who speaks, for whom, and everybody behind the credential.
        sponsors: Who has just given one of them the account, or the role by which they decide.
    """

    people: frozenset[str]
    sponsors: frozenset[str] = frozenset()

    def is_same_as(self, other: "Party") -> bool:
        """Whether the same human stands behind both."""
        return not self.people.isdisjoint(other.people)

    def is_tied_to(self, other: "Party") -> bool:
        """Whether one of the two has just made the other what it is."""
        return not (self.sponsors.isdisjoint(other.people) and self.people.isdisjoint(other.sponsors))


@dataclass(frozen=True, slots=True)
class Standing:
    """How somebody comes to decide a request.

    Attributes:
        roles: The roles of theirs that decide it.
        named: Whether the request names them, so that they need no role.
    """

    roles: frozenset[str] = frozenset()
    named: bool = False


def recent_grants(grants: Iterable[AccessGrant], since: datetime, standing: Standing | None) -> tuple[AccessGrant, ...]:
    """Returns those of somebody's grants that tie them to the giver.

    Args:
        grants: All that they were given.
        since: Older ones tie nobody.
        standing: How they come to decide. A role ties only if they decide by it alone: whoever holds another one that
            decides for longer needed none. None where every role counts.
    """
    recent = [one for one in grants if one.at >= since]
    roles = {one.role for one in recent if one.role is not None}
    if standing is not None:
        roles = set() if standing.named or standing.roles - roles else roles & standing.roles
    return tuple(one for one in recent if one.role is None or one.role in roles)
