"""Who gave whom an account or a role, and when: what tells a colleague from somebody's creature."""

from dataclasses import dataclass
from datetime import datetime

from taskforce.core.domain.identity.users import UserRecord


@dataclass(frozen=True, slots=True)
class AccessGrant:
    """One thing that somebody was given; it stays on record when the thing itself is taken back.

    Attributes:
        user_id: Who was given it.
        given_by: Who gave it; of what an approved request gave, each of those who approved.
        at: When, UTC.
        role: The role; None for the account itself, or its activation.
        key_id: The API key by which it was given, if it was one.
    """

    user_id: str
    given_by: str
    at: datetime
    role: str | None = None
    key_id: str | None = None


def grants_between(
    before: UserRecord | None, after: UserRecord, given_by: str, now: datetime, key_id: str | None = None
) -> tuple[AccessGrant, ...]:
    """What a change has given a user: the account or its activation, and each role that came or lasts longer.

    Args:
        before: The user before; None for one who is made.
        after: The user after.
        given_by: Who has changed them.
        now: The time, UTC.
        key_id: The API key that spoke.
    """
    held = frozenset() if before is None else before.granted_roles
    lent = {} if before is None else before.lent_roles
    roles = {role for role, until in after.lent_roles.items() if role not in lent or lent[role] < until}
    activated = before is None or (after.active and not before.active)
    accounts = (AccessGrant(after.user_id, given_by, now, None, key_id),) if activated else ()
    given = sorted(roles | (after.granted_roles - held))
    return (*accounts, *(AccessGrant(after.user_id, given_by, now, role, key_id) for role in given))
