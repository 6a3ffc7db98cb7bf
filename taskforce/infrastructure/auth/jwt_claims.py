"""Turns the claims of a verified token into an identity, as identity providers differ in where they put things."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from taskforce.core.domain.errors import Invalid, Unauthenticated
from taskforce.core.interfaces.identity import SYSTEM_ROLES, Identity, checked_tenant_id
from taskforce.infrastructure.auth.jwt_guard import VerifiedToken

LONGEST_PREFIX: Final = 64

_REGISTERED: Final = frozenset({"iss", "sub", "aud", "exp", "nbf", "iat", "jti"})
_LONGEST_NAME: Final = 255
_LONGEST_EMAIL: Final = 320
_SEPARATORS = re.compile(r"[\s,]+")
_CUSTOM_ROLE = re.compile(r"custom:[^\s,]{1,100}")


@dataclass(frozen=True, slots=True)
class ClaimNames:
    """Where the facts stand. Each is a claim's name or a path of names with dots, such as `realm_access.roles`.

    A claim whose own name is the text, dots and slashes included, goes before the path.

    Attributes:
        tenant: The tenant's id.
        roles: The roles: a list of names or of objects with a `name`, or one text separated by spaces or commas.
        username: The name for people; optional in a token.
        email: The mail address; optional in a token.
    """

    tenant: str = "org_id"
    roles: str = "roles"
    username: str = "preferred_username"
    email: str = "email"


@dataclass(frozen=True, slots=True)
class TenantRules:
    """The tenants that an issuer speaks for.

    Attributes:
        fixed: All its tokens are for this tenant, and none of their claims is asked.
        allowed: A token for another tenant is refused; None allows every tenant.
        names: The tenant by the claim's value, for issuers with ids of their own; a value that is not in it is refused.

    Raises:
        Invalid: `tenant_binding_invalid` for rules that contradict each other or name what could not be a tenant;
            `tenant_id_invalid`.
    """

    fixed: str | None = None
    allowed: frozenset[str] | None = None
    names: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        if self.fixed is not None and not (self.allowed is None and self.names is None):
            raise _binding("An issuer with one fixed tenant has no list of tenants and no mapping to them.")
        if (self.allowed is not None and not self.allowed) or (self.names is not None and not self.names):
            raise _binding("An empty list of tenants would refuse every token; leave it out to allow every tenant.")
        mapped = frozenset(() if self.names is None else self.names.values())
        for tenant in {self.fixed} - {None} | mapped | (self.allowed or frozenset()):
            checked_tenant_id(tenant)
        if self.allowed is not None and not mapped <= self.allowed:
            raise _binding("The mapping leads to a tenant that the issuer is not bound to.")


@dataclass(frozen=True, slots=True)
class RoleRules:
    """What becomes of the roles that a token claims.

    Attributes:
        groups: Role names by the name of a group. When set, only what stands in it counts; a group that happens to be
            called `admin` gives nothing by itself.
        default: The role of whoever's token names no role that could be known.

    Raises:
        Invalid: `role_mapping_invalid` for a role that is neither a system role nor `custom:<name>`.
    """

    groups: Mapping[str, frozenset[str]] | None = None
    default: str | None = None

    def __post_init__(self) -> None:
        named = {role for roles in (self.groups or {}).values() for role in roles}
        if not all(is_role(role) for role in named | ({self.default} - {None})):
            raise Invalid(
                "role_mapping_invalid",
                f"Groups and the default lead to roles: {', '.join(SYSTEM_ROLES)}, or custom:<name>.",
            )

    def applied(self, claimed: frozenset[str]) -> frozenset[str]:
        """Returns the roles that count, of those that a token names."""
        roles = claimed if self.groups is None else _of_groups(claimed, self.groups)
        if self.default is None or any(is_role(role) for role in roles):
            return roles
        return roles | {self.default}


def is_role(name: object) -> bool:
    """Says whether a name can be a role's: one of the five system roles, or `custom:<name>`."""
    return isinstance(name, str) and (name in SYSTEM_ROLES or _CUSTOM_ROLE.fullmatch(name) is not None)


