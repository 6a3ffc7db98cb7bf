"""Principals: who acts, with which permissions."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from taskforce.core.domain.errors import Forbidden
from taskforce.core.domain.identity.users import UserRecord
from taskforce.core.domain.tenants.tenant import Tenant
from taskforce.core.interfaces.identity import SYSTEM_ROLES, Permission, Role

PLATFORM_TENANT: Final = "platform"
"""The tenant whose people run the platform, unless a deployment names another."""


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
    platform_tenant: str = PLATFORM_TENANT
    tenants_at_first_sight: bool = True


@dataclass(frozen=True, slots=True)
class Principal:
    """What somebody is, and may do, at one moment.

    Attributes:
        user: The user as recorded.
        tenant: The user's tenant.
        roles: The roles that count.
        permissions: What they allow.
        user_roles: The user's own roles; those of an API key or a token that speaks for it may be fewer.
        key_id: The API key that speaks, if it is one.
        claims: The roles that the token which speaks claims, to which those of other tokens are cut; None where none
            does, or that is not known.
        is_narrowed: Whether the user's newest token claims roles that this one does not, and that so do not count.
        lasting: Whether what was lent for a time is left out, here and on single resources.
    """

    user: "UserRecord"
    tenant: Tenant
    roles: frozenset[str]
    permissions: frozenset[Permission]
    user_roles: frozenset[str]
    key_id: str | None = None
    claims: frozenset[str] | None = None
    is_narrowed: bool = False
    lasting: bool = False

    @property
    def is_cut(self) -> bool:
        """Whether a key speaks, whose rights nothing widens."""
        return self.key_id is not None

    def runs_platform(self, rules: AccessRules) -> bool:
        """Whether this is the platform's operator, who stands above tenants."""
        own = self.tenant.tenant_id == rules.platform_tenant
        return own and Permission.TENANT_MANAGE in self.permissions


def require_whole(principal: Principal) -> None:
    """Requires a token that claims no less than the user's newest one, for what hands on all rights of the user.

    Raises:
        Forbidden: `claims_narrowed`.
    """
    if principal.is_narrowed:
        text = "This token claims less than another of yours, and this takes all of your rights. Use the other."
        raise Forbidden("claims_narrowed", text)
