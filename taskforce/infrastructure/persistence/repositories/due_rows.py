"""Repository of due rows in PostgreSQL: the rows of several tables that sweeps look after."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from models.tables.approvals import ApprovalRow
from models.tables.runs import RunRow, RunWordRow
from models.tables.usage import UsageRow
from models.tables.webhooks import WebhookDeliveryRow
from taskforce.core.interfaces.backlog import Waiting
from taskforce.core.interfaces.due_rows import DueKind, DueRow
from taskforce.infrastructure.persistence.connection import Connection, Query
from taskforce.infrastructure.persistence.repository import Repository, table, where


@dataclass(frozen=True, slots=True)
class Source:
    """Rows of a kind.

    Attributes:
        table: Their table.
        key: The column of their id; empty where rows are not claimed one by one.
        rows: Which they are, exactly as in the partial index of the kind, or PostgreSQL does not use it.
        due: The column with the time from which they are due.
        label: The column of their label; empty where they have none.
        event: The column of the event's id; empty where they have none.
    """

    table: sa.Table
    key: str
    rows: sa.TextClause
    due: str = "sweep_at"
    label: str = ""
    event: str = ""

    @property
    def due_at(self) -> sa.Column[Any]:
        """Returns the column with the time from which they are due."""
        return self.table.c[self.due]

    @property
    def row_id(self) -> sa.Column[Any]:
        """Returns the column of their id."""
        return self.table.c[self.key]

    def first_after(self, tenant_id: sa.ColumnElement[str]) -> sa.Select[Any]:
        """Builds the first row, by tenant and time, of the next tenant after one."""
        mine = self.table.c.tenant_id
        found = sa.select(mine, self.due_at.label("due_at")).where(self.rows, mine > tenant_id)
        return found.order_by(mine, self.due_at).limit(_ONE)


_ONE: sa.ColumnElement[int] = sa.literal_column("1")
_RUNS, _WORDS = table(RunRow), table(RunWordRow)
_REQUESTS, _DELIVERIES = table(ApprovalRow), table(WebhookDeliveryRow)
_QUEUED = sa.text("status = 'queued' AND cancel_at IS NULL")
_BEGUN = sa.text("status IN ('running', 'waiting', 'paused')")
_TO_CANCEL = sa.text("cancel_at IS NOT NULL AND status IN ('queued', 'running', 'waiting', 'paused')")
_UNSTARTED = sa.text("status = 'pending' AND started_at IS NULL")
_STARTED = sa.text("status = 'pending' AND started_at IS NOT NULL")
SOURCES: Mapping[DueKind, Source] = {
    DueKind.RUN_START: Source(_RUNS, "run_id", _QUEUED),
    DueKind.RUN_CHECK: Source(_RUNS, "run_id", _BEGUN),
    DueKind.RUN_CANCELLATION: Source(_RUNS, "run_id", _TO_CANCEL, due="cancel_at"),
    DueKind.MESSAGE: Source(_WORDS, "word_id", sa.text("told_at IS NULL")),
    DueKind.REQUEST_START: Source(_REQUESTS, "request_id", _UNSTARTED),
    DueKind.REQUEST_CHECK: Source(_REQUESTS, "request_id", _STARTED),
    DueKind.DELIVERY_START: Source(
        _DELIVERIES, "delivery_id", sa.text("status = 'queued'"), label="event", event="event_id"
    ),
    DueKind.DELIVERY_CHECK: Source(_DELIVERIES, "delivery_id", sa.text("status = 'pending'")),
    DueKind.USAGE: Source(table(UsageRow), "", sa.text("NOT rolled_up"), due="at"),
}
CLAIMED: Mapping[DueKind, Source] = {kind: source for kind, source in SOURCES.items() if source.key}
"""The kinds whose rows are claimed one by one."""
_BEFORE = sa.bindparam("before", type_=sa.DateTime(timezone=True))
_MOST = sa.bindparam("most", type_=sa.Integer())


def _first_rows(source: Source) -> sa.CTE:
    """Goes from one tenant to the next by the index, in one step each: a DISTINCT would read every row that waits."""
    begins = source.first_after(sa.bindparam("after", type_=sa.Text())).add_columns(_ONE.label("number"))
    found = begins.cte("found", recursive=True)
    following = source.first_after(found.c.tenant_id).lateral("following")
    goes_on = sa.select(following.c.tenant_id, following.c.due_at, found.c.number + _ONE)
    return found.union_all(goes_on.select_from(found.join(following, sa.true())).where(found.c.number < _MOST))


def _tenants(source: Source) -> Query:
    found = _first_rows(source)
    return Query(sa.select(found.c.tenant_id, (found.c.due_at < _BEFORE).label("due")).order_by(found.c.number))


def _late(source: Source) -> Query:
    found = _first_rows(source)
    late = sa.select(sa.func.count().label("number"), sa.func.min(found.c.due_at).label("since"))
    return Query(late.where(found.c.due_at < _BEFORE))


def _among(source: Source) -> Query:
    """Takes one step by the index for each tenant: without the limit, a semi-join would read every row that waits."""
    given = sa.func.unnest(sa.bindparam("tenants", type_=ARRAY(sa.Text())))
    asked = given.table_valued("tenant_id", name="asked").render_derived()
    mine = source.table.c.tenant_id
    first = sa.select(_ONE.label("due")).where(mine == asked.c.tenant_id, source.rows, source.due_at < _BEFORE)
    found = first.order_by(mine, source.due_at).limit(_ONE).lateral("found")
    return Query(sa.select(asked.c.tenant_id).join_from(asked, found, sa.true()).order_by(asked.c.tenant_id))


def _claim(source: Source) -> Query:
    due = sa.select(source.row_id).where(where(source.table), source.rows, source.due_at < _BEFORE)
    first = due.order_by(source.due_at, source.row_id).limit(_MOST)
    # A row that is locked is changed at this moment, or claimed: it can wait for the next look.
    free = sa.func.array(first.with_for_update(skip_locked=True).scalar_subquery())
    claimed = sa.update(source.table).where(where(source.table), source.row_id == sa.any_(free))
    columns = {"row_id": source.key, "label": source.label, "event_id": source.event}
    told = [_column(source, column).label(name) for name, column in columns.items()]
    return Query(_due_again(claimed, source).returning(*told))


def _column(source: Source, name: str) -> sa.ColumnElement[Any]:
    return source.table.c[name] if name else sa.literal_column("''")


def _postpone(source: Source) -> Query:
    chosen = source.row_id == sa.any_(sa.bindparam("row_ids", type_=ARRAY(source.row_id.type)))
    return Query(_due_again(sa.update(source.table).where(where(source.table), source.rows, chosen), source))


def _due_again(changed: sa.Update, source: Source) -> sa.Update:
    return changed.values({source.due: sa.bindparam("until", type_=source.due_at.type)})


TENANTS = {kind: _tenants(source) for kind, source in SOURCES.items()}
LATE = {kind: _late(source) for kind, source in SOURCES.items()}
AMONG = {kind: _among(source) for kind, source in SOURCES.items()}
_CLAIMS = {kind: _claim(source) for kind, source in CLAIMED.items()}
_POSTPONES = {kind: _postpone(source) for kind, source in CLAIMED.items()}
# The planner cannot tell how few rows a policy hides, or what a limit leaves: it would read and sort all that wait.
# An index that leads with the tenant alone would do for an incremental sort, which reads all rows of a tenant.
_IN_ORDER = Query(
    sa.text(
        "SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true), "
        "set_config('enable_sort', 'off', true), set_config('enable_incremental_sort', 'off', true)"
    )
)


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


async def late_rows(connection: Connection, kind: DueKind, before: datetime, most: int) -> Waiting:
    """Returns how many tenants have rows of a kind that were due before a time; fulfils `Backlog`."""
    await by_index(connection)
    row = await connection.one(LATE[kind], {"before": before, "after": "", "most": most})
    return Waiting(row.number, row.since)


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
        return [DueRow(row.row_id, row.label, row.event_id) for row in rows]

    async def postpone(self, kind: DueKind, row_ids: Sequence[str], until: datetime) -> None:
        """Postpones rows that are still of the kind."""
        await self._connection.change(_POSTPONES[kind], {**self._of(), "row_ids": list(row_ids), "until": until})
