"""In-memory API keys for programs that embed the library, under the rules of `core.domain.identity.api_keys`."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from threading import Lock

from taskforce.core.domain.errors import Forbidden
from taskforce.core.domain.identity.api_keys import LONGEST_LIFE, ApiKey, KeyState, issue, key_hash, looks_like_key
from taskforce.core.interfaces.identity import SYSTEM_ROLES, Permission, Role, UserContext

UserLookup = Callable[[str, str], Awaitable[UserContext | None]]
"""Finds a user by user id and tenant id, with the permissions in force; None when it is gone or deactivated."""


@dataclass(frozen=True)
class APIKeyRecord:
    """Describes an API key as it was when it was read, without its secret.

    Attributes:
        key: The domain's record; its hash is left out of the repr.
    """

    key: ApiKey
    _clock: Callable[[], datetime] = field(repr=False, compare=False)

    @property
    def key_id(self) -> str:
        """Returns the id by which the key is revoked."""
        return self.key.key_id

    @property
    def tenant_id(self) -> str:
        """Returns the only tenant that the key acts in."""
        return self.key.tenant_id

    @property
    def user_id(self) -> str:
        """Returns the user on whose behalf the key acts."""
        return self.key.user_id

    @property
    def name(self) -> str:
        """Returns the name for people."""
        return self.key.name

    @property
    def prefix(self) -> str:
        """Returns the first eight characters of the key."""
        return self.key.prefix

    @property
    def roles(self) -> frozenset[str]:
        """Returns the roles that bound the key's permissions."""
        return self.key.roles

    @property
    def created_at(self) -> datetime:
        """Returns the time of issue, UTC."""
        return self.key.created_at

    @property
    def created_by(self) -> str:
        """Returns the user who issued the key; empty when the embedding program did."""
        return self.key.created_by

    @property
    def expires_at(self) -> datetime:
        """Returns the time from which the key is refused, UTC."""
        return self.key.expires_at

    @property
    def last_used_at(self) -> datetime | None:
        """Returns the time of the last use, to the minute."""
        return self.key.last_used_at

    @property
    def revoked_at(self) -> datetime | None:
        """Returns the time of revocation, UTC."""
        return self.key.revoked_at

    @property
    def metadata(self) -> Mapping[str, object]:
        """Returns the data stored with the key."""
        return dict(self.key.metadata)

    @property
    def state(self) -> KeyState:
        """Returns the key's state as far as this record knows: a later revocation shows in a later record only."""
        return self.key.state(self._clock())

    @property
    def is_active(self) -> bool:
        """Returns whether the key is accepted now; see `state`."""
        return self.state is KeyState.ACTIVE


