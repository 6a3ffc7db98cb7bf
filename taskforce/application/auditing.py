"""The audit log's chain: sealing what was committed, exporting it, and dropping what is too old to be kept.

An event is committed with what it tells of, and gets its place in the chain a little later, when a sealer comes by:
otherwise everything that a tenant does would wait in one line for the end of the chain.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from taskforce.application.everyone import every_tenant
from taskforce.core.domain import audit_chain
from taskforce.core.domain.audit_chain import Anchor, Sealed
from taskforce.core.domain.errors import Conflict, Forbidden, Invalid
from taskforce.core.interfaces.records import Clock, Records, Store, Tenants
from taskforce.core.interfaces.stored import AuditEvent

SEAL_BATCH = 500
LOOK_BACK = timedelta(hours=1)
"""An event is committed at most so long after its time, in the usual case."""
FULL_LOOK = timedelta(hours=1)
EXPORT_BATCH = 200
DROP_BATCH = 10_000
_LARGEST_SEQ = 10**18 - 1
_LOG = "audit_log"

_log = structlog.get_logger(__name__)


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
            sealed, _ = audit_chain.seal(before, (record.event() for record in found))
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
    async for tenant in every_tenant(platform, now):
        try:
            total += await seal_tenant(store, tenant.tenant_id, now, full=full)
        except Exception as error:  # noqa: BLE001 - whatever befalls one tenant's log, the others go on
            _complain("audit.not_sealed", tenant.tenant_id, error)
    return total


class Sealer:
    """Seals again and again; `sweep` is what `taskforce.application.running.repeat` takes.

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


@dataclass(frozen=True, slots=True)
class Asking:
    """Who wants an export.

    Attributes:
        tenant_id: Whose log.
        user_id: Who.
        request_id: The HTTP request.
        key_id: The API key that speaks for them, if it is one.
    """

    tenant_id: str
    user_id: str
    request_id: str | None
    key_id: str | None = None


@dataclass(frozen=True, slots=True)
class Export:
    """A piece of a tenant's chain that is to be exported.

    Attributes:
        begin: The place before its first event.
        end: The place after its last event.
    """

    begin: Anchor
    end: Anchor


def parse_after(text: str | None) -> Anchor | int | None:
    """Reads where an export shall begin: after an anchor, or after the event of a number.

    Raises:
        Invalid: `anchor_invalid`.
    """
    if text is None or not (text.isascii() and text.isdigit()):
        return None if text is None else Anchor.parse(text)
    if len(text) > len(str(_LARGEST_SEQ)):
        raise Invalid("anchor_invalid", "No event has so high a number.")
    return int(text)


async def begin_export(store: Store, asking: Asking, after: Anchor | int | None, now: datetime) -> Export:
    """Records that somebody exports the log, seals all of it, and says which piece of the chain the export is.

    The event `audit.export` is committed first and sealed with the rest: an export holds the record of its own making,
    and one that breaks on its way is recorded too.

    Args:
        store: The door to the data.
        asking: Who wants it.
        after: The place, or the number of the event, after which it begins; None for the beginning of what is kept.
        now: The time, UTC.

    Raises:
        Conflict: `audit_dropped`: events after that place are kept no more; `anchor_unknown`: the chain does not go
            through that place.
    """
    async with store.tenant(asking.tenant_id) as records:
        begin = await _begin(records, after)
        await records.audit.append(_exported(asking, begin, now))
    await seal_tenant(store, asking.tenant_id, now, full=True)
    async with store.tenant(asking.tenant_id) as records:
        end, _ = await records.audit.end()
    return Export(begin, end)


async def export_lines(
    store: Store, export: Export, may_go_on: Callable[[], Awaitable[bool]]
) -> AsyncGenerator[str, None]:
    """Writes an export, some lines at a time; each page of events is a transaction, for sealed events never change.

    Args:
        store: The door to the data.
        export: What is exported.
        may_go_on: Asked before each page: the reader's rights may end before a long export does.

    Raises:
        Forbidden: `export_ended`: the reader may not read on.
        Conflict: `audit_dropped`: what was still to come was dropped in the meantime.
    """
    header, closing = audit_chain.export(export.begin, (), export.end)
    yield header
    async for page in _pages(store, export):
        if not await may_go_on():
            raise Forbidden("export_ended", "Whoever asked for this export may not read on.")
        _, *events, _ = audit_chain.export(export.begin, page, export.end)
        yield "".join(events)
    yield closing


