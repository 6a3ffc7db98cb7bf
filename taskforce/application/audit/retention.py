"""Retention of audit events: drops whole days of the chain after `audit.retention_days`."""

from datetime import UTC, datetime, timedelta

from taskforce.application.audit.events import system_event
from taskforce.application.audit.export import _LOG
from taskforce.application.audit.sealing import _complain
from taskforce.application.sweeps import expired_tenants
from taskforce.core.domain.audit.chain import Anchor
from taskforce.core.domain.audit.events import AuditEvent
from taskforce.core.interfaces.expired_rows import ExpiredKind, ExpiredRows
from taskforce.core.interfaces.store import Store

DROP_BATCH = 10_000


async def drop_expired(store: Store, tenant_id: str, before: datetime, now: datetime) -> int:
    """Drops one batch of a tenant's sealed events of whole days; keeps the anchor from which the rest can be verified.

    Events of the day (UTC) of `before` are kept, as are unsealed events and old events that follow a kept one in the
    chain. Each drop is recorded in the log itself: `audit.drop`.

    Args:
        store: The tenants' data.
        tenant_id: The tenant.
        before: Events since the midnight before this time are kept.
        now: The time, UTC.

    Returns:
        The number of dropped events; less than `DROP_BATCH` once nothing more is expired.
    """
    async with store.tenant(tenant_id) as records:
        dropped = await records.audit.drop(_midnight(before), DROP_BATCH)
        if dropped:
            await records.audit.append(_dropped(tenant_id, dropped, await records.audit.start(), now))
    return dropped


async def drop_all_expired(rows: ExpiredRows, store: Store, days: int | None, now: datetime) -> int:
    """Drops the expired events of all tenants: a batch of each in turn, so that a large tenant does not delay others.

    A tenant without any is not visited. One that fails is logged, and the others go on.

    Args:
        rows: Finds the tenants with expired events.
        store: The tenants' data.
        days: The profile's `audit.retention_days`, at least 1; None keeps events for ever.
        now: The time, UTC.

    Returns:
        The number of dropped events.
    """
    if days is None:
        return 0
    before = now - timedelta(days=days)
    waiting = await expired_tenants(rows, ExpiredKind.AUDIT, now, _midnight(before))
    total = 0
    while waiting:
        dropped = {one: await _batch(store, one, before, now) for one in waiting}
        total += sum(dropped.values())
        waiting = [one for one, events in dropped.items() if events >= DROP_BATCH]
    return total


def _midnight(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


async def _batch(store: Store, tenant_id: str, before: datetime, now: datetime) -> int:
    try:
        return await drop_expired(store, tenant_id, before, now)
    except Exception as error:  # noqa: BLE001 - as in `seal_all`
        _complain("audit.not_dropped", tenant_id, error)
        return 0


def _dropped(tenant_id: str, events: int, start: Anchor, now: datetime) -> AuditEvent:
    return system_event("audit.drop", _LOG, tenant_id, now, events=events, start=str(start))
