"""The rules of access: which rights roles give, and which of a user's roles count now."""

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
    """A user as this product knows it: what was granted here, and what its identity provider said last.

    Attributes:
        tenant_id: The user's tenant.
        user_id: Opaque and stable within the tenant.
        username: For people.
        email: Where known.
        active: A deactivated user has no rights, whatever its tokens say.
        granted_roles: Roles granted here; they count until they are taken back.
        claimed_roles: Roles that the last token named.
        claims_seen_at: When that token was presented last, UTC; None when no token was ever seen.
        claims_issued_at: When that token was issued, UTC; None when that is not known.
        kind: A person or a service account; a service account signs in by API keys.
        attributes: Plain facts for policies, for example `department`.
        lent_roles: Roles granted here until a time, UTC; from that moment on they give nothing.

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
        """Returns the record of a user who was never seen before; it holds no local grants."""
        return cls(identity.tenant_id, identity.user_id, identity.username).seen(identity, now)

    def seen(self, identity: Identity, now: datetime) -> Self:
        """Returns the record after a token was presented.

        A token older than the one that was seen last changes nothing: otherwise roles that the identity provider has
        taken back would come back with a replayed token, and outlive it. Seeing a token never reactivates a user.

        Args:
            identity: What the verified token says.
            now: The time, UTC.

        Raises:
            Invalid: `identity_mismatch` when the token is another user's.
        """
        if (identity.tenant_id, identity.user_id) != (self.tenant_id, self.user_id):
            raise Invalid("identity_mismatch", "These claims belong to another user.")
        if self.claims_issued_at is not None and identity.issued_at < self.claims_issued_at:
            return self
        return replace(
            self,
            username=identity.username,
            email=identity.email or self.email,
            claimed_roles=identity.roles,
            attributes=identity.attributes,
            claims_seen_at=now,
            claims_issued_at=identity.issued_at,
        )

    def effective_roles(self, now: datetime, max_claims_age: timedelta) -> frozenset[str]:
        """Returns the roles that count now.

        Args:
            now: The time, UTC.
            max_claims_age: How long claims count after they were seen last.

        Returns:
            Local grants, those that were lent and are not over and, while fresh, claimed roles; nothing for a
            deactivated user.
        """
        return self.own_roles(now) | self.fresh_claims(now, max_claims_age)

    def own_roles(self, now: datetime) -> frozenset[str]:
        """Returns the roles that were granted or lent here, whatever tokens claim; nothing for a deactivated user."""
        return self.granted_roles | self.lent_now(now).keys() if self.active else frozenset()

    def fresh_claims(self, now: datetime, max_claims_age: timedelta) -> frozenset[str]:
        """Returns the roles that the newest token claimed, as long as that was seen not too long ago."""
        fresh = self.claims_seen_at is not None and now - self.claims_seen_at <= max_claims_age
        return self.claimed_roles if fresh and self.active else frozenset()

    def lasting_roles(self, now: datetime, max_claims_age: timedelta) -> frozenset[str]:
        """As `effective_roles`, without those that were lent: with these nobody gives what outlasts them."""
        return replace(self, lent_roles={}).effective_roles(now, max_claims_age)

    @property
    def all_roles(self) -> frozenset[str]:
        """Every role that it was given, whether or not it counts now."""
        return self.granted_roles | self.claimed_roles | self.lent_roles.keys()

    def lent_now(self, now: datetime) -> Mapping[str, datetime]:
        """Returns the roles that are lent at this moment, each with its end."""
        return {role: until for role, until in self.lent_roles.items() if now < until}

    def given(self, role: str, until: datetime | None, now: datetime) -> Self:
        """Returns the record of somebody who was given a role, for good or until a time; what is held is never cut.

        Args:
            role: The role.
            until: When it ends, UTC; None for never.
            now: The time, UTC. Loans that are over go.
        """
        lent = dict(self.lent_now(now))
        if until is None:
            lent.pop(role, None)
            return replace(self, granted_roles=self.granted_roles | {role}, lent_roles=lent)
        if role not in self.granted_roles:
            lent[role] = max(until, lent.get(role, until))
        return replace(self, lent_roles=lent)

    def permissions(
        self, now: datetime, max_claims_age: timedelta, known: Mapping[str, Role] = SYSTEM_ROLES
    ) -> frozenset[Permission]:
        """Returns what the user may do now; see `effective_roles` and `permissions_of`."""
        return permissions_of(self.effective_roles(now, max_claims_age), known)