def identity_of(
    token: VerifiedToken,
    names: ClaimNames,
    tenants: TenantRules | None = None,
    roles: RoleRules | None = None,
    prefix: str = "",
) -> Identity:
    """Reads who a verified token speaks of.

    Args:
        token: The token.
        names: Where the facts stand in it.
        tenants: The tenants that its issuer speaks for; every one if left out.
        roles: What becomes of the claimed roles; they stay as they are if left out.
        prefix: What the user's id begins with, before `sub`.

    Raises:
        Unauthenticated: `token_invalid` when a claim is missing that must be there, or has an impossible shape, or the
            issuer does not speak for the tenant.
    """
    claims = token.claims
    user_id = _text(f"{prefix}{_text(token.subject, 'sub', _LONGEST_NAME)}", "sub", _LONGEST_NAME)
    username, email = _found(claims, names.username), _found(claims, names.email)
    claimed = _roles(_found(claims, names.roles), names.roles)
    return Identity(
        user_id=user_id,
        tenant_id=_tenant(claims, names.tenant, tenants or TenantRules()),
        username=user_id if username is None else _text(username, names.username, _LONGEST_NAME),
        email=None if email is None else _text(email, names.email, _LONGEST_EMAIL),
        roles=claimed if roles is None else roles.applied(claimed),
        issuer=token.issuer,
        issued_at=token.issued_at,
        expires_at=token.expires_at,
        attributes=_attributes(claims, names),
    )


def _binding(message: str) -> Invalid:
    return Invalid("tenant_binding_invalid", message)


def _of_groups(claimed: Iterable[str], groups: Mapping[str, frozenset[str]]) -> frozenset[str]:
    return frozenset(role for group in claimed if group in groups for role in groups[group])


def _refused(name: str) -> Unauthenticated:
    return Unauthenticated("token_invalid", f"The token's claim {name} is missing or not usable.")


def _found(claims: Mapping[str, object], path: str) -> object:
    """Follows a path; at each step a name that itself has dots (a URL, as Auth0 wants them) comes first."""
    if path in claims:
        return claims[path]
    cuts = [at for at, letter in enumerate(path) if letter == "."]
    for at in reversed(cuts):
        inner = claims.get(path[:at])
        if isinstance(inner, Mapping) and (value := _found(inner, path[at + 1 :])) is not None:
            return value
    return None


def _text(value: object, name: str, longest: int) -> str:
    """Accepts text that shows as what it is: no control characters, no change of writing direction."""
    if isinstance(value, str) and 0 < len(value) <= longest and value.isprintable() and value == value.strip():
        return value
    raise _refused(name)


def _tenant(claims: Mapping[str, object], path: str, rules: TenantRules) -> str:
    if rules.fixed is not None:
        return rules.fixed
    value = _found(claims, path)
    if rules.names is not None:
        value = rules.names.get(value) if isinstance(value, str) else None
    try:
        tenant = checked_tenant_id(value)
    except Invalid:
        raise Unauthenticated("token_invalid", "The token names no tenant that could exist.") from None
    if rules.allowed is not None and tenant not in rules.allowed:
        raise Unauthenticated("token_invalid", "The token is for a tenant that its issuer does not speak for.")
    return tenant


def _roles(value: object, name: str) -> frozenset[str]:
    if isinstance(value, str):
        value = [part for part in _SEPARATORS.split(value) if part]
    if value is None:
        return frozenset()
    if not isinstance(value, list):
        raise _refused(name)
    named = (item.get("name") if isinstance(item, Mapping) else item for item in value)
    return frozenset(_text(item, name, _LONGEST_NAME) for item in named)


def _attributes(claims: Mapping[str, object], names: ClaimNames) -> dict[str, object]:
    taken = _REGISTERED | {names.tenant, names.roles, names.username, names.email}
    return {
        name: value
        for name, value in claims.items()
        if name not in taken and isinstance(value, str | int | float | bool)
    }
