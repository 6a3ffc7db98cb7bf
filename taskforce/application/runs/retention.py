"""Retention of runs: they are erased `data_retention_days`, a setting of the tenant, after their end.

All rows that belong to a run are erased with it, except usage records (ids and numbers, needed for billing) and the
audit log, which has a retention of its own.
"""

from datetime import datetime

import structlog

from taskforce.application.audit.events import system_event
from taskforce.application.sweeps import expired_tenants, in_turn
from taskforce.core.domain.audit.events import AuditEvent
from taskforce.core.domain.runs.records import Erased
from taskforce.core.interfaces.expired_rows import ExpiredKind, ExpiredRows
from taskforce.core.interfaces.store import Store

ERASE_BATCH = 200
_NOTHING = Erased(0, 0, 0)

_log = structlog.get_logger(__name__)


async def erase_expired(store: Store, tenant_id: str, now: datetime) -> Erased:
    """Erases one batch of a tenant's expired runs, the oldest first, and records `run.erase` in the same transaction.

    Runs that are open, or have an open approval request, are kept.

    Args:
        store: The tenants' data.
        tenant_id: The tenant; its setting is read again, for it may have been raised a moment ago.
        now: The time, UTC.

    Returns:
        The numbers of erased runs, requests and sessions; zeros once nothing is expired.
    """
    async with store.tenant(tenant_id) as records:
        tenant = await records.tenant.get()
        kept_since = None if tenant is None else tenant.settings.runs_kept_since(now)
        if kept_since is None:
            return _NOTHING
        erased = await records.runs.erase(kept_since, ERASE_BATCH)
        if erased.runs:
            await records.audit.append(_audit_snapshot(tenant_id, erased, kept_since, now))
    if erased.runs:
        _log.info("runs.erased", tenant_id=tenant_id, runs=erased.runs, ended_before=kept_since.isoformat())
    return erased


async def erase_all_expired(rows: ExpiredRows, store: Store, now: datetime) -> int:
    """Erases the expired runs of all tenants: a batch of each in turn, so that a large tenant does not delay others.

    Each batch is a transaction of its own: a sweep that is interrupted has recorded what it erased, and the next sweep
    continues. A tenant without any is not visited. One that fails is logged, and the others go on.

    Args:
        rows: Finds the tenants with expired runs.
        store: The tenants' data.
        now: The time, UTC.

    Returns:
        The number of erased runs.
    """
    waiting = await expired_tenants(rows, ExpiredKind.RUN, now)
    return await in_turn(waiting, lambda tenant_id: _erased(store, tenant_id, now))


async def _erased(store: Store, tenant_id: str, now: datetime) -> int:
    try:
        return (await erase_expired(store, tenant_id, now)).runs
    except Exception as error:  # noqa: BLE001 - an error of one tenant must not keep the runs of others
        _log.error("runs.not_erased", tenant_id=tenant_id, error=type(error).__name__, detail=str(error)[:300])
        return 0


def _audit_snapshot(tenant_id: str, erased: Erased, kept_since: datetime, now: datetime) -> AuditEvent:
    return system_event(
        "run.erase",
        "tenant",
        tenant_id,
        now,
        runs=erased.runs,
        requests=erased.requests,
        sessions=erased.sessions,
        ended_before=kept_since.isoformat(),
    )
