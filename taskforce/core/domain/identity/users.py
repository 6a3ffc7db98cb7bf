"""Users: their granted and claimed roles, and which of them are effective at a time."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal, Self

from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.identity.roles import permissions_of
from taskforce.core.interfaces.identity import SYSTEM_ROLES, Identity, Permission, Role, checked_tenant_id

UserKind = Literal["person", "service"]


@dataclass(frozen=True, slots=True)
class UserRecord:
    """A user as stored: local grants, and the claims of the token that was seen last.

    Attributes:
        tenant_id: The user's tenant.
        user_id: Opaque and stable within the tenant.
        username: Display name.
        email: Where known.
        active: Whether the user is active; a deactivated one has no rights, whatever their tokens claim.
        granted_roles: Roles granted here without an end.
        claimed_roles: Roles that the last token claimed.
        claims_seen_at: Time at which that token was presented last, UTC; None when no token was ever seen.
        claims_issued_at: Time at which that token was issued, UTC; None when not known.
        kind: A person or a service account; a service account signs in by API keys.
        attributes: Facts for policies, for example `department`.
        lent_roles: Roles granted here for a limited time, with their ends, UTC, excluded.

    Raises:
        Invalid: `tenant_id_invalid`.
    """

    tenant_id: str
    user_id: str
    username: str
    email: str | None = None
    active: bool = True
    granted_roles: frozenset[str] = frozenset()
    claimed_roles: frozenset[str] = frozenset()
    claims_seen_at: datetime | None = None
    claims_issued_at: datetime | None = None
    kind: UserKind = "person"
    attributes: Mapping[str, object] = field(default_factory=dict, hash=False)
    lent_roles: Mapping[str, datetime] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        checked_tenant_id(self.tenant_id)

    @classmethod
    def first_seen(cls, identity: Identity, now: datetime) -> Self:
        """Returns the record of a new user, without local grants."""
        return cls(identity.tenant_id, identity.user_id, identity.username).seen(identity, now)

    def seen(self, identity: Identity, now: datetime) -> Self:
        """Returns the record after a token was presented.

        A token older than the last one changes nothing: a replayed token would bring back roles that the identity
        provider has revoked, and they would outlive it. A token never reactivates a user.

        Args:
            identity: The claims of the verified token.
            now: The time, UTC.

        Raises:
            Invalid: `identity_mismatch` when the token belongs to another user.
        """
        if (identity.tenant_id, identity.user_id) != (self.tenant_id, self.user_id):
            raise Invalid("identity_mismatch", "These claims belong to another user.")
        if self.claims_issued_at is not None and identity.issued_at < self.claims_issued_at:
            return self
        return replace(
            self,
            username=identity.username,
            # Not every token carries the address, and a missing one does not revoke it.
            email=identity.email or self.email,
            claimed_roles=identity.roles,
            attributes=identity.attributes,
            claims_seen_at=now,
            claims_issued_at=identity.issued_at,
        )

    def effective_roles(self, now: datetime, max_claims_age: timedelta) -> frozenset[str]:
        """Returns the effective roles at a time.

        Args:
            now: The time, UTC.
            max_claims_age: How long claims count after their token was seen.

        Returns:
            Granted roles, unexpired lent roles and, while fresh, claimed roles; empty for a deactivated user.
        """
        return self.own_roles(now) | self.fresh_claims(now, max_claims_age)

    def own_roles(self, now: datetime) -> frozenset[str]:
        """Returns the roles granted or lent here, without claimed ones; empty for a deactivated user."""
        return self.granted_roles | self.lent_now(now).keys() if self.active else frozenset()

    def fresh_claims(self, now: datetime, max_claims_age: timedelta) -> frozenset[str]:
        """Returns the roles that the newest token claimed, while it was seen recently enough."""
        fresh = self.claims_seen_at is not None and now - self.claims_seen_at <= max_claims_age
        # Claims age, since the provider tells nobody when it revokes a role.
        return self.claimed_roles if fresh and self.active else frozenset()

    def lasting_roles(self, now: datetime, max_claims_age: timedelta) -> frozenset[str]:
        """Returns `effective_roles` without lent ones, for the judgement of actions that outlast a loan."""
        return replace(self, lent_roles={}).effective_roles(now, max_claims_age)

    @property
    def all_roles(self) -> frozenset[str]:
        """Returns all granted, claimed and lent roles, whether or not they are effective."""
        return self.granted_roles | self.claimed_roles | self.lent_roles.keys()

    def lent_now(self, now: datetime) -> Mapping[str, datetime]:
        """Returns the unexpired lent roles at a time, each with its end."""
        return {role: until for role, until in self.lent_roles.items() if now < until}

    def given(self, role: str, until: datetime | None, now: datetime) -> Self:
        """Returns the record with a role added, for good or until a time; a role that is held longer is not shortened.

        Args:
            role: The role.
            until: End, UTC, excluded; None for none.
            now: The time, UTC; expired loans are removed.
        """
        lent = dict(self.lent_now(now))
        if until is None:
            lent.pop(role, None)
            return replace(self, granted_roles=self.granted_roles | {role}, lent_roles=lent)
        if role not in self.granted_roles:
            lent[role] = max(until, lent.get(role, until))
        return replace(self, lent_roles=lent)

    def permissions(
        self, now: datetime, max_claims_age: timedelta, known_roles: Mapping[str, Role] = SYSTEM_ROLES
    ) -> frozenset[Permission]:
        """Returns the user's permissions at a time; see `effective_roles` and `permissions_of`."""
        return permissions_of(self.effective_roles(now, max_claims_age), known_roles)
