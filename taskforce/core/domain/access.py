"""The rules of access: which rights roles give, and which of a user's roles count now."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal, Self

from taskforce.core.domain.errors import Forbidden, Invalid
from taskforce.core.domain.tenants import Tenant
from taskforce.core.interfaces.identity import SYSTEM_ROLES, Identity, Permission, Role, checked_tenant_id

UserKind = Literal["person", "service"]


def permissions_of(roles: Iterable[str], known: Mapping[str, Role] = SYSTEM_ROLES) -> frozenset[Permission]:
    """Returns what roles allow together.

    Args:
        roles: Role names, from wherever; a name that is not known gives nothing.
        known: The roles that exist, by the names that users hold.
    """
    return frozenset(permission for name in roles if name in known for permission in known[name].permissions)


def require(held: Collection[Permission], needed: Permission) -> None:
    """Lets only somebody pass who holds a permission.

    Args:
        held: The permissions of whoever asks.
        needed: The permission that the act takes.

    Raises:
        Forbidden: `permission_denied`; its message and `details["permission"]` name the missing permission.
    """
    if needed not in held:
        raise Forbidden(
            "permission_denied",
            f"This needs the permission {needed.value}.",
            details={"permission": needed.value},
        )


@dataclass(frozen=True, slots=True)
class AccessRules:
    """What a deployment says about rights.

    Attributes:
        claims_age: How long the claims last seen count as rights.
        roles: The roles that every tenant has: the five of the system and the profile's.
        default_role: The role of somebody whose token names none that is known; None gives no rights.
        platform_tenant: Whoever holds `tenant:manage` in it runs the platform.
        tenants_at_first_sight: Whether a believed token makes its tenant; else the platform's operator does.
    """

    claims_age: timedelta = timedelta(hours=24)
    roles: Mapping[str, Role] = field(default_factory=lambda: SYSTEM_ROLES)
    default_role: str | None = None
    platform_tenant: str = "platform"
    tenants_at_first_sight: bool = True


@dataclass(frozen=True, slots=True)
class Standing:
    """What somebody is, and may do, at one moment.

    Attributes:
        user: The user as recorded.
        tenant: The user's tenant.
        roles: The roles that count.
        permissions: What they allow.
        user_roles: The user's own roles; those of an API key that speaks for it may be fewer.
        key_id: The API key that speaks, if it is one.
    """

    user: "UserRecord"
    tenant: Tenant
    roles: frozenset[str]
    permissions: frozenset[Permission]
    user_roles: frozenset[str]
    key_id: str | None = None

    @property
    def is_cut(self) -> bool:
        """Whether a key speaks, whose rights nothing widens."""
        return self.key_id is not None

    def runs_platform(self, rules: AccessRules) -> bool:
        """Whether this is the platform's operator, who stands above tenants."""
        own = self.tenant.tenant_id == rules.platform_tenant
        return own and Permission.TENANT_MANAGE in self.permissions


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
        if not self.active:
            return frozenset()
        fresh = self.claims_seen_at is not None and now - self.claims_seen_at <= max_claims_age
        own = self.granted_roles | self.lent_now(now).keys()
        return own | self.claimed_roles if fresh else own

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
