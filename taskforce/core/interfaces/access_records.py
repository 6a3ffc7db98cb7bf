"""What the use cases of access ask of storage, within one transaction of one tenant; see `records.py`."""

from collections.abc import Mapping, Sequence
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
class PolicyVersion:
    """One version of a tenant's policy document."""

    version: int
    document: Mapping[str, object]
    saved_by: str
    at: datetime


class OwnTenant(Protocol):
    """The tenant's own row."""

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
        """The roles that a user holds on single resources."""
        ...

    async def grant(self, grant: ResourceGrant, granted_by: str, now: datetime) -> bool:
        """Grants a role on one resource; False when it was granted before."""
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

    async def start(self) -> Anchor:
        """Where the chain begins: at its genesis, or after what was dropped."""
        ...

    async def unsealed(self, since: datetime | None, most: int) -> Sequence[AuditRecord]:
        """Events that have no place yet, the oldest first; of those since a time, or of all."""
        ...

    async def place(self, sealed: Sequence[Sealed]) -> None:
        """Keeps the places of events."""
        ...

    async def sealed(self, after: int, most: int) -> Sequence[Sealed]:
        """Events in their places, after a number."""
        ...
