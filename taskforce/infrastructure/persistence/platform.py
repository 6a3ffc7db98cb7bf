"""What must be known before a tenant is: the platform's own reads, and the making of a tenant."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from models.tables.runs import RunRow
from models.tables.tenants import TenantRow
from taskforce.infrastructure.persistence.connection import Connection, Query
from taskforce.infrastructure.persistence.rows import table

_TENANTS, _RUNS = table(TenantRow), table(RunRow)
_REGISTER = Query(insert(_TENANTS).on_conflict_do_nothing())


class PlatformRecords:
    """Records of the platform door, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def unstarted_runs(self, before: datetime, most: int) -> Sequence[tuple[str, str]]:
        """See `Platform`."""
        query = (
            sa.select(_RUNS.c.tenant_id, _RUNS.c.run_id)
            .where(_RUNS.c.status == "queued", _RUNS.c.created_at < before)
            .order_by(_RUNS.c.created_at)
            .limit(most)
        )
        return [(row.tenant_id, row.run_id) for row in await self._connection.all(query)]

    async def register_tenant(self, tenant_id: str, now: datetime) -> None:
        """See `Platform`."""
        made = {"settings": {}, "metadata": {}, "status": "active", "created_at": now, "updated_at": now}
        values = {"tenant_id": tenant_id, "name": tenant_id, **made}
        await self._connection.change(_REGISTER, values)
