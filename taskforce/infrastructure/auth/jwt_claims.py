"""Mapping of verified token claims to an identity, for identity providers that name their claims differently."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final

import structlog

from taskforce.core.domain.errors import Invalid, Unauthenticated
from taskforce.core.domain.ids import is_addressable
from taskforce.core.interfaces.identity import SYSTEM_ROLES, Identity, checked_tenant_id, named_tenant_id
from taskforce.infrastructure.auth.jwt_guard import VerifiedToken
from taskforce.infrastructure.auth.shown_text import mail_address, shown_name

LONGEST_PREFIX: Final = 64

_REGISTERED: Final = frozenset({"iss", "sub", "aud", "exp", "nbf", "iat", "jti"})
_LONGEST_NAME: Final = 255
_MOST_SAID: Final = 4_096
_SEPARATORS = re.compile(r"[\s,]+")
# Without blanks and commas, which separate the roles of a claim that is one text.
_CUSTOM_ROLE = re.compile(r"custom:[^\s,]{1,100}")


@dataclass(frozen=True, slots=True)
class ClaimNames:
    """Names the claims of an identity. Each is a claim's name or a dotted path such as `realm_access.roles`.

    A claim whose own name is the whole text, dots and slashes included, takes precedence over the path.

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
    """Restricts the tenants that an issuer speaks for.

    Attributes:
        fixed: The tenant of all its tokens, whatever they claim.
        allowed: A token for another tenant is refused; None allows every tenant.
        names: The tenant by the claim's value, for issuers with ids of their own; a value that is not in it is refused.
        by_name: A tenant that no issuer speaks for unless one of the above names it: the platform's, outside
            development.

    Raises:
        Invalid: `tenant_binding_invalid` for rules that contradict each other or name what could not be a tenant;
            `tenant_id_invalid`.
    """

    fixed: str | None = None
    allowed: frozenset[str] | None = None
    names: Mapping[str, str] | None = None
    by_name: str | None = None

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
    """Maps the roles or groups that a token claims to roles.

    Attributes:
        groups: Role names by the name of a group. When set, other groups give no role; a group that happens to be
            called `admin` gives nothing by itself.
        default: The role of a user whose token names no valid role.

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
        """Returns the roles in force, of those that a token names."""
        roles = claimed if self.groups is None else _of_groups(claimed, self.groups)
        if self.default is None or any(is_role(role) for role in roles):
            return roles
        return roles | {self.default}


def is_role(name: object) -> bool:
    """Returns whether a name can be a role's: one of the five system roles, or `custom:<name>`."""
    return isinstance(name, str) and (name in SYSTEM_ROLES or _CUSTOM_ROLE.fullmatch(name) is not None)


