"""Retention of runs: a tenant's setting `data_retention_days` says how long they are kept, and then they are erased.

What goes with a run is all that hangs on it. Its usage stays, which is ids and numbers that somebody pays for, and so
does the audit log, which has a retention of its own.
"""

from datetime import datetime

import structlog

from taskforce.application.audit.events import system_event
from taskforce.application.sweeps import iter_tenants
from taskforce.core.domain.audit.events import AuditEvent
from taskforce.core.domain.runs.records import Erased
from taskforce.core.interfaces.store import Store, Tenants

ERASE_BATCH = 200
_NOTHING = Erased(0, 0, 0)

_log = structlog.get_logger(__name__)


async def erase_expired(store: Store, tenant_id: str, now: datetime) -> Erased:
    """Erases one batch of the tenant's runs that ended too long ago, the oldest first.

    A run that is open, or of which a request for approval is, stays. That it was done stands in the log, in the same
    transaction: `run.erase`.

    Args:
        store: The door to the data.
        tenant_id: The tenant, whose setting is read anew: it may have been raised a moment ago.
        now: The time, UTC.

    Returns:
        How much was erased; nothing once all that is too old is gone.
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


async def erase_all_expired(platform: Tenants, store: Store, now: datetime) -> int:
    """Erases what is too old of all tenants: a batch of each in turn, so that nobody waits for one who has much.

    Each batch is a transaction: whatever ends the sweep, what was erased is recorded, and the next one goes on.

    Args:
        platform: The door that sees all tenants.
        store: The door to the data.
        now: The time, UTC.

    Returns:
        How many runs were erased; a tenant that fails is told to the process's log.
    """
    total = 0
    waiting = [
        one.tenant_id async for one in iter_tenants(platform, now) if one.settings.runs_kept_since(now) is not None
    ]
    while waiting:
        erased = {tenant_id: await _erased(store, tenant_id, now) for tenant_id in waiting}
        total += sum(erased.values())
        waiting = [tenant_id for tenant_id in waiting if erased[tenant_id]]
    return total


async def _erased(store: Store, tenant_id: str, now: datetime) -> int:
    try:
        return (await erase_expired(store, tenant_id, now)).runs
    except Exception as error:  # noqa: BLE001 - whatever befalls one tenant's runs, those of the others are erased
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
