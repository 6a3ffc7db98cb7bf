"""Principals: authenticated users with their effective roles and permissions."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from taskforce.core.domain.errors import Forbidden
from taskforce.core.domain.identity.users import UserRecord
from taskforce.core.domain.runs.kill_switches import RunStop
from taskforce.core.domain.tenants.tenant import Tenant
from taskforce.core.interfaces.identity import SYSTEM_ROLES, Permission, Role

PLATFORM_TENANT: Final = "platform"
"""The tenant whose users operate the platform, unless a deployment names another."""


def require(held: Collection[Permission], permission: Permission) -> None:
    """Requires that a permission is held.

    Args:
        held: The principal's permissions.
        permission: The permission that the action requires.

    Raises:
        Forbidden: `permission_denied`; its message and `details["permission"]` name the missing permission.
    """
    if permission not in held:
        raise Forbidden(
            "permission_denied",
            f"This needs the permission {permission.value}.",
            details={"permission": permission.value},
        )


@dataclass(frozen=True, slots=True)
class AccessRules:
    """A deployment's configuration of access rights.

    Attributes:
        claims_age: How long the claims of the last token count after it was seen.
        roles: The roles of every tenant: the five system roles and those of the profile.
        default_role: The role of a user whose token names no known role; None gives no rights.
        platform_tenant: The tenant in which `tenant:manage` makes a user an operator of the platform.
        tenants_at_first_sight: Whether a valid token creates its tenant; else an operator of the platform does.
    """

    claims_age: timedelta = timedelta(hours=24)
    roles: Mapping[str, Role] = field(default_factory=lambda: SYSTEM_ROLES)
    default_role: str | None = None
    platform_tenant: str = PLATFORM_TENANT
    tenants_at_first_sight: bool = True


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """The claims of a token to which its bearer is cut.

    Attributes:
        roles: The claimed roles.
        attributes: The claimed facts for policies; None where they are not known, and the user's recorded ones count.
    """

    roles: frozenset[str]
    attributes: Mapping[str, object] | None = field(default=None, hash=False)


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated user with the rights of one moment.

    Attributes:
        user: The user as recorded.
        tenant: The user's tenant.
        roles: The effective roles.
        permissions: The permissions of these roles.
        user_roles: The user's own roles, to which an API key or a token may have fewer.
        key_id: The API key that authenticated the user; None for a token.
        claims: Claims of the presented token, to which those of other tokens are cut; None without a token, or where
            they are not known.
        is_narrowed: Whether the user's newest token claims roles that the presented one does not; they do not count.
        lasting: Whether roles granted for a limited time are left out, here and on single resources.
        stop: What stops the run for which it was loaded; nothing where it is not for a run.
        definitions_mark: A mark that changes with the tenant's approval definitions; empty where it is not for a run.
    """

    user: "UserRecord"
    tenant: Tenant
    roles: frozenset[str]
    permissions: frozenset[Permission]
    user_roles: frozenset[str]
    key_id: str | None = None
    claims: TokenClaims | None = None
    is_narrowed: bool = False
    lasting: bool = False
    stop: RunStop = field(default_factory=RunStop)
    definitions_mark: str = ""

    @property
    def is_cut(self) -> bool:
        """Returns whether an API key authenticated the user; nothing widens a key's rights."""
        return self.key_id is not None

    @property
    def other_attributes(self) -> Mapping[str, object] | None:
        """Attributes of the presented token, where they are not those of the user's newest one; else None."""
        claimed = None if self.claims is None else self.claims.attributes
        return None if claimed == self.user.attributes else claimed

    def differing(self, names: Collection[str]) -> Mapping[str, object]:
        """Returns, of these attributes, those whose values in the presented token are not the newest token's.

        Args:
            names: The names of the attributes.

        Returns:
            The values in the presented token, None for a missing one.
        """
        newest, other = self.user.attributes, self.other_attributes
        if other is None:
            return {}
        return {name: other.get(name) for name in names if other.get(name) != newest.get(name)}

    def runs_platform(self, rules: AccessRules) -> bool:
        """Tells whether the principal operates the platform, above all tenants."""
        own = self.tenant.tenant_id == rules.platform_tenant
        return own and Permission.TENANT_MANAGE in self.permissions


def require_whole(principal: Principal) -> None:
    """Requires a token that claims no fewer roles than the user's newest one, for actions that pass on all rights.

    Raises:
        Forbidden: `claims_narrowed`.
    """
    if principal.is_narrowed:
        text = "This token claims less than another of yours, and this takes all of your rights. Use the other."
        raise Forbidden("claims_narrowed", text)


def require_newest_attributes(principal: Principal, names: Collection[str]) -> None:
    """Requires a token that claims what the user's newest one does, for what is judged by that one later.

    Args:
        principal: The user, with the claims of the presented token.
        names: The names of the attributes that the tenant's policy reads; others bind no token.

    Raises:
        Forbidden: `claims_narrowed`.
    """
    other = sorted(principal.differing(names))
    if other:
        text = f"Your newest token claims another {', '.join(other)}, which the policy of your tenant reads. Use that."
        raise Forbidden("claims_narrowed", text, details={"attributes": other})
