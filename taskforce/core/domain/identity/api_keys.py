"""The rules of API keys: their format, who may issue one, and which rights its bearer has.

A key is shown once and stored as its SHA-256. A fast hash suffices here, unlike for passwords: a key has 256 random
bits, so that it cannot be found by trying.
"""

import hashlib
import re
import secrets
import string
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.identity.roles import check_no_wider, display_name, permissions_of
from taskforce.core.domain.ids import is_addressable, new_id
from taskforce.core.domain.json_limits import check_document
from taskforce.core.interfaces.identity import SYSTEM_ROLES, Permission, Role, checked_tenant_id

KEY_PREFIX = "tf_"
SHOWN_CHARACTERS = 8
LONGEST_LIFE = timedelta(days=366)
NOTED_EVERY = timedelta(minutes=1)
LONGEST_USER_ID = 255

_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_LENGTH = 43
"""Digits in base 62 of 256 bits."""
_SHAPE = re.compile(rf"{KEY_PREFIX}[0-9A-Za-z]{{{_LENGTH}}}")


def new_key() -> str:
    """Generates a key.

    Returns:
        `tf_` and 256 random bits in base 62, 46 characters; a double click selects it, and no shell needs quotes.
    """
    number, text = secrets.randbits(256), ""
    for _ in range(_LENGTH):
        number, digit = divmod(number, len(_DIGITS))
        text = _DIGITS[digit] + text
    return KEY_PREFIX + text


def key_hash(plaintext: str) -> str:
    """Returns the SHA-256 of a key in hex, by which it is stored and looked up."""
    # Any text may be presented as a key; one with lone surrogates must not raise.
    return hashlib.sha256(plaintext.encode("utf-8", "surrogatepass")).hexdigest()


def looks_like_key(text: str) -> bool:
    """Tells whether a text has the format of a key, so that it is worth a look-up."""
    return _SHAPE.fullmatch(text) is not None


