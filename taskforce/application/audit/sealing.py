"""Sealing of committed audit events into the hash chain of their tenant."""

from datetime import datetime, timedelta

import structlog

from taskforce.application.sweeps import iter_tenants
from taskforce.core.domain.audit import chain
from taskforce.core.interfaces.clock import Clock
from taskforce.core.interfaces.store import Store, Tenants

_log = structlog.get_logger(__name__)

SEAL_BATCH = 500


LOOK_BACK = timedelta(hours=1)
"""How long after its time an event is committed at most, in the usual case."""


FULL_LOOK = timedelta(hours=1)


async def seal_tenant(store: Store, tenant_id: str, now: datetime, *, full: bool = False) -> int:
    """Appends the tenant's unsealed events to its chain.

    Args:
        store: The tenants' data.
        tenant_id: The tenant.
        now: The time, UTC.
        full: Whether to search all events, also those that were committed more than `LOOK_BACK` after their time; else
            those since `LOOK_BACK` before the last sealed one.

    Returns:
        The number of sealed events.
    """
    total, since = 0, None
    while True:
        async with store.tenant(tenant_id) as records:
            before, last_at = await records.audit.sealing()
            if since is None and not full and last_at is not None:
                # The last sealed event may have a time in the future, which must not hide the events of now.
                since = min(last_at, now) - LOOK_BACK
            found = await records.audit.unsealed(since, SEAL_BATCH)
            sealed, _ = chain.seal(before, (record.event() for record in found))
            if sealed:
                await records.audit.place(sealed)
        total += len(found)
        if len(found) < SEAL_BATCH:
            return total
        since = found[-1].at


async def seal_all(platform: Tenants, store: Store, now: datetime, *, full: bool = False) -> int:
    """Seals the events of all tenants; a tenant that fails is logged, and the others go on.

    Args:
        platform: The list of all tenants.
        store: The tenants' data.
        now: The time, UTC.
        full: As in `seal_tenant`.

    Returns:
        The number of sealed events.
    """
    total = 0
    async for tenant in iter_tenants(platform, now):
        try:
            total += await seal_tenant(store, tenant.tenant_id, now, full=full)
        except Exception as error:  # noqa: BLE001 - an error of one tenant must not keep the logs of others
            _complain("audit.not_sealed", tenant.tenant_id, error)
    return total


class Sealer:
    """Periodic sealing; `taskforce.application.sweeps.repeat` calls its `sweep`.

    Args:
        platform: The list of all tenants.
        store: The tenants' data.
        clock: The time, UTC.
    """

    def __init__(self, platform: Tenants, store: Store, clock: Clock) -> None:
        self._platform = platform
        self._store = store
        self._clock = clock
        self._looked_at: datetime | None = None

    async def sweep(self) -> int:
        """Seals the events of all tenants, with a full search at the first call and once an hour.

        Returns:
            The number of sealed events.
        """
        now = self._clock()
        full = self._looked_at is None or now - self._looked_at >= FULL_LOOK
        placed = await seal_all(self._platform, self._store, now, full=full)
        self._looked_at = now if full else self._looked_at
        return placed


def _complain(event: str, tenant_id: str, error: Exception) -> None:
    _log.error(event, tenant_id=tenant_id, error=type(error).__name__, detail=str(error)[:300])
