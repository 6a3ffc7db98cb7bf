"""Repository of tenant deletions in PostgreSQL: their reports, and the remaining rows of a tenant being deleted."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from models.tables.approvals import ApprovalRow
from models.tables.metadata import METADATA
from models.tables.runs import RunRow
from models.tables.tenant_deletions import TenantDeletionPhaseRow, TenantDeletionRow
from taskforce.core.domain.audit.chain import Anchor
from taskforce.core.domain.tenants.deletion import CompletedPhase, Deletion, DeletionOrder, Phase
from taskforce.core.interfaces.repositories.tenants import Begun
from taskforce.infrastructure.persistence.connection import Query, Row
from taskforce.infrastructure.persistence.repositories.runs import STILL_OPEN
from taskforce.infrastructure.persistence.repository import Repository, storable_json, table, where

_DELETIONS, _PHASES = table(TenantDeletionRow), table(TenantDeletionPhaseRow)
_RUNS, _REQUESTS = table(RunRow), table(ApprovalRow)
_MOST = sa.bindparam("most", type_=sa.Integer())
_SINCE = sa.bindparam("since", type_=_RUNS.c.finished_at.type)
_DELETED = _DELETIONS.c.deleted_id == sa.bindparam("deleted", type_=sa.Text())
_LOG_KEPT_UNTIL = (_DELETIONS.c.begun_at + sa.func.tenant_log_grace()).label("log_kept_until")
_PASSED = sa.and_(_PHASES.c.tenant_id == _DELETIONS.c.tenant_id, _PHASES.c.deleted_id == _DELETIONS.c.deleted_id)

# Looked up in the platform's scope: the report is found whichever tenant keeps it.
DELETION = Query(
    sa.select(_DELETIONS, _LOG_KEPT_UNTIL).where(_DELETED).order_by(_DELETIONS.c.begun_at).limit(sa.literal(1))
)
PHASES = Query(
    sa.select(_PHASES)
    .where(
        _PHASES.c.tenant_id == sa.bindparam("home", type_=sa.Text()),
        _PHASES.c.deleted_id == sa.bindparam("deleted", type_=sa.Text()),
    )
    .order_by(_PHASES.c.at)
)
_SINCE_THEN = sa.bindparam("since", type_=_DELETIONS.c.erased_at.type)
OPEN_DELETIONS = Query(
    sa.select(_DELETIONS.c.deleted_id, sa.exists().where(_PASSED).label("begun"))
    .where(
        # As in the index `tenant_deletions_open`.
        sa.func.coalesce(_DELETIONS.c.erased_at, sa.text("'infinity'")) > _SINCE_THEN,
        _DELETIONS.c.requested_at < sa.bindparam("before", type_=_DELETIONS.c.requested_at.type),
        _DELETIONS.c.deleted_id > sa.bindparam("after", type_=sa.Text()),
        ~sa.exists().where(_PASSED, _PHASES.c.phase == sa.literal(Phase.VERIFIED.value)),
    )
    .order_by(_DELETIONS.c.deleted_id)
    .limit(_MOST)
)
_BEGIN = Query(sa.text("SELECT begin_tenant_deletion(:deleted, :by_user, :by_request, :asked, :until)"))
# For a tenant that owns most rows the planner prefers sequential scans, each over all the dead rows of the batches
# before; by the index that begins with the tenant each row is visited once. Foreign keys are checked by plans too, one
# for each row, so generic plans are worth caching.
_BY_INDEX = Query(
    sa.text(
        "SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true), "
        "set_config('plan_cache_mode', 'force_generic_plan', true)"
    )
)
_ERASE = Query(sa.text("SELECT e.source, e.gone FROM erase_tenant_rows(:deleted, :most) e"))
_PASS = Query(insert(_PHASES).on_conflict_do_nothing())
_OPEN_RUNS = Query(sa.select(_RUNS.c.run_id).where(where(_RUNS), STILL_OPEN).order_by(_RUNS.c.created_at).limit(_MOST))
_RUNS_ENDED = Query(
    sa.select(_RUNS.c.status, sa.func.count().label("number"))
    .where(where(_RUNS), _RUNS.c.finished_at >= _SINCE)
    .group_by(_RUNS.c.status)
)
_REQUESTS_CLOSED = Query(
    sa.select(_REQUESTS.c.status, sa.func.count().label("number"))
    .where(where(_REQUESTS), _REQUESTS.c.closed_at >= _SINCE)
    .group_by(_REQUESTS.c.status)
)


def _holding() -> sa.ClauseElement:
    each = (
        sa.select(sa.literal(name).label("name")).where(sa.exists().where(where(known)))
        for name, known in sorted(METADATA.tables.items())
    )
    return sa.union_all(*each)


class DeletionRepository(Repository):
    """Stores deletions, whose reports belong to the platform's tenant; fulfils `Deletions`."""

    async def begin(self, order: DeletionOrder) -> Begun:
        """Writes the tombstone and marks the tenant as being deleted; an earlier tombstone stays as it is."""
        values = {
            "deleted": order.tenant_id,
            "by_user": order.requested_by,
            "by_request": order.request_id,
            "asked": order.requested_at,
            "until": order.runs_until,
        }
        return Begun(await self._connection.value(_BEGIN, values))

    async def erase(self, tenant_id: str, most: int) -> tuple[str, int] | None:
        """Erases rows of one table, and returns which and how many; None when none may be erased now."""
        await self._connection.value(_BY_INDEX)
        row = await self._connection.first(_ERASE, {"deleted": tenant_id, "most": most})
        return None if row is None else (row.source, row.gone)

    async def passed(self, tenant_id: str, phase: Phase, facts: Mapping[str, object], now: datetime) -> bool:
        """Marks a phase as finished; False when it was, which changes nothing."""
        keyed = {"tenant_id": self._tenant_id, "deleted_id": tenant_id, "phase": phase.value}
        return await self._connection.change(_PASS, {**keyed, "facts": storable_json(facts), "at": now}) > 0