class KeyState(StrEnum):
    """The state of a key; only an active one is accepted."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """An API key as stored.

    Attributes:
        key_id: The id, which is no secret.
        tenant_id: The only tenant that it is valid in.
        user_id: The user or service account on whose behalf it acts.
        name: Display name.
        roles: Roles to which its bearer is cut; it never allows more than its user may do.
        created_at: Time of issue, UTC.
        created_by: The user who issued it; empty when a program that embeds the library did.
        created_by_key: The API key by which it was issued; None for a person.
        expires_at: Time from which it is no longer accepted, UTC.
        last_used_at: Time of its last use, to the minute, UTC; None before its first use.
        revoked_at: Time of its revocation, UTC; None when it is not revoked.
        metadata: Stored as sent, never read.
        hash: See `key_hash`.
        prefix: The first eight characters, by which people tell keys apart.
    """

    key_id: str
    tenant_id: str
    user_id: str
    name: str
    roles: frozenset[str]
    created_at: datetime
    created_by: str
    expires_at: datetime
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
    metadata: Mapping[str, object] = field(default_factory=dict, hash=False)
    hash: str = field(repr=False)
    prefix: str
    created_by_key: str | None = None

    def state(self, now: datetime) -> KeyState:
        """Returns the state at a time; a revoked key stays revoked after its expiry."""
        if self.revoked_at is not None:
            return KeyState.REVOKED
        return KeyState.EXPIRED if now >= self.expires_at else KeyState.ACTIVE

    def is_active(self, now: datetime) -> bool:
        """Tells whether the key is accepted at a time."""
        return self.state(now) is KeyState.ACTIVE

    def revoke(self, now: datetime) -> "ApiKey":
        """Returns the key revoked; a revoked one keeps its first time."""
        return self if self.revoked_at is not None else replace(self, revoked_at=now)

    def worth_noting_use(self, now: datetime) -> bool:
        """Tells whether a use is to be recorded: once a minute at most, so that reads do not each cause a write."""
        return self.last_used_at is None or now - self.last_used_at >= NOTED_EVERY

    def used(self, now: datetime) -> "ApiKey":
        """Returns the key after a use that is to be recorded; the same key otherwise."""
        return replace(self, last_used_at=now) if self.worth_noting_use(now) else self

    def effective_roles(self, now: datetime, user_roles: Collection[str], *, user_active: bool) -> frozenset[str]:
        """Returns the roles that the bearer holds: those of the key that its user holds too.

        Approvals ask for roles by name alone, so a key must not give its user a role that they do not hold.

        Args:
            now: The time, UTC.
            user_roles: The effective roles of the key's user now.
            user_active: Whether that user exists and is not deactivated.
        """
        # Read at each use, so a role that the user loses is lost by their keys at once.
        return self.roles & frozenset(user_roles) if user_active and self.is_active(now) else frozenset()

    def effective_permissions(
        self,
        now: datetime,
        user_permissions: Collection[Permission],
        *,
        user_active: bool,
        known_roles: Mapping[str, Role] = SYSTEM_ROLES,
    ) -> frozenset[Permission]:
        """Returns the bearer's permissions: those of the key's roles, cut to those of its user now.

        Args:
            now: The time, UTC.
            user_permissions: The permissions of the key's user now.
            user_active: Whether that user exists and is not deactivated.
            known_roles: The roles that exist in the tenant.

        Returns:
            An empty set for a key that is expired or revoked, or whose user is not active.
        """
        if not (user_active and self.is_active(now)):
            return frozenset()
        return permissions_of(self.roles, known_roles) & frozenset(user_permissions)


def issue(
    *,
    tenant_id: str,
    user_id: str,
    name: str,
    roles: Iterable[str],
    created_by: str,
    maker_permissions: Collection[Permission],
    now: datetime,
    expires_at: datetime | None = None,
    longest_life: timedelta = LONGEST_LIFE,
    known_roles: Mapping[str, Role] = SYSTEM_ROLES,
    metadata: Mapping[str, object] | None = None,
    created_by_key: str | None = None,
) -> tuple[str, ApiKey]:
    """Issues a key whose roles allow no more than its issuer may do now.

    Args:
        tenant_id: The only tenant that it is valid in.
        user_id: The user on whose behalf it acts.
        name: Display name, 1 to 100 characters.
        roles: One role or more, each of them known.
        created_by: The issuer.
        maker_permissions: The issuer's permissions now.
        now: The time, UTC.
        expires_at: Time from which it is no longer accepted, with a time zone; the longest life when left out.
        longest_life: Longest time from now to its expiry.
        known_roles: The roles that exist in the tenant.
        metadata: Stored as sent, never read.
        created_by_key: The API key of the issuer; None for a person.

    Returns:
        The key, to be shown once and stored nowhere, and its record.

    Raises:
        Invalid: `tenant_id_invalid`, `user_id_invalid`, `api_key_name_invalid`, `roles_invalid`, `roles_unknown`,
            `expiry_invalid` or `metadata_malformed`.
        Forbidden: `roles_too_wide`; it names the missing permissions.
    """
    held = _roles(roles)
    check_no_wider(held, maker_permissions, known_roles)
    facts = dict(metadata or {})
    check_document(facts, "metadata")
    plaintext = new_key()
    record = ApiKey(
        key_id=new_id(),
        tenant_id=checked_tenant_id(tenant_id),
        user_id=checked_user_id(user_id),
        name=display_name(name, "api key"),
        roles=held,
        created_at=now,
        created_by=created_by,
        expires_at=_expiry(expires_at, now, longest_life),
        metadata=facts,
        hash=key_hash(plaintext),
        prefix=plaintext[:SHOWN_CHARACTERS],
        created_by_key=created_by_key,
    )
    return plaintext, record


def _roles(values: Iterable[str]) -> frozenset[str]:
    # A bare string would become a set of its letters.
    names = frozenset() if isinstance(values, str) else frozenset(values)
    if names and all(isinstance(name, str) for name in names):
        return names
    raise Invalid("roles_invalid", "A key needs a set of one role or more.")


def checked_user_id(value: object) -> str:
    """Requires a user id that can be stored, displayed and named in a path, and returns it.

    Raises:
        Invalid: `user_id_invalid`, when it is not 1 to 255 printable characters, as the `sub` of a token, or is `.` or
            `..`.
    """
    if isinstance(value, str) and 0 < len(value) <= LONGEST_USER_ID and value.isprintable() and value == value.strip():
        if is_addressable(value):
            return value
        raise Invalid("user_id_invalid", "A user's id is not `.` or `..`, which no path can name.")
    raise Invalid("user_id_invalid", f"A user's id is 1 to {LONGEST_USER_ID} printable characters.")


def _expiry(expires_at: datetime | None, now: datetime, longest_life: timedelta) -> datetime:
    if expires_at is None:
        return now + longest_life
    # A time without its zone would be compared as another moment.
    if expires_at.utcoffset() is None or not now < expires_at <= now + longest_life:
        days = longest_life / timedelta(days=1)
        text = f"A key expires in the future, at most {days:g} days away; the time needs a time zone."
        raise Invalid("expiry_invalid", text)
    return expires_at.astimezone(UTC)
