"""The repositories of tenants and their deletions."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from taskforce.core.domain.tenants.deletion import DeletionOrder, Phase
from taskforce.core.domain.tenants.tenant import RecordKind, Tenant


class Begun(StrEnum):
    """The result of beginning a deletion."""

    BEGUN = "begun"
    KNOWN = "known"
    MISSING = "missing"
    KEEPS_REPORTS = "keeps_reports"


class Deletions(Protocol):
    """The repository of deletions, whose reports belong to the platform's tenant."""

    async def begin(self, order: DeletionOrder) -> Begun:
        """Adds the report and marks the tenant as being deleted; an existing report is left unchanged."""
        ...

    async def erase(self, tenant_id: str, most: int) -> tuple[str, int] | None:
        """Erases rows of one table; returns its name and the number of rows, None when no row may be erased now."""
        ...

    async def passed(self, tenant_id: str, phase: Phase, facts: Mapping[str, object], now: datetime) -> bool:
        """Records a completed phase; False when it was recorded before."""
        ...


class TenantData(Protocol):
    """Look-ups of the remaining rows of a tenant that is being deleted."""

    async def open_runs(self, most: int) -> Sequence[str]:
        """Returns the ids of open runs, oldest first."""
        ...

    async def runs_ended(self, since: datetime) -> Mapping[str, int]:
        """Returns the number of runs that ended since a time, by status."""
        ...

    async def requests_closed(self, since: datetime) -> Mapping[str, int]:
        """Returns the number of requests for approval closed since a time, by status."""
        ...

    async def tables(self) -> Sequence[str]:
        """Returns the names of tables with rows of the tenant."""
        ...


class OwnTenant(Protocol):
    """The repository of the tenant's own row."""

    async def add(self, tenant: Tenant) -> bool:
        """Adds the tenant; False when it exists."""
        ...

    async def get(self) -> Tenant | None:
        """Returns the tenant; None after its deletion."""
        ...

    async def locked(self) -> Tenant | None:
        """Returns the tenant and locks it for this transaction; call before `save`."""
        ...

    async def save(self, tenant: Tenant) -> None:
        """Updates the tenant's mutable fields."""
        ...

    async def revise_metering(self) -> None:
        """Changes `Tenant.metering_revision`; to be called in the transaction that changes a price or a budget."""
        ...

    async def erase_records(self, kind: RecordKind, ended_before: datetime, most: int) -> int:
        """Erases a batch of records that ended before a time and that the tenant's setting does not keep.

        Returns:
            Their number.
        """
        ...
