"""The audit log's chain: sealing what was committed, exporting it, and dropping what is too old to be kept.

An event is committed with what it tells of, and gets its place in the chain a little later, when a sealer comes by:
otherwise everything that a tenant does would wait in one line for the end of the chain.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from taskforce.application.audit.events import user_event
from taskforce.application.audit.sealing import seal_tenant
from taskforce.application.identity.principals import Actor
from taskforce.core.domain.audit import chain
from taskforce.core.domain.audit.chain import Anchor, Sealed
from taskforce.core.domain.audit.events import AuditEvent, AuditFilter, AuditRecord
from taskforce.core.domain.errors import Conflict, Forbidden, Invalid
from taskforce.core.domain.paging import Page
from taskforce.core.interfaces.store import Records, Store

EXPORT_BATCH = 200
_LARGEST_SEQ = 10**18 - 1
_LOG = "audit_log"

_log = structlog.get_logger(__name__)


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
    header, closing = chain.export(export.begin, (), export.end)
    yield header
    async for page in _pages(store, export):
        if not await may_go_on():
            raise Forbidden("export_ended", "Whoever asked for this export may not read on.")
        _, *events, _ = chain.export(export.begin, page, export.end)
        yield "".join(events)
    yield closing


async def list_events(store: Store, actor: Actor, which: AuditFilter, page: Page) -> Sequence[AuditRecord]:
    """Lists the audit events of the actor's tenant, newest first."""
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        return await records.audit.page(which, page)


async def current_anchor(store: Store, tenant_id: str) -> tuple[Anchor, datetime | None]:
    """Where the tenant's chain ends now, and the time of the event before that place; None when none is kept."""
    async with store.tenant(tenant_id) as records:
        return await records.audit.end()


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
    return user_event(
        "audit.export",
        _LOG,
        asking.tenant_id,
        now,
        user_id=asking.user_id,
        request_id=asking.request_id,
        key_id=asking.key_id,
        **{"from": str(begin)},
    )
