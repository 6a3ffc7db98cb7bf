"""Access grants: who granted whom an account or a role, and when; the four-eyes check reads them."""

from dataclasses import dataclass
from datetime import datetime

from taskforce.core.domain.identity.users import UserRecord


@dataclass(frozen=True, slots=True)
class AccessGrant:
    """One grant of an account or a role; it stays on record when the account or role is taken back.

    Attributes:
        user_id: The grantee.
        given_by: The granter; for an approved request one grant for each approver.
        at: Time of the grant, UTC.
        role: The role; None for the account itself, or its activation.
        key_id: The API key of the granter; None for a person.
    """

    user_id: str
    given_by: str
    at: datetime
    role: str | None = None
    key_id: str | None = None


def grants_between(
    before: UserRecord | None, after: UserRecord, given_by: str, now: datetime, key_id: str | None = None
) -> tuple[AccessGrant, ...]:
    """Returns what a change granted a user: the account or its activation, and each role that is new or lasts longer.

    Args:
        before: The user before; None for a new one.
        after: The user after.
        given_by: The user who made the change.
        now: Time of the change, UTC.
        key_id: The API key of that user; None for a person.
    """
    held = frozenset() if before is None else before.granted_roles
    lent = {} if before is None else before.lent_roles
    roles = {role for role, until in after.lent_roles.items() if role not in lent or lent[role] < until}
    activated = before is None or (after.active and not before.active)
    accounts = (AccessGrant(after.user_id, given_by, now, None, key_id),) if activated else ()
    given = sorted(roles | (after.granted_roles - held))
    return (*accounts, *(AccessGrant(after.user_id, given_by, now, role, key_id) for role in given))
