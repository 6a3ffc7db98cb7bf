"""What deleting a tenant asks of storage and of Temporal; see `records.py`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from taskforce.core.domain.tenants.deletion import DeletionOrder, Phase
from taskforce.core.domain.tenants.tenant import Tenant


class Begun(StrEnum):
    """What came of beginning a deletion."""

    BEGUN = "begun"
    KNOWN = "known"
    MISSING = "missing"
    KEEPS_REPORTS = "keeps_reports"


class Deletions(Protocol):
    """The deletions whose reports a tenant keeps: the platform's."""

    async def begin(self, order: DeletionOrder) -> Begun:
        """Writes the tombstone and marks the tenant as being deleted; what is known already stays as it is."""
        ...

    async def erase(self, tenant_id: str, most: int) -> tuple[str, int] | None:
        """Erases rows of one table, and says which and how many; None when none may go now."""
        ...

    async def passed(self, tenant_id: str, phase: Phase, facts: Mapping[str, object], now: datetime) -> bool:
        """Records that a phase is over; False when that was known, which changes nothing."""
        ...


class TenantData(Protocol):
    """What there still is of a tenant that is being deleted."""

    async def open_runs(self, most: int) -> Sequence[str]:
        """Runs that have not ended, the oldest first."""
        ...

    async def runs_ended(self, since: datetime) -> Mapping[str, int]:
        """How many runs ended since a time, by status."""
        ...

    async def requests_closed(self, since: datetime) -> Mapping[str, int]:
        """How many requests for approval were closed since a time, by status."""
        ...

    async def tables(self) -> Sequence[str]:
        """The tables in which it has rows."""
        ...


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