class APIKeyProvider:
    """Issues API keys and authenticates their bearers. It is safe to use from several threads.

    Args:
        users: Finds a key's user at each use, and cuts the key to that user's rights; without it, nobody but the
            program knows the users, and a key allows what its roles allow.
        roles: Returns the roles that there are in a tenant; the five system roles when left out.
            `taskforce.application.identity.RoleManager.known_roles` fits.
        longest_life: The longest time for which a key is valid; also the default.
        clock: Returns the time, UTC.
    """

    def __init__(
        self,
        *,
        users: UserLookup | None = None,
        roles: Callable[[str], Mapping[str, Role]] = lambda _: SYSTEM_ROLES,
        longest_life: timedelta = LONGEST_LIFE,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._users = users
        self._roles = roles
        self._longest_life = longest_life
        self._clock = clock
        self._lock = Lock()
        self._keys: dict[str, ApiKey] = {}
        self._ids: dict[str, str] = {}

    def create_api_key(
        self,
        tenant_id: str,
        user_id: str,
        name: str,
        roles: Iterable[str],
        expires_at: datetime | None = None,
        *,
        metadata: Mapping[str, object] | None = None,
        grantor: UserContext | None = None,
    ) -> tuple[str, APIKeyRecord]:
        """Issues a key.

        Args:
            tenant_id: The only tenant that it acts in.
            user_id: The user or service account on whose behalf it acts.
            name: For people, 1 to 100 characters.
            roles: One role or more.
            expires_at: From when it is no longer accepted, with a time zone; the longest life when left out.
            metadata: Facts to keep with it.
            grantor: Who asks for it: the key's roles may then allow no more than they may do. Without one the program
                itself asks, which could do anything anyway.

        Returns:
            The key, which is kept nowhere and cannot be shown again, and its record.

        Raises:
            Invalid: As `taskforce.core.domain.identity.api_keys.issue`.
            Forbidden: `roles_too_wide`, or `foreign_tenant` when the grantor acts in another tenant.
        """
        if grantor is not None and grantor.tenant_id != tenant_id:
            raise Forbidden("foreign_tenant", "Keys are made in one's own tenant.")
        plaintext, key = issue(
            tenant_id=tenant_id,
            user_id=user_id,
            name=name,
            roles=roles,
            created_by="" if grantor is None else grantor.user_id,
            maker_permissions=frozenset(Permission) if grantor is None else grantor.permissions,
            now=self._clock(),
            expires_at=expires_at,
            longest_life=self._longest_life,
            known_roles=self._roles(tenant_id),
            metadata=metadata,
        )
        with self._lock:
            self._keys[key.key_id] = key
            self._ids[key.hash] = key.key_id
        return plaintext, self._record(key)

    async def validate_api_key(self, api_key: str) -> UserContext | None:
        """Authenticates the bearer of an API key.

        The key is looked up by its hash. The time of the look-up can leak the hash of a guess at most, and the hash
        does not reveal the key: no comparison in constant time is needed.

        Args:
            api_key: The key as it was sent.

        Returns:
            The key's user with the rights that the key gives now, and `api_key_id` among its attributes; None when
            the key is unknown, expired or revoked, or its user gone or deactivated.
        """
        with self._lock:
            key = self._active(api_key)
        if key is None:
            return None
        # Outside the lock: a thread's lock that is held over an await stops the event loop of whoever waits for it.
        user = self._unknown(key) if self._users is None else await self._users(key.user_id, key.tenant_id)
        # A look-up that returns somebody else must not lend that person's rights to the key.
        if user is None or (user.user_id, user.tenant_id) != (key.user_id, key.tenant_id):
            return None
        # Read again: the key may have been revoked while its user was looked up.
        with self._lock:
            key = self._active(api_key)
            if key is None:
                return None
            key = self._keys[key.key_id] = key.used(self._clock())
        return self._cut(key, user)

    def list_api_keys(self, tenant_id: str) -> list[APIKeyRecord]:
        """Returns the keys of a tenant, oldest first, expired and revoked ones included."""
        with self._lock:
            keys = [key for key in self._keys.values() if key.tenant_id == tenant_id]
        return [self._record(key) for key in keys]

    def revoke_api_key(self, key_id: str, *, tenant_id: str | None = None) -> bool:
        """Revokes a key at once. Revoking it again changes nothing.

        Args:
            key_id: The record's id, not the key.
            tenant_id: Where given, the only tenant whose keys are revoked.

        Returns:
            Whether there is such a key.
        """
        with self._lock:
            key = self._keys.get(key_id)
            if key is None or tenant_id not in {None, key.tenant_id}:
                return False
            self._keys[key_id] = key.revoke(self._clock())
        return True

    def _record(self, key: ApiKey) -> APIKeyRecord:
        return APIKeyRecord(key, self._clock)

    def _active(self, plaintext: object) -> ApiKey | None:
        if not isinstance(plaintext, str) or not looks_like_key(plaintext):
            return None
        key = self._keys.get(self._ids.get(key_hash(plaintext), ""))
        return key if key is not None and key.is_active(self._clock()) else None

    def _unknown(self, key: ApiKey) -> UserContext:
        return UserContext(
            user_id=key.user_id,
            tenant_id=key.tenant_id,
            username=key.user_id,
            roles=key.roles,
            # Every permission, for `_cut` leaves of them what the key's roles allow.
            permissions=frozenset(Permission),
        )

    def _cut(self, key: ApiKey, user: UserContext) -> UserContext:
        now, known = self._clock(), self._roles(key.tenant_id)
        held = key.effective_permissions(now, user.permissions, user_active=True, known_roles=known)
        return replace(
            user,
            roles=key.effective_roles(now, user.roles, user_active=True),
            permissions=held,
            attributes={**user.attributes, "api_key_id": key.key_id},
        )