async def current_anchor(store: Store, tenant_id: str) -> tuple[Anchor, datetime | None]:
    """Where the tenant's chain ends now, and the time of the event before that place; None when none is kept."""
    async with store.tenant(tenant_id) as records:
        return await records.audit.end()


async def drop_expired(store: Store, tenant_id: str, before: datetime, now: datetime) -> int:
    """Drops the tenant's sealed events of the days before a time, and keeps the anchor that the rest is checked from.

    A segment is a whole day, UTC: of the day of `before` nothing is dropped. What keeps a young event behind it, and
    what has no place in the chain yet, stays. That it was done stands in the log itself: `audit.drop`.

    Args:
        store: The door to the data.
        tenant_id: The tenant.
        before: Events since the midnight before this time are kept.
        now: The time, UTC.

    Returns:
        How many were dropped.
    """
    midnight = before.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    total = 0
    while True:
        async with store.tenant(tenant_id) as records:
            dropped = await records.audit.drop(midnight, DROP_BATCH)
            if dropped:
                await records.audit.append(_dropped(tenant_id, dropped, await records.audit.start(), now))
        total += dropped
        if dropped < DROP_BATCH:
            return total


async def drop_all_expired(platform: Tenants, store: Store, days: int | None, now: datetime) -> int:
    """Drops what is older than the profile's `audit.retention_days`, of all tenants.

    Args:
        platform: The door that sees all tenants.
        store: The door to the data.
        days: Days that events are kept, at least 1; None for ever.
        now: The time, UTC.

    Returns:
        How many events were dropped; a tenant that fails is told to the process's log.
    """
    if days is None:
        return 0
    total = 0
    async for tenant in every_tenant(platform, now):
        try:
            total += await drop_expired(store, tenant.tenant_id, now - timedelta(days=days), now)
        except Exception as error:  # noqa: BLE001 - as in `seal_all`
            _complain("audit.not_dropped", tenant.tenant_id, error)
    return total


def _complain(event: str, tenant_id: str, error: Exception) -> None:
    _log.error(event, tenant_id=tenant_id, error=type(error).__name__, detail=str(error)[:300])


async def _begin(records: Records, after: Anchor | int | None) -> Anchor:
    start = await records.audit.start()
    if after is None:
        return start
    seq = after.seq if isinstance(after, Anchor) else after
    if seq < start.seq:
        text = f"Events up to {start.seq} are kept no more; export from there, or from the beginning of what is kept."
        raise Conflict("audit_dropped", text, details={"start": str(start)})
    place = start if seq == start.seq else await records.audit.anchor(seq)
    if place is None or (isinstance(after, Anchor) and after != place):
        text = "The log's chain does not go through this place: it is another tenant's, or one of the two is not true."
        raise Conflict("anchor_unknown", text)
    return place


async def next_page(records: Records, export: Export, seq: int) -> list[Sealed]:
    """The events of an export that follow a place; none at its end.

    Raises:
        Conflict: `audit_dropped`: they are kept no more.
    """
    page = list(await records.audit.sealed(seq, export.end.seq, EXPORT_BATCH))
    if seq < export.end.seq and not (page and page[0].seq == seq + 1) and (await records.audit.start()).seq > seq:
        raise Conflict("audit_dropped", "Retention has dropped what was still to be exported; begin anew.")
    # Somebody may have taken events away. The file says what there is, and its check finds what is missing.
    return page


async def _pages(store: Store, export: Export) -> AsyncIterator[list[Sealed]]:
    seq = export.begin.seq
    while seq < export.end.seq:
        async with store.tenant(export.begin.tenant_id) as records:
            page = await next_page(records, export, seq)
        if not page:
            return
        yield page
        seq = page[-1].seq


def _exported(asking: Asking, begin: Anchor, now: datetime) -> AuditEvent:
    return AuditEvent(
        actor_id=asking.user_id,
        action="audit.export",
        resource_type=_LOG,
        resource_id=asking.tenant_id,
        outcome="allowed",
        at=now,
        request_id=asking.request_id,
        key_id=asking.key_id,
        details={"from": str(begin)},
    )


def _dropped(tenant_id: str, events: int, start: Anchor, now: datetime) -> AuditEvent:
    return AuditEvent(
        actor_id="system",
        action="audit.drop",
        resource_type=_LOG,
        resource_id=tenant_id,
        outcome="allowed",
        at=now,
        channel="worker",
        details={"events": events, "start": str(start)},
    )
