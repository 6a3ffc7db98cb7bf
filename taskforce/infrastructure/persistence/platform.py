"""What must be known before a tenant is: the platform's own reads, and the making of a tenant."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from models.tables.runs import RunRow
from taskforce.core.domain.api_keys import ApiKey
from taskforce.core.domain.tenants import Tenant
from taskforce.infrastructure.persistence.api_keys import KEYS, key_of
from taskforce.infrastructure.persistence.connection import Connection, Query
from taskforce.infrastructure.persistence.deliveries import DELIVERIES
from taskforce.infrastructure.persistence.rows import table
from taskforce.infrastructure.persistence.tenants import TENANTS, tenant_of

_RUNS = table(RunRow)
_QUEUED = Query(
    sa.select(DELIVERIES.c.tenant_id, DELIVERIES.c.delivery_id, DELIVERIES.c.event)
    .where(sa.text("status = 'queued'"), DELIVERIES.c.created_at < sa.bindparam("before"))
    .order_by(DELIVERIES.c.created_at)
    .limit(sa.bindparam("most", type_=sa.Integer()))
)
_BY_HASH = Query(sa.select(KEYS).where(KEYS.c.hash == sa.bindparam("hash")))


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

    async def queued_deliveries(self, before: datetime, most: int) -> Sequence[tuple[str, str, str]]:
        """See `QueuedDeliveries`."""
        rows = await self._connection.all(_QUEUED, {"before": before, "most": most})
        return [(row.tenant_id, row.delivery_id, row.event) for row in rows]

    async def tenants(self, after: str | None, most: int) -> Sequence[Tenant]:
        """See `Platform`."""
        query = sa.select(TENANTS).order_by(TENANTS.c.tenant_id).limit(most)
        later = query if after is None else query.where(TENANTS.c.tenant_id > after)
        return [tenant_of(row) for row in await self._connection.all(later)]

    async def find_key(self, key_hash: str) -> ApiKey | None:
        """See `Platform`."""
        row = await self._connection.first(_BY_HASH, {"hash": key_hash})
        return None if row is None else key_of(row)
