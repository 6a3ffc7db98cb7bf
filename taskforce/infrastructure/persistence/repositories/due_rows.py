"""Repository of due rows in PostgreSQL: the rows of several tables that sweeps look after."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import SQLModel

from models.tables.approvals import ApprovalRow
from models.tables.runs import RunRow, RunWordRow
from models.tables.webhooks import WebhookDeliveryRow
from taskforce.core.interfaces.due_rows import DueKind, DueRow
from taskforce.infrastructure.persistence.connection import Connection, Query
from taskforce.infrastructure.persistence.repository import Repository, table


@dataclass(frozen=True, slots=True)
class Source:
    """Rows of a kind.

    Attributes:
        row: Their table.
        key: The column of their id.
        rows: Which they are, exactly as in the partial index of the kind, or PostgreSQL does not use it.
        due: The column with the time from which they are due.
        label: The column of their label; none where it is empty.
    """

    row: type[SQLModel]
    key: str
    rows: str
    due: str = "sweep_at"
    label: str | None = None


_OPEN = "status IN ('queued', 'running', 'waiting', 'paused')"
SOURCES: Mapping[DueKind, Source] = {
    DueKind.RUN_START: Source(RunRow, "run_id", "status = 'queued' AND cancel_at IS NULL"),
    DueKind.RUN_CHECK: Source(RunRow, "run_id", "status IN ('running', 'waiting', 'paused')"),
    DueKind.RUN_CANCELLATION: Source(RunRow, "run_id", f"cancel_at IS NOT NULL AND {_OPEN}", due="cancel_at"),
    DueKind.MESSAGE: Source(RunWordRow, "word_id", "told_at IS NULL"),
    DueKind.REQUEST_START: Source(ApprovalRow, "request_id", "status = 'pending' AND started_at IS NULL"),
    DueKind.REQUEST_CHECK: Source(ApprovalRow, "request_id", "status = 'pending' AND started_at IS NOT NULL"),
    DueKind.DELIVERY_START: Source(WebhookDeliveryRow, "delivery_id", "status = 'queued'", label="event"),
    DueKind.DELIVERY_CHECK: Source(WebhookDeliveryRow, "delivery_id", "status = 'pending'"),
}
_TENANT = "tenant_id = :of_tenant_id"
# From one tenant to the next by the index, in one step each: a DISTINCT would read every row that waits.
_TENANTS = """
WITH RECURSIVE found AS (
    (SELECT tenant_id, {due} AS due_at, 1 AS number FROM {table}
     WHERE {rows} AND tenant_id > :after ORDER BY tenant_id, {due} LIMIT 1)
    UNION ALL
    SELECT following.tenant_id, following.due_at, found.number + 1
    FROM found CROSS JOIN LATERAL (
        SELECT t.tenant_id, t.{due} AS due_at FROM {table} t
        WHERE {rows} AND t.tenant_id > found.tenant_id ORDER BY t.tenant_id, t.{due} LIMIT 1
    ) following
    WHERE found.number < :most
)
SELECT tenant_id, due_at < :before AS due FROM found ORDER BY number
"""
# With a limit, so that it is one step by the index for each tenant: a semi-join would read every row that waits.
_AMONG = """
SELECT asked.tenant_id FROM unnest(:tenants) asked(tenant_id) CROSS JOIN LATERAL (
    SELECT FROM {table} t WHERE t.tenant_id = asked.tenant_id AND {rows} AND t.{due} < :before
    ORDER BY t.tenant_id, t.{due} LIMIT 1
) found
ORDER BY asked.tenant_id
"""
# A row that is locked is changed at this moment, or claimed: it can wait for the next look.
_CLAIM = """
UPDATE {table} SET {due} = :until WHERE {tenant} AND {key} = ANY (ARRAY(
    SELECT {key} FROM {table} WHERE {tenant} AND {rows} AND {due} < :before
    ORDER BY {due}, {key} LIMIT :most FOR UPDATE SKIP LOCKED
)) RETURNING {key} AS row_id, {label} AS label
"""
_POSTPONE = "UPDATE {table} SET {due} = :until WHERE {tenant} AND {rows} AND {key} = ANY (:row_ids)"
# The planner cannot tell how few rows a policy hides, or what a limit leaves: it would read and sort all that wait.
_IN_ORDER = Query(
    sa.text(
        "SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true), "
        "set_config('enable_sort', 'off', true)"
    )
)
_TYPES: Mapping[str, sa.types.TypeEngine[Any]] = {
    "after": sa.Text(),
    "before": sa.DateTime(timezone=True),
    "until": sa.DateTime(timezone=True),
    "most": sa.Integer(),
    "tenants": ARRAY(sa.Text()),
    "row_ids": ARRAY(sa.Uuid(as_uuid=False)),
    "of_tenant_id": sa.Text(),
}


def _queries(text: str) -> Mapping[DueKind, Query]:
    return {kind: _query(text, source) for kind, source in SOURCES.items()}


def _query(text: str, source: Source) -> Query:
    parts = {"table": table(source.row).name, "key": source.key, "rows": source.rows, "due": source.due}
    statement = sa.text(text.format(**parts, tenant=_TENANT, label=source.label or "''"))
    used = [name for name in _TYPES if f":{name}" in statement.text]
    return Query(statement.bindparams(*(sa.bindparam(name, type_=_TYPES[name]) for name in used)))


TENANTS, AMONG = _queries(_TENANTS), _queries(_AMONG)
_CLAIMS, _POSTPONES = _queries(_CLAIM), _queries(_POSTPONE)


async def by_index(connection: Connection) -> None:
    """Has the rest of the transaction read rows by index, in its order, and no more of them than it needs."""
    await connection.value(_IN_ORDER)


async def due_tenants(
    connection: Connection, kind: DueKind, before: datetime, *, after: str, most: int
) -> Sequence[tuple[str, bool]]:
    """Returns a page of the tenants with rows of a kind, each with whether some are due; fulfils `DueTenants`."""
    await by_index(connection)
    rows = await connection.all(TENANTS[kind], {"before": before, "after": after, "most": most})
    return [(row.tenant_id, row.due) for row in rows]


async def due_among(connection: Connection, kind: DueKind, before: datetime, tenants: Collection[str]) -> Sequence[str]:
    """Returns those of some tenants that have due rows; fulfils `DueTenants`."""
    await by_index(connection)
    rows = await connection.all(AMONG[kind], {"before": before, "tenants": sorted(tenants)})
    return [row.tenant_id for row in rows]


class DueRowRepository(Repository):
    """Claims and postpones due rows; fulfils `DueRows`."""

    async def claim(self, kind: DueKind, before: datetime, until: datetime, most: int) -> Sequence[DueRow]:
        """Claims due rows that nobody else has claimed, those first that are due for longest."""
        values = {"before": before, "until": until, "most": most}
        await by_index(self._connection)
        rows = await self._connection.all(_CLAIMS[kind], {**self._of(), **values})
        return [DueRow(row.row_id, row.label) for row in rows]

    async def postpone(self, kind: DueKind, row_ids: Sequence[str], until: datetime) -> None:
        """Postpones rows that are still of the kind."""
        await self._connection.change(_POSTPONES[kind], {**self._of(), "row_ids": list(row_ids), "until": until})
