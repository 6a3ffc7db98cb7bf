"""Retention of what hangs on no run: each kind is erased after the days that a setting of the tenant says.

The kinds and their settings are those of `RecordKind`; runs have a setting of their own (`runs/retention.py`), and the
audit log has one of the deployment (`audit/retention.py`).
"""

from datetime import datetime

import structlog

from taskforce.application.audit.events import system_event
from taskforce.application.sweeps import expired_tenants, in_turn
from taskforce.core.domain.tenants.tenant import RecordKind
from taskforce.core.interfaces.expired_rows import ExpiredKind, ExpiredRows
from taskforce.core.interfaces.store import Store

ERASE_BATCH = 1_000

_log = structlog.get_logger(__name__)


async def erase_records(store: Store, tenant_id: str, kind: RecordKind, now: datetime) -> int:
    """Erases one batch of a tenant's expired records, the oldest first, and records it in the same transaction.

    Args:
        store: The tenants' data.
        tenant_id: The tenant; its setting is read again, for it may have been raised a moment ago.
        kind: The kind of records.
        now: The time, UTC.

    Returns:
        The number of erased records; 0 once nothing is expired.
    """
    async with store.tenant(tenant_id) as records:
        tenant = await records.tenant.get()
        kept_since = None if tenant is None else tenant.settings.records_kept_since(kind, now)
        if kept_since is None:
            return 0
        erased = await records.tenant.erase_records(kind, kept_since, ERASE_BATCH)
        if erased:
            until = kept_since.isoformat()
            event = system_event(f"{kind}.erase", "tenant", tenant_id, now, erased=erased, ended_before=until)
            await records.audit.append(event)
    return erased


async def erase_all_records(rows: ExpiredRows, store: Store, now: datetime) -> int:
    """Erases the expired records of all tenants: a batch of each in turn, so that a large tenant does not delay others.

    A tenant without any is not visited. One that fails is logged, and the others go on.

    Args:
        rows: Finds the tenants with expired records.
        store: The tenants' data.
        now: The time, UTC.

    Returns:
        The number of erased records.
    """
    waiting = [
        (tenant_id, kind)
        for kind in RecordKind
        for tenant_id in await expired_tenants(rows, ExpiredKind(kind.value), now)
    ]
    return await in_turn(waiting, lambda one: _erased(store, *one, now))


async def _erased(store: Store, tenant_id: str, kind: RecordKind, now: datetime) -> int:
    try:
        return await erase_records(store, tenant_id, kind, now)
    except Exception as error:  # noqa: BLE001 - an error of one tenant must not keep the records of others
        _log.error("records.not_erased", tenant_id=tenant_id, kind=kind, error=type(error).__name__)
        return 0