class TenantDataRepository(Repository):
    """Looks up the remaining rows of a tenant that is being deleted; fulfils `TenantData`."""

    async def open_runs(self, most: int) -> Sequence[str]:
        """Returns runs that have not ended, the oldest first."""
        return [row.run_id for row in await self._connection.all(_OPEN_RUNS, {**self._of(), "most": most})]

    async def runs_ended(self, since: datetime) -> Mapping[str, int]:
        """Returns the number of runs that ended since a time, by status."""
        return await self._counted(_RUNS_ENDED, since)

    async def requests_closed(self, since: datetime) -> Mapping[str, int]:
        """Returns the number of approval requests that were closed since a time, by status."""
        return await self._counted(_REQUESTS_CLOSED, since)

    async def tables(self) -> Sequence[str]:
        """Returns the tables in which the tenant has rows."""
        await self._connection.value(_BY_INDEX)
        return [row.name for row in await self._connection.all(_holding(), self._of())]

    async def _counted(self, query: Query, since: datetime) -> Mapping[str, int]:
        rows = await self._connection.all(query, {**self._of(), "since": since})
        return {row.status: row.number for row in rows}


def deletion_of(row: Row, phases: Sequence[Row]) -> Deletion:
    """Builds the report of its rows."""
    order = DeletionOrder(row.deleted_id, row.requested_by, row.requested_at, row.request_id, row.runs_until)
    return Deletion(
        order=order,
        home_id=row.tenant_id,
        log_kept_until=row.log_kept_until,
        erased=dict(sorted(row.erased.items())),
        passed=tuple(CompletedPhase(Phase(one.phase), one.at, one.facts) for one in phases),
        log_end=_log_end(row),
        erased_at=row.erased_at,
    )


def _log_end(row: Row) -> Anchor | None:
    if row.log_seq is None:
        return None
    return Anchor(row.deleted_id, row.log_seq, row.log_hash) if row.log_seq else Anchor.genesis(row.deleted_id)
