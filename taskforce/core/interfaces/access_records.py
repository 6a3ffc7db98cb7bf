"""What the use cases of access ask of storage, within one transaction of one tenant; see `records.py`."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from taskforce.core.domain.access import UserKind, UserRecord
from taskforce.core.domain.api_keys import ApiKey
from taskforce.core.domain.audit_chain import Anchor, Sealed
from taskforce.core.domain.rates import Rate, Taken
from taskforce.core.domain.roles import ResourceGrant
from taskforce.core.domain.tenants import Tenant
from taskforce.core.interfaces.identity import Role
from taskforce.core.interfaces.stored import AuditEvent, AuditFilter, AuditRecord, Page


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


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """One version of a tenant's policy document."""

    version: int
    document: Mapping[str, object]
    saved_by: str
    at: datetime


class OwnTenant(Protocol):
    """The tenant's own row."""

    async def add(self, tenant: Tenant) -> bool:
        """Makes the tenant; False when there is one of that id."""
        ...

    async def get(self) -> Tenant | None:
        """The tenant, unless it has been deleted."""
        ...

    async def locked(self) -> Tenant | None:
        """The tenant, which nobody else changes before this transaction ends; read so before `save`."""
        ...

    async def save(self, tenant: Tenant) -> None:
        """Replaces what may change."""
        ...


class Users(Protocol):
    """People and service accounts of the tenant."""

    async def get(self, user_id: str) -> UserRecord | None:
        """The user, if the tenant has one of that id."""
        ...

    async def standing(self, user_id: str) -> tuple[Tenant | None, UserRecord | None]:
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


class PolicyDocuments(Protocol):
    """The tenant's policy document, version by version."""

    async def current(self) -> PolicyVersion | None:
        """The latest version; None when there was never one."""
        ...

    async def latest(self) -> tuple[int, datetime] | None:
        """Number and time of the latest version, without its document; together they are never another's."""
        ...

    async def locked(self) -> PolicyVersion | None:
        """As `current`, and nobody else adds a version before this transaction ends; read so before `add`."""
        ...

    async def add(self, document: Mapping[str, object], saved_by: str, now: datetime) -> int:
        """Adds the next version and returns its number."""
        ...


class RateBuckets(Protocol):
    """Token buckets that all gateways share."""

    async def take(self, bucket: str, rate: Rate, now: datetime) -> Taken:
        """Takes one token, if there is one, in one statement; agrees with `taskforce.core.domain.rates.take`."""
        ...


class Audit(Protocol):
    """The append-only audit log and its chain; the only place that writes it."""

    async def append(self, event: AuditEvent) -> None:
        """Appends one event, committed with what it tells of."""
        ...

    async def page(self, which: AuditFilter, page: Page) -> Sequence[AuditRecord]:
        """A page of events, newest first."""
        ...

    async def sealing(self) -> tuple[Anchor, datetime | None]:
        """Waits for other sealers; returns the end of the chain, and the time of its last event."""
        ...

    async def end(self) -> tuple[Anchor, datetime | None]:
        """The end of the chain, and the time of its last event; None when the chain holds none."""
        ...

    async def start(self) -> Anchor:
        """Where the chain begins: at its genesis, or after what was dropped."""
        ...

    async def anchor(self, seq: int) -> Anchor | None:
        """The place after an event that is kept; None when there is no such event."""
        ...

    async def unsealed(self, since: datetime | None, most: int) -> Sequence[AuditRecord]:
        """Events that have no place yet, the oldest first; of those since a time, or of all."""
        ...

    async def place(self, sealed: Sequence[Sealed]) -> None:
        """Keeps the places of events."""
        ...

    async def sealed(self, after: int, until: int, most: int) -> Sequence[Sealed]:
        """Events in their places, after a number and up to another one."""
        ...

    async def places(self, since: datetime | None, until: datetime | None) -> tuple[int, int] | None:
        """The numbers of the first and the last sealed event of a time, its end left out; None when there is none."""
        ...

    async def drop(self, older_than: datetime, most: int) -> int:
        """Drops sealed events from the chain's beginning on, and keeps the anchor after them.

        Args:
            older_than: The first event that is not older ends it; the last 23 hours stay whatever it says.
            most: Events at most.

        Returns:
            How many were dropped.
        """
        ...
