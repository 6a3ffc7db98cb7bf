"""Retention of budgets' ledgers: they are kept as long as usage records are, `usage_retention_days`."""

from datetime import datetime, timedelta
from typing import Final

import structlog

from taskforce.application.audit.events import system_event
from taskforce.application.sweeps import expired_tenants, in_turn
from taskforce.core.domain.tenants.tenant import RecordKind
from taskforce.core.interfaces.expired_rows import ExpiredKind, ExpiredRows
from taskforce.core.interfaces.store import Store

ERASE_BATCH: Final = 1_000
LEAST_KEPT: Final = timedelta(days=32)
"""The time for which a ledger is kept in any case: that of the current month is counted on."""

_log = structlog.get_logger(__name__)


async def erase_ledgers(store: Store, tenant_id: str, now: datetime) -> int:
    """Erases one batch of a tenant's ledgers of periods long past, and records it in the same transaction.

    Args:
        store: The tenants' data.
        tenant_id: The tenant; its setting is read again, for it may have been raised a moment ago.
        now: The time, UTC.

    Returns:
        The number of erased ledgers; 0 once nothing is expired.
    """
    async with store.tenant(tenant_id) as records:
        tenant = await records.tenant.get()
        kept_since = None if tenant is None else tenant.settings.records_kept_since(RecordKind.USAGE, now)
        if kept_since is None:
            return 0
        before = min(kept_since, now - LEAST_KEPT)
        erased = await records.budgets.erase(before, ERASE_BATCH)
        if erased:
            until = before.isoformat()
            event = system_event("budget.erase", "tenant", tenant_id, now, ledgers=erased, began_before=until)
            await records.audit.append(event)
    return erased


async def erase_all_ledgers(rows: ExpiredRows, store: Store, now: datetime) -> int:
    """Erases the expired ledgers of all tenants: a batch of each in turn, so that a large one does not delay others.

    A tenant without any is not visited. One that fails is logged, and the others go on.

    Args:
        rows: Finds the tenants with expired ledgers.
        store: The tenants' data.
        now: The time, UTC.

    Returns:
        The number of erased ledgers.
    """
    waiting = await expired_tenants(rows, ExpiredKind.LEDGER, now)
    return await in_turn(waiting, lambda tenant_id: _erased(store, tenant_id, now))


async def _erased(store: Store, tenant_id: str, now: datetime) -> int:
    try:
        return await erase_ledgers(store, tenant_id, now)
    except Exception as error:  # noqa: BLE001 - an error of one tenant must not keep the ledgers of others
        _log.error("ledgers.not_erased", tenant_id=tenant_id, error=type(error).__name__)
        return 0
