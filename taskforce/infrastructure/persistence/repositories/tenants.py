"""Repository of the tenant's own row in PostgreSQL."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from models.tables.tenants import TenantRow
from taskforce.core.domain.tenants.tenant import RecordKind, Tenant, TenantSettings, TenantStatus
from taskforce.infrastructure.persistence.connection import Query, Row
from taskforce.infrastructure.persistence.repository import Repository, storable, storable_json, table, where

TENANTS = table(TenantRow)
_ADD = Query(insert(TENANTS).on_conflict_do_nothing())
_GET = sa.select(TENANTS).where(where(TENANTS))
_READ, _LOCK = Query(_GET), Query(_GET.with_for_update())
_SAVE = Query(sa.update(TENANTS).where(where(TENANTS)), sets=("name", "status", "settings", "metadata", "updated_at"))
_REVISE = Query(sa.update(TENANTS).where(where(TENANTS)).values(metering_revision=TENANTS.c.metering_revision + 1))
_ERASE = Query(sa.text("SELECT erase_expired_records(:kind, :ended_before, :most)"))


class TenantRepository(Repository):
    """Stores the tenant's own row; fulfils `OwnTenant`."""

    async def add(self, tenant: Tenant) -> bool:
        """Adds the tenant; False when one of that id exists."""
        return await self._connection.change(_ADD, values_of(tenant)) > 0

    async def get(self) -> Tenant | None:
        """Returns the tenant, unless it has been deleted."""
        row = await self._connection.first(_READ, self._of())
        return None if row is None else tenant_of(row)

    async def locked(self) -> Tenant | None:
        """Returns the tenant, locked until this transaction ends."""
        row = await self._connection.first(_LOCK, self._of())
        return None if row is None else tenant_of(row)

    async def save(self, tenant: Tenant) -> None:
        """Replaces what may change."""
        await self._connection.change(_SAVE, {**self._of(), **values_of(tenant)})

    async def revise_metering(self) -> None:
        """Changes the revision of prices and budgets, so that what is cached of them is read anew."""
        await self._connection.change(_REVISE, self._of())

    async def erase_records(self, kind: RecordKind, ended_before: datetime, most: int) -> int:
        """Erases records that ended before a time; the owner's SQL function checks again."""
        values = {"kind": kind.value, "ended_before": ended_before, "most": most}
        return int(await self._connection.value(_ERASE, values))


def values_of(tenant: Tenant) -> dict[str, object]:
    """Returns the column values of a tenant."""
    return {
        "tenant_id": tenant.tenant_id,
        "name": storable(tenant.name),
        "status": tenant.status.value,
        "settings": storable_json(tenant.settings.as_json()),
        "metadata": storable_json(tenant.metadata),
        "created_at": tenant.created_at,
        "updated_at": tenant.updated_at,
        "runs_until": tenant.runs_until,
        "metering_revision": tenant.metering_revision,
        # Set by the owner's functions that erase and sum up usage records.
        "usage_whole_since": None,
        "usage_zone": None,
        "usage_days_since": None,
    }


def tenant_of(row: Row, prefix: str = "") -> Tenant:
    """Builds the tenant of a row.

    Args:
        row: The row.
        prefix: The prefix of its columns' names, where the row has another table's columns too.
    """
    return Tenant(
        tenant_id=row[f"{prefix}tenant_id"],
        name=row[f"{prefix}name"],
        status=TenantStatus(row[f"{prefix}status"]),
        settings=TenantSettings.parse(row[f"{prefix}settings"]),
        metadata=row[f"{prefix}metadata"],
        created_at=row[f"{prefix}created_at"],
        updated_at=row[f"{prefix}updated_at"],
        runs_until=row[f"{prefix}runs_until"],
        metering_revision=row[f"{prefix}metering_revision"],
    )
