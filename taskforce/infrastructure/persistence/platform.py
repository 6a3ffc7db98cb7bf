"""Platform-wide reads across tenants, and the creation of tenants."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from models.tables.approvals import ApprovalRow
from models.tables.runs import RunRow, RunWordRow
from taskforce.core.domain.identity.api_keys import ApiKey
from taskforce.core.domain.runs.kill_switches import ListedSwitch
from taskforce.core.domain.tenants.deletion import Deletion
from taskforce.core.domain.tenants.tenant import Tenant
from taskforce.infrastructure.persistence.connection import Connection, Query
from taskforce.infrastructure.persistence.repositories.api_keys import KEYS, key_of
from taskforce.infrastructure.persistence.repositories.kill_switches import listed, switch_page
from taskforce.infrastructure.persistence.repositories.runs import STILL_OPEN
from taskforce.infrastructure.persistence.repositories.tenant_deletions import DELETION, PHASES, UNSTARTED, deletion_of
from taskforce.infrastructure.persistence.repositories.tenants import TENANTS, tenant_of
from taskforce.infrastructure.persistence.repositories.webhook_deliveries import DELIVERIES
from taskforce.infrastructure.persistence.repository import table

_RUNS, _REQUESTS, _WORDS = table(RunRow), table(ApprovalRow), table(RunWordRow)
_QUEUED = Query(
    sa.select(DELIVERIES.c.tenant_id, DELIVERIES.c.delivery_id, DELIVERIES.c.event)
    .where(sa.text("status = 'queued'"), DELIVERIES.c.created_at < sa.bindparam("before"))
    .order_by(DELIVERIES.c.created_at)
    .limit(sa.bindparam("most", type_=sa.Integer()))
)
# The key that is found sets the tenant of the rest of the transaction, which sees no other tenant's rows from then on.
_ENTER = Query(
    sa.select(
        KEYS,
        sa.func.set_config("app.tenant_id", KEYS.c.tenant_id, sa.true()).label("entered"),
        sa.func.set_config("app.platform", "", sa.true()).label("left"),
    ).where(KEYS.c.hash == sa.bindparam("hash"))
)


class PlatformRecords:
    """Reads across tenants, within one transaction of the platform's scope."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def unstarted_runs(self, before: datetime, most: int, after: str | None) -> Sequence[tuple[str, str]]:
        """Returns (tenant, run) of runs committed before a time that have not begun; fulfils `Orphans`."""
        late = sa.and_(_RUNS.c.status == "queued", _RUNS.c.created_at < before, _RUNS.c.cancel_at.is_(None))
        return await self._late(_RUNS.c.tenant_id, _RUNS.c.run_id, late, most, after)

    async def unstarted_requests(self, before: datetime, most: int, after: str | None) -> Sequence[tuple[str, str]]:
        """Returns (tenant, request) of requests opened before a time without a workflow; fulfils `Orphans`."""
        waits = sa.and_(_REQUESTS.c.status == "pending", _REQUESTS.c.started_at.is_(None))
        late = sa.and_(waits, _REQUESTS.c.opened_at < before)
        return await self._late(_REQUESTS.c.tenant_id, _REQUESTS.c.request_id, late, most, after)

    async def runs_to_cancel(self, before: datetime, most: int, after: str | None) -> Sequence[tuple[str, str]]:
        """Returns (tenant, run) of open runs marked for cancellation before a time; fulfils `Orphans`."""
        late = sa.and_(_RUNS.c.cancel_at < before, STILL_OPEN)
        return await self._late(_RUNS.c.tenant_id, _RUNS.c.run_id, late, most, after)

    async def untold_messages(self, before: datetime, most: int, after: str | None) -> Sequence[tuple[str, str]]:
        """Returns (tenant, message) of messages stored before a time and told to no run; fulfils `Orphans`."""
        late = sa.and_(_WORDS.c.told_at.is_(None), _WORDS.c.at < before)
        return await self._late(_WORDS.c.tenant_id, _WORDS.c.word_id, late, most, after)

    async def _late(
        self,
        tenant: sa.Column[Any],
        record_id: sa.Column[Any],
        late: sa.ColumnElement[bool],
        most: int,
        after: str | None,
    ) -> Sequence[tuple[str, str]]:
        page = late if after is None else sa.and_(late, record_id > after)
        rows = await self._connection.all(sa.select(tenant, record_id).where(page).order_by(record_id).limit(most))
        return [(found[0], found[1]) for found in map(tuple, rows)]

    async def queued_deliveries(self, before: datetime, most: int) -> Sequence[tuple[str, str, str]]:
        """Lists deliveries of all tenants that were not started."""
        rows = await self._connection.all(_QUEUED, {"before": before, "most": most})
        return [(row.tenant_id, row.delivery_id, row.event) for row in rows]

    async def tenants(self, after: str | None, most: int) -> Sequence[Tenant]:
        """Returns a page of all tenants, by id."""
        query = sa.select(TENANTS).order_by(TENANTS.c.tenant_id).limit(most)
        later = query if after is None else query.where(TENANTS.c.tenant_id > after)
        return [tenant_of(row) for row in await self._connection.all(later)]

    async def find_key(self, key_hash: str) -> ApiKey | None:
        """Finds an API key and limits the transaction to the key's tenant; see `of_key`."""
        row = await self._connection.first(_ENTER, {"hash": key_hash})
        return None if row is None else key_of(row)

    async def deletion(self, tenant_id: str) -> Deletion | None:
        """Returns the report of a tenant's deletion; None without one."""
        row = await self._connection.first(DELETION, {"deleted": tenant_id})
        if row is None:
            return None
        return deletion_of(row, await self._connection.all(PHASES, {"home": row.tenant_id, "deleted": tenant_id}))

    async def kill_switches(self, after: tuple[str, str, str] | None, most: int) -> Sequence[ListedSwitch]:
        """Returns a page of the pulled kill switches of all tenants, after a place."""
        return [listed(row) for row in await self._connection.all(switch_page(after, most))]

    async def unstarted_deletions(self, before: datetime, most: int) -> Sequence[str]:
        """Lists the ids of tenants whose deletion has not started."""
        rows = await self._connection.all(UNSTARTED, {"before": before, "most": most})
        return [row.deleted_id for row in rows]
