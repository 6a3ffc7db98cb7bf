"""Platform-wide reads across tenants, and the creation of tenants."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa

from taskforce.core.domain.identity.api_keys import ApiKey
from taskforce.core.domain.runs.kill_switches import ListedSwitch
from taskforce.core.domain.tenants.deletion import Deletion
from taskforce.core.domain.tenants.tenant import Tenant
from taskforce.core.interfaces.backlog import Waiting
from taskforce.core.interfaces.due_rows import DueKind
from taskforce.core.interfaces.expired_rows import ExpiredKind
from taskforce.core.interfaces.metrics import BudgetUsed
from taskforce.infrastructure.persistence.connection import Connection, Query
from taskforce.infrastructure.persistence.repositories.api_keys import KEYS, key_of
from taskforce.infrastructure.persistence.repositories.approvals import PENDING_BY_TENANT
from taskforce.infrastructure.persistence.repositories.budgets_used import FULLEST, budget_used
from taskforce.infrastructure.persistence.repositories.due_rows import due_among, due_tenants, late_rows
from taskforce.infrastructure.persistence.repositories.kill_switches import listed, switch_page
from taskforce.infrastructure.persistence.repositories.sweep_leases import SweepLeaseRepository
from taskforce.infrastructure.persistence.repositories.tenant_deletions import (
    DELETION,
    OPEN_DELETIONS,
    PHASES,
    deletion_of,
)
from taskforce.infrastructure.persistence.repositories.tenants import TENANTS, tenant_of

MOST_BUDGETS = 500
"""Budgets whose use is looked at, as many as a label of the metrics has values."""
MOST_COUNTED = 1_000
"""Tenants that a look at what waits counts at most."""

# The key that is found sets the tenant of the rest of the transaction, which sees no other tenant's rows from then on.
_ENTER = Query(
    sa.select(
        KEYS,
        sa.func.set_config("app.tenant_id", KEYS.c.tenant_id, sa.true()).label("entered"),
        sa.func.set_config("app.platform", "", sa.true()).label("left"),
    ).where(KEYS.c.hash == sa.bindparam("hash"))
)

# From one tenant to the next by the index, in one step each: a DISTINCT would read every event that waits.
_UNSEALED = Query(
    sa.text(
        "WITH RECURSIVE found AS ("
        "SELECT min(u.tenant_id) AS tenant_id, 1 AS number FROM audit_unsealed u WHERE u.tenant_id > :after "
        "UNION ALL SELECT (SELECT min(u.tenant_id) FROM audit_unsealed u WHERE u.tenant_id > f.tenant_id), "
        "f.number + 1 FROM found f WHERE f.tenant_id IS NOT NULL AND f.number < :most) "
        "SELECT t.* FROM found f JOIN tenants t ON t.tenant_id = f.tenant_id ORDER BY f.number"
    )
)
_EXPIRED = Query(
    sa.text(
        "SELECT t.* FROM tenants_with_expired_rows(:kind, :at) AS expired JOIN tenants t ON t.tenant_id = expired "
        "ORDER BY t.tenant_id"
    )
)


class PlatformRecords:
    """Reads across tenants, within one transaction of the platform's scope.

    Args:
        connection: The connection, in a transaction.

    Attributes:
        leases: The leases of sweeps.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.leases = SweepLeaseRepository(connection)

    async def due_tenants(self, kind: DueKind, before: datetime, after: str, most: int) -> Sequence[tuple[str, bool]]:
        """Returns a page of the tenants with rows of a kind, each with whether some are due."""
        return await due_tenants(self._connection, kind, before, after=after, most=most)

    async def due_among(self, kind: DueKind, before: datetime, tenants: Collection[str]) -> Sequence[str]:
        """Returns those of some tenants that have due rows."""
        return await due_among(self._connection, kind, before, tenants)

    async def late_rows(self, kind: DueKind, before: datetime) -> Waiting:
        """Returns how many tenants have rows of a kind that were due before a time."""
        return await late_rows(self._connection, kind, before, MOST_COUNTED)

    async def pending_requests(self) -> Mapping[str, Waiting]:
        """Returns the requests for approval that wait for people, by tenant."""
        rows = await self._connection.all(PENDING_BY_TENANT, {"most": MOST_COUNTED})
        return {row.tenant_id: Waiting(row.number, row.since) for row in rows}

    async def budgets_used(self, now: datetime) -> Sequence[tuple[str, BudgetUsed]]:
        """Returns how much of budgets is used in their current periods, with their tenants, the fullest first."""
        rows = await self._connection.all(FULLEST, {"now": now, "most": MOST_BUDGETS})
        return [(row.tenant_id, budget_used(row)) for row in rows]

    async def tenants(self, after: str | None, most: int) -> Sequence[Tenant]:
        """Returns a page of all tenants, by id."""
        query = sa.select(TENANTS).order_by(TENANTS.c.tenant_id).limit(most)
        later = query if after is None else query.where(TENANTS.c.tenant_id > after)
        return [tenant_of(row) for row in await self._connection.all(later)]

    async def expired_tenants(self, kind: ExpiredKind, at: datetime) -> Sequence[Tenant]:
        """Returns the tenants with rows of a kind that may be erased, by id."""
        return [tenant_of(row) for row in await self._connection.all(_EXPIRED, {"kind": kind.value, "at": at})]

    async def unsealed_tenants(self, after: str | None, most: int) -> Sequence[Tenant]:
        """Returns a page of the tenants that have unsealed audit events, by id."""
        rows = await self._connection.all(_UNSEALED, {"after": after or "", "most": most})
        return [tenant_of(row) for row in rows]

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

    async def open_deletions(
        self, before: datetime, since: datetime, after: str, most: int
    ) -> Sequence[tuple[str, bool]]:
        """Returns a page of the deletions whose report is open, each with whether it has begun."""
        values = {"before": before, "since": since, "after": after, "most": most}
        return [(row.deleted_id, row.begun) for row in await self._connection.all(OPEN_DELETIONS, values)]
