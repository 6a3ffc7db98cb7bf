"""Seals committed audit events into the chain of their tenant."""

from datetime import datetime, timedelta

import structlog

from taskforce.application.sweeps import iter_tenants
from taskforce.core.domain.audit import chain
from taskforce.core.interfaces.clock import Clock
from taskforce.core.interfaces.store import Store, Tenants

_log = structlog.get_logger(__name__)

SEAL_BATCH = 500


LOOK_BACK = timedelta(hours=1)
"""An event is committed at most so long after its time, in the usual case."""


FULL_LOOK = timedelta(hours=1)


async def seal_tenant(store: Store, tenant_id: str, now: datetime, *, full: bool = False) -> int:
    """Places the tenant's committed events that have no place yet at the end of its chain.

    Args:
        store: The door to the data.
        tenant_id: The tenant.
        now: The time, UTC.
        full: Whether to look at all events, and not only at those since an hour before the last sealed one: one that
            was committed later than that is found so.

    Returns:
        How many were placed.
    """
    total, since = 0, None
    while True:
        async with store.tenant(tenant_id) as records:
            before, last_at = await records.audit.sealing()
            if since is None and not full and last_at is not None:
                # An event that claims to be of tomorrow must not hide those of today.
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
    """Seals the logs of all tenants; one that fails is told to the process's log, and the others are sealed.

    Args:
        platform: The door that sees all tenants.
        store: The door to the data.
        now: The time, UTC.
        full: As in `seal_tenant`.

    Returns:
        How many events were placed.
    """
    total = 0
    async for tenant in iter_tenants(platform, now):
        try:
            total += await seal_tenant(store, tenant.tenant_id, now, full=full)
        except Exception as error:  # noqa: BLE001 - whatever befalls one tenant's log, the others go on
            _complain("audit.not_sealed", tenant.tenant_id, error)
    return total


class Sealer:
    """Seals again and again; `sweep` is what `taskforce.application.runs.lifecycle.repeat` takes.

    Args:
        platform: The door that sees all tenants.
        store: The door to the data.
        clock: The time.
    """

    def __init__(self, platform: Tenants, store: Store, clock: Clock) -> None:
        self._platform = platform
        self._store = store
        self._clock = clock
        self._looked_at: datetime | None = None

    async def sweep(self) -> int:
        """Seals all tenants' logs, and looks at all events the first time and once an hour; says how many it placed."""
        now = self._clock()
        full = self._looked_at is None or now - self._looked_at >= FULL_LOOK
        placed = await seal_all(self._platform, self._store, now, full=full)
        self._looked_at = now if full else self._looked_at
        return placed


def _complain(event: str, tenant_id: str, error: Exception) -> None:
    _log.error(event, tenant_id=tenant_id, error=type(error).__name__, detail=str(error)[:300])
