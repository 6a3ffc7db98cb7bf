"""What the use cases of access ask of storage, within one transaction of one tenant; see `records.py`."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from taskforce.core.domain.identity.access_grants import AccessGrant
from taskforce.core.domain.identity.api_keys import ApiKey
from taskforce.core.domain.identity.roles import ResourceGrant
from taskforce.core.domain.identity.users import UserKind, UserRecord
from taskforce.core.domain.tenants.tenant import Tenant
from taskforce.core.interfaces.identity import Role


@dataclass(frozen=True, slots=True)
class UserFilter:
    """Which users to list; None is any."""

    kind: UserKind | None = None
    active: bool | None = None


@dataclass(frozen=True, slots=True)
class RoleUse:
    """How often a role's name is held, so that removing or making the role would change what somebody may do.

    Attributes:
        users: Users who hold it by a local grant that is not over, deactivated ones too: they could come back.
        api_keys: API keys that are neither expired nor revoked.
        resource_grants: Grants on single resources that are not over.
        claims: Users whose last token claims it. What a token claims is its issuer's word and makes no name taken: an
            issuer may name a role before the tenant makes it.
    """

    users: int
    api_keys: int
    resource_grants: int
    claims: int = 0

    def __bool__(self) -> bool:
        return self.users + self.api_keys + self.resource_grants > 0


class Users(Protocol):
    """People and service accounts of the tenant."""

    async def get(self, user_id: str) -> UserRecord | None:
        """The user, if the tenant has one of that id."""
        ...

    async def principal(self, user_id: str) -> tuple[Tenant | None, UserRecord | None]:
        """The tenant and the user at one look."""
        ...

    async def locked(self, user_id: str) -> UserRecord | None:
        """The user, whom nobody else changes before this transaction ends; read so before `save`."""
        ...

    async def add(self, user: UserRecord, now: datetime) -> bool:
        """Inserts the user; False when there is one of that id, who stays as they are."""
        ...

    async def save(self, user: UserRecord, now: datetime) -> None:
        """Inserts or replaces the user's record."""
        ...

    async def page(self, which: UserFilter, after: str | None, most: int) -> Sequence[UserRecord]:
        """A page of users by id.

        Args:
            which: Whom to list.
            after: The id of the last one of the page before.
            most: Users at most.
        """
        ...


class Roles(Protocol):
    """Roles of the tenant's own, and roles on one resource."""

    async def all(self) -> Sequence[Role]:
        """Every role of the tenant's own, by id."""
        ...

    async def locked(self, role_id: str) -> Role | None:
        """The role, which nobody else changes before this transaction ends."""
        ...

    async def shared(self, role_ids: Collection[str]) -> Sequence[Role]:
        """Those of these roles that are there, which nobody changes or removes before this transaction ends.

        Read so by whoever hands them on, to a user, a key or on a resource: others may hand them on at the same time.
        """
        ...

    async def use(self, role_id: str, now: datetime) -> RoleUse:
        """Who holds this name, whether or not there is such a role."""
        ...

    async def add(self, role: Role, maker_id: str, now: datetime) -> bool:
        """Adds a role; False when there is one of that id."""
        ...

    async def save(self, role: Role, now: datetime) -> None:
        """Replaces what may change."""
        ...

    async def remove(self, role_id: str) -> bool:
        """Removes a role; False when there was none."""
        ...

    async def grants(self, user_id: str) -> Sequence[ResourceGrant]:
        """The roles that a user was given on single resources; some may be over."""
        ...

    async def grant(self, grant: ResourceGrant, granted_by: str, now: datetime) -> bool:
        """Grants a role on one resource; False when it was granted before, for at least as long."""
        ...

    async def withdraw(self, grant: ResourceGrant) -> bool:
        """Takes such a grant back; False when there was none."""
        ...


class AccessGrants(Protocol):
    """Who gave whom what, and when."""

    async def add(self, grants: Iterable[AccessGrant]) -> None:
        """Keeps what was given."""
        ...

    async def of(self, user_ids: Collection[str]) -> Sequence[AccessGrant]:
        """What these people were given, each thing once, at its latest time."""
        ...


class ApiKeys(Protocol):
    """API keys of the tenant."""

    async def add(self, key: ApiKey) -> None:
        """Adds a key."""
        ...

    async def get(self, key_id: str) -> ApiKey | None:
        """One key."""
        ...

    async def page(self, before: tuple[datetime, str] | None, most: int) -> Sequence[ApiKey]:
        """A page of keys, newest first."""
        ...

    async def revoke(self, key_id: str, now: datetime) -> bool:
        """Revokes a key; False when it was revoked before, or is not there."""
        ...

    async def used(self, key_id: str, now: datetime) -> None:
        """Notes that a key was used."""
        ...
