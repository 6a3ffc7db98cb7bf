"""Sealing of committed audit events into the hash chain of their tenant.

The database keeps a queue of the events that are not sealed yet, in the transaction that appends or seals them. So an
event that is committed late is found like any other, and a look costs what is unsealed, not what the log holds.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

import structlog

from taskforce.application.sweeps import TENANTS, is_swept
from taskforce.core.domain.audit import chain
from taskforce.core.domain.audit.events import AuditRecord
from taskforce.core.interfaces.clock import Clock
from taskforce.core.interfaces.store import Store, UnsealedLogs

_log = structlog.get_logger(__name__)

SEAL_BATCH = 500
SHARE = 20 * SEAL_BATCH
"""Events of one tenant that are sealed before the next tenant's turn, at most."""


async def seal_tenant(store: Store, tenant_id: str, most: int | None = None) -> int:
    """Appends the tenant's unsealed events to its chain: at least those that were committed before the call.

    Safe beside other sealers of the same tenant: each batch locks the chain, and finds what is unsealed then.

    Args:
        store: The tenants' data.
        tenant_id: The tenant.
        most: The number of events, a multiple of `SEAL_BATCH`, after which it ends early; None for no end.

    Returns:
        The number of sealed events.
    """
    total, after = 0, None
    while most is None or total < most:
        found = await _seal_batch(store, tenant_id, after)
        total += len(found)
        if len(found) < SEAL_BATCH:
            break
        # From there on: what was sealed before stays in the index for as long as some old transaction may look.
        after = (found[-1].at, found[-1].audit_id)
    return total


async def seal_all(logs: UnsealedLogs, store: Store, clock: Clock) -> int:
    """Seals the events of all tenants, `SHARE` of each in turn; a tenant that fails is logged, and the others go on.

    Args:
        logs: The list of tenants with unsealed events.
        store: The tenants' data.
        clock: The time, UTC.

    Returns:
        The number of sealed events.
    """
    total, left = 0, True
    while left:
        sealed = [count async for count in _seal_shares(logs, store, clock())]
        total += sum(sealed)
        left = max(sealed, default=0) >= SHARE
    return total


async def _seal_batch(store: Store, tenant_id: str, after: tuple[datetime, str] | None) -> Sequence[AuditRecord]:
    async with store.tenant(tenant_id) as records:
        before = await records.audit.sealing()
        found = await records.audit.unsealed(after, SEAL_BATCH)
        sealed, _ = chain.seal(before, (record.event() for record in found))
        if sealed:
            await records.audit.place(sealed)
    return found


async def _seal_shares(logs: UnsealedLogs, store: Store, now: datetime) -> AsyncIterator[int]:
    after: str | None = None
    while page := await logs.unsealed_tenants(after, TENANTS):
        for tenant in page:
            if is_swept(tenant, now):
                yield await _seal_share(store, tenant.tenant_id)
        after = page[-1].tenant_id


async def _seal_share(store: Store, tenant_id: str) -> int:
    try:
        return await seal_tenant(store, tenant_id, SHARE)
    except Exception as error:  # noqa: BLE001 - an error of one tenant must not keep the logs of others
        _complain("audit.not_sealed", tenant_id, error)
        return 0


def _complain(event: str, tenant_id: str, error: Exception) -> None:
    _log.error(event, tenant_id=tenant_id, error=type(error).__name__, detail=str(error)[:300])
