"""Turns the claims of a verified token into an identity, as identity providers differ in where they put things."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from taskforce.core.domain.errors import Invalid, Unauthenticated
from taskforce.core.interfaces.identity import Identity, checked_tenant_id
from taskforce.infrastructure.auth.jwt_guard import VerifiedToken

_REGISTERED: Final = frozenset({"iss", "sub", "aud", "exp", "nbf", "iat", "jti"})
_LONGEST_NAME: Final = 255
_LONGEST_EMAIL: Final = 320
_SEPARATORS = re.compile(r"[\s,]+")


@dataclass(frozen=True, slots=True)
class ClaimNames:
    """Where the facts stand. Each is a claim's name or a path of names with dots, such as `realm_access.roles`.

    Attributes:
        tenant: The tenant's id.
        roles: The roles: a list, or one text separated by spaces or commas.
        username: The name for people; optional in a token.
        email: The mail address; optional in a token.
    """

    tenant: str = "org_id"
    roles: str = "roles"
    username: str = "preferred_username"
    email: str = "email"


def identity_of(token: VerifiedToken, names: ClaimNames) -> Identity:
    """Reads who a verified token speaks of.

    Args:
        token: The token.
        names: Where the facts stand in it.

    Raises:
        Unauthenticated: `token_invalid` when a claim is missing that must be there, or has an impossible shape.
    """
    claims = token.claims
    user_id = _text(token.subject, "sub", _LONGEST_NAME)
    username, email = _found(claims, names.username), _found(claims, names.email)
    return Identity(
        user_id=user_id,
        tenant_id=_tenant(_found(claims, names.tenant)),
        username=user_id if username is None else _text(username, names.username, _LONGEST_NAME),
        email=None if email is None else _text(email, names.email, _LONGEST_EMAIL),
        roles=_roles(_found(claims, names.roles), names.roles),
        issuer=token.issuer,
        issued_at=token.issued_at,
        expires_at=token.expires_at,
        attributes=_attributes(claims, names),
    )


def _refused(name: str) -> Unauthenticated:
    return Unauthenticated("token_invalid", f"The token's claim {name} is missing or not usable.")


def _found(claims: Mapping[str, object], path: str) -> object:
    """Follows a path; a claim whose own name has dots (a URL, as Auth0 wants them) comes first."""
    if path in claims:
        return claims[path]
    value: object = claims
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _text(value: object, name: str, longest: int) -> str:
    """Accepts text that shows as what it is: no control characters, no change of writing direction."""
    if isinstance(value, str) and 0 < len(value) <= longest and value.isprintable() and value == value.strip():
        return value
    raise _refused(name)


def _tenant(value: object) -> str:
    try:
        return checked_tenant_id(value)
    except Invalid:
        raise Unauthenticated("token_invalid", "The token names no tenant that could exist.") from None


def _roles(value: object, name: str) -> frozenset[str]:
    if isinstance(value, str):
        value = [part for part in _SEPARATORS.split(value) if part]
    if value is None:
        return frozenset()
    if not isinstance(value, list):
        raise _refused(name)
    return frozenset(_text(item, name, _LONGEST_NAME) for item in value)


def _attributes(claims: Mapping[str, object], names: ClaimNames) -> dict[str, object]:
    taken = _REGISTERED | {names.tenant, names.roles, names.username, names.email}
    return {
        name: value
        for name, value in claims.items()
        if name not in taken and isinstance(value, str | int | float | bool)
    }