def identity_of(
    token: VerifiedToken,
    names: ClaimNames,
    tenants: TenantRules | None = None,
    roles: RoleRules | None = None,
    prefix: str = "",
) -> Identity:
    """Maps the claims of a verified token to an identity.

    Args:
        token: The token.
        names: The names of its claims.
        tenants: The tenants that its issuer speaks for; every one if left out.
        roles: The mapping of claimed roles; they stay as they are if left out.
        prefix: The prefix of the user's id, before `sub`.

    What says who it is and of which tenant is read strictly. What is for people only is cleaned or left out, and roles
    or groups that could be none of ours give nothing: a directory's untidiness keeps nobody out.

    Raises:
        Unauthenticated: `token_invalid` when the subject or the tenant is missing or has an impossible shape, or the
            issuer does not speak for the tenant.
    """
    claims = token.claims
    user_id = _identifier(f"{prefix}{_identifier(token.subject)}")
    claimed = _claimed(token, user_id, names.roles, mapped=roles is not None and roles.groups is not None)
    return Identity(
        user_id=user_id,
        tenant_id=_tenant(claims, names.tenant, tenants or TenantRules()),
        username=shown_name(_found(claims, names.username)) or user_id,
        email=mail_address(_found(claims, names.email)),
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


def _found(claims: Mapping[str, object], path: str) -> object:
    """Follows a path; at each step a name that itself has dots (a URL, as Auth0 uses them) takes precedence."""
    if path in claims:
        return claims[path]
    cuts = [at for at, letter in enumerate(path) if letter == "."]
    for at in reversed(cuts):
        inner = claims.get(path[:at])
        if isinstance(inner, Mapping) and (value := _found(inner, path[at + 1 :])) is not None:
            return value
    return None


def _identifier(value: str) -> str:
    """Requires an id that a path can name, without invisible characters, by which it could imitate another id."""
    if _is_plain(value) and is_addressable(value):
        return value
    raise Unauthenticated("token_invalid", "The token's claim sub is missing or not usable.")


def _is_plain(value: str) -> bool:
    return 0 < len(value) <= _LONGEST_NAME and value.isprintable() and value == value.strip()


def _tenant(claims: Mapping[str, object], path: str, rules: TenantRules) -> str:
    if rules.fixed is not None:
        return rules.fixed
    value = _found(claims, path)
    if rules.names is not None:
        value = rules.names.get(value) if isinstance(value, str) else None
    try:
        tenant = named_tenant_id(value)
    except Invalid:
        raise Unauthenticated("token_invalid", "The token names no tenant that could exist.") from None
    if rules.allowed is not None and tenant not in rules.allowed:
        raise Unauthenticated("token_invalid", "The token is for a tenant that its issuer does not speak for.")
    if tenant == rules.by_name and rules.allowed is None and rules.names is None:
        text = "The token is for the platform's tenant, which its issuer is not bound to: see `platform`."
        raise Unauthenticated("token_invalid", text)
    return tenant


def _claimed(token: VerifiedToken, user_id: str, path: str, *, mapped: bool) -> frozenset[str]:
    """Returns the names of roles or groups; names that are looked up in a mapping may have any form."""
    value = _found(token.claims, path)
    if value is None and _is_overage(token.claims, path):
        _say(
            "auth.groups.overage",
            "groups_overage",
            issuer=token.issuer,
            claim=path,
            user_id=user_id,
            issued_at=token.issued_at,
        )
    elif not (value is None or isinstance(value, str | list)):
        _say(
            "auth.roles.unreadable",
            "roles_unreadable",
            issuer=token.issuer,
            claim=path,
            user_id=user_id,
            issued_at=token.issued_at,
        )
    return frozenset(name for name in _named(value) if mapped or _is_plain(name))


def _named(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield from (part for part in _SEPARATORS.split(value) if part)
    elif isinstance(value, list):
        named = (item.get("name") if isinstance(item, Mapping) else item for item in value)
        yield from (name for name in named if isinstance(name, str))


def _is_overage(claims: Mapping[str, object], path: str) -> bool:
    """Returns whether more groups exist than the token holds (Microsoft Entra ID, beyond 150 or 200).

    It then names an address instead of them, in `_claim_names`, or says `hasgroups`.
    """
    elsewhere = claims.get("_claim_names")
    named = isinstance(elsewhere, Mapping) and path in elsewhere
    return named or (path == "groups" and claims.get("hasgroups") in (True, "true"))


@lru_cache(maxsize=_MOST_SAID)
def _say(event: str, code: str, *, issuer: str, claim: str, user_id: str, issued_at: datetime) -> None:
    """Logs what a token lacks for its bearer's roles, once per token, however often it is sent."""
    # It is part of the cache's key alone, so that a new token of the same person is worth a new line.
    del issued_at
    structlog.get_logger(__name__).warning(event, code=code, issuer=issuer, claim=claim, user_id=user_id)


def _attributes(claims: Mapping[str, object], names: ClaimNames) -> dict[str, object]:
    taken = _REGISTERED | {names.tenant, names.roles, names.username, names.email}
    return {
        name: value
        for name, value in claims.items()
        if name not in taken and isinstance(value, str | int | float | bool)
    }
