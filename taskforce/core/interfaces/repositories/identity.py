"""The repositories of users, roles, access grants and API keys, within one transaction of one tenant."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from taskforce.core.domain.identity.access_grants import AccessGrant
from taskforce.core.domain.identity.api_keys import ApiKey
from taskforce.core.domain.identity.resource_roles import ResourceGrant
from taskforce.core.domain.identity.users import UserKind, UserRecord
from taskforce.core.domain.runs.kill_switches import RunStop
from taskforce.core.domain.tenants.tenant import Tenant
from taskforce.core.interfaces.identity import ResourceType, Role


@dataclass(frozen=True, slots=True)
class UserFilter:
    """The filter of a list of users; None does not filter."""

    kind: UserKind | None = None
    active: bool | None = None


@dataclass(frozen=True, slots=True)
class RoleUse:
    """Counts of the holders of a role's id, whose rights would change if the role were removed or made.

    Attributes:
        users: Users who hold it by an unexpired local grant, deactivated ones included: they may be activated again.
        api_keys: API keys that are neither expired nor revoked.
        resource_grants: Unexpired grants on single resources.
        claims: Users whose last token claims it. They do not count as use: an issuer may name a role before the tenant
            makes it.
    """

    users: int
    api_keys: int
    resource_grants: int
    claims: int = 0

    def __bool__(self) -> bool:
        return self.users + self.api_keys + self.resource_grants > 0


class Users(Protocol):
    """The repository of users: people and service accounts."""

    async def get(self, user_id: str) -> UserRecord | None:
        """Returns a user; None without one."""
        ...

    async def principal(self, user_id: str) -> tuple[Tenant | None, UserRecord | None]:
        """Returns the tenant and the user by one statement."""
        ...

    async def run_principal(
        self, user_id: str, agent_id: str, run_id: str
    ) -> tuple[Tenant | None, UserRecord | None, RunStop, str]:
        """Returns, by one statement, the tenant, the user, what stops a run of an agent, and a mark that changes with
        the tenant's approval definitions.
        """
        ...

    async def locked(self, user_id: str) -> UserRecord | None:
        """Returns a user and locks the row for this transaction; call before `save`."""
        ...

    async def add(self, user: UserRecord, now: datetime) -> bool:
        """Adds a user; False when one of that id exists, which is left unchanged."""
        ...

    async def save(self, user: UserRecord, now: datetime) -> None:
        """Adds or replaces a user."""
        ...

    async def page(self, which: UserFilter, after: str | None, most: int) -> Sequence[UserRecord]:
        """Returns a page of users, by id.

        Args:
            which: The filter.
            after: Id of the last user of the page before.
            most: Users at most.
        """
        ...


class Roles(Protocol):
    """The repository of the tenant's own roles, and of roles granted on one resource."""

    async def all(self) -> Sequence[Role]:
        """Returns all roles of the tenant, by id."""
        ...

    async def locked(self, role_id: str) -> Role | None:
        """Returns a role and locks it for this transaction."""
        ...

    async def shared(self, role_ids: Collection[str]) -> Sequence[Role]:
        """Returns the existing ones of these roles, with a shared lock against change and removal.

        Call before granting them, to a user, a key or on a resource; concurrent grants share the lock.
        """
        ...

    async def use(self, role_id: str, now: datetime) -> RoleUse:
        """Returns the counts of a role id's holders, whether or not the role exists."""
        ...

    async def add(self, role: Role, maker_id: str, now: datetime) -> bool:
        """Adds a role; False when one of that id exists."""
        ...

    async def save(self, role: Role, now: datetime) -> None:
        """Updates the mutable fields of a role."""
        ...

    async def remove(self, role_id: str) -> bool:
        """Removes a role; False without one."""
        ...

    async def grants(self, user_id: str) -> Sequence[ResourceGrant]:
        """Returns a user's roles on single resources, expired ones included."""
        ...

    async def grant(self, grant: ResourceGrant, granted_by: str, now: datetime) -> bool:
        """Grants a role on one resource; False when it is granted already, for at least as long."""
        ...

    async def withdraw(self, grant: ResourceGrant) -> bool:
        """Removes a grant on one resource; False without one."""
        ...

    async def withdraw_all(self, resource_type: ResourceType, resource_id: str) -> int:
        """Removes everybody's grants on a resource that is gone, or is to begin anew; returns their number."""
        ...


class AccessGrants(Protocol):
    """The repository of access grants, for the four-eyes check."""

    async def add(self, grants: Iterable[AccessGrant]) -> None:
        """Adds grants."""
        ...

    async def of(self, user_ids: Collection[str]) -> Sequence[AccessGrant]:
        """Returns the grants of users, each account or role once for each granter, at its latest time."""
        ...


class ApiKeys(Protocol):
    """The repository of API keys."""

    async def add(self, key: ApiKey) -> None:
        """Adds a key."""
        ...

    async def get(self, key_id: str) -> ApiKey | None:
        """Returns a key; None without one."""
        ...

    async def page(self, before: tuple[datetime, str] | None, most: int) -> Sequence[ApiKey]:
        """Returns a page of keys, newest first."""
        ...

    async def revoke(self, key_id: str, now: datetime) -> bool:
        """Revokes a key; False when it is revoked already or does not exist."""
        ...

    async def used(self, key_id: str, now: datetime) -> None:
        """Records the time of a key's use."""
        ...
