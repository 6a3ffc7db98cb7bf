"""Export of a tenant's audit log, as a section of its hash chain.

An event is committed in the transaction of its action and sealed into the chain a little later: otherwise all actions
of a tenant would wait for one another at the end of the chain.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from taskforce.application.audit.sealing import seal_tenant
from taskforce.application.identity.principals import Actor
from taskforce.core.domain.audit import chain
from taskforce.core.domain.audit.chain import Anchor, Sealed
from taskforce.core.domain.audit.events import AuditFilter, AuditRecord
from taskforce.core.domain.errors import Conflict, Forbidden, Invalid
from taskforce.core.domain.paging import Page
from taskforce.core.interfaces.store import Records, Store

EXPORT_BATCH = 200
_LARGEST_SEQ = 10**18 - 1
_LOG = "audit_log"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Export:
    """The exported section of a tenant's chain.

    Attributes:
        begin: The anchor before its first event.
        end: The anchor after its last event.
    """

    begin: Anchor
    end: Anchor


def parse_after(text: str | None) -> Anchor | int | None:
    """Parses the beginning of an export: an anchor, or the number of the event before the first one.

    Raises:
        Invalid: `anchor_invalid`.
    """
    if text is None or not (text.isascii() and text.isdigit()):
        return None if text is None else Anchor.parse(text)
    if len(text) > len(str(_LARGEST_SEQ)):
        raise Invalid("anchor_invalid", "No event has so high a number. Send an event's number, or an anchor.")
    return int(text)


async def begin_export(store: Store, actor: Actor, after: Anchor | int | None) -> Export:
    """Records an export, seals what is unsealed, and determines the section of the chain to export.

    The event `audit.export` is committed first and sealed with the rest: so an export contains the record of itself,
    and one that is interrupted is recorded too.

    Args:
        store: The tenants' data.
        actor: The caller.
        after: The anchor, or the event number, after which it begins; None for the oldest event that is kept.

    Raises:
        Conflict: `audit_dropped`: retention has dropped events after that anchor; `anchor_unknown`: the anchor is not
            in the tenant's chain.
    """
    tenant_id = actor.principal.tenant.tenant_id
    async with store.tenant(tenant_id) as records:
        begin = await _begin(records, after)
        await records.audit.append(actor.event("audit.export", _LOG, tenant_id, **{"from": str(begin)}))
    await seal_tenant(store, tenant_id)
    async with store.tenant(tenant_id) as records:
        end, _ = await records.audit.end()
    return Export(begin, end)


async def export_lines(
    store: Store, export: Export, may_go_on: Callable[[], Awaitable[bool]]
) -> AsyncGenerator[str, None]:
    """Yields an export, some lines at a time; each page is a transaction of its own, for sealed events never change.

    Args:
        store: The tenants' data.
        export: The section of the chain.
        may_go_on: Called before each page, for the reader's rights may end during a long export.

    Raises:
        Forbidden: `export_ended`: the reader has lost the right.
        Conflict: `audit_dropped`: retention has dropped events that were still to be exported.
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
    """Lists a page of the audit events of the actor's tenant, newest first."""
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        return await records.audit.page(which, page)


async def current_anchor(store: Store, tenant_id: str) -> tuple[Anchor, datetime | None]:
    """Reads the anchor at the end of the tenant's chain, and the time of its last event; None where none is kept."""
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
    """Reads the page of an export after an event number; empty at its end.

    Raises:
        Conflict: `audit_dropped`: retention has dropped them.
    """
    page = list(await records.audit.sealed(seq, export.end.seq, EXPORT_BATCH))
    if seq < export.end.seq and not (page and page[0].seq == seq + 1) and (await records.audit.start()).seq > seq:
        raise Conflict("audit_dropped", "Retention has dropped what was still to be exported; begin anew.")
    # Other gaps are no error here: events may have been deleted in the database, and verifying the file reveals it.
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
