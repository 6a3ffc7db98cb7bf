"""The audit log in PostgreSQL; nothing else inserts into it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import sqlalchemy as sa

from models.tables.audit import AuditAnchorRow, AuditChainRow, AuditRow
from taskforce.core.domain.audit_chain import Anchor, Sealed
from taskforce.core.domain.ids import new_id
from taskforce.core.interfaces.stored import AuditEvent, AuditFilter, AuditRecord, Page
from taskforce.infrastructure.persistence.connection import Query, Row, Write
from taskforce.infrastructure.persistence.rows import Repository, storable_json, table, where

_EVENTS, _CHAIN, _ANCHORS = table(AuditRow), table(AuditChainRow), table(AuditAnchorRow)
_APPEND = Write(audited=Query(sa.insert(_EVENTS)))
_PLACED = sa.and_(_CHAIN.c.tenant_id == _EVENTS.c.tenant_id, _CHAIN.c.audit_id == _EVENTS.c.audit_id)
_MOST = sa.bindparam("most", type_=sa.Integer())
_UNSEALED = Query(
    sa.select(_EVENTS)
    .where(where(_EVENTS), _EVENTS.c.at >= sa.bindparam("since"), ~sa.exists().where(_PLACED))
    .order_by(_EVENTS.c.at, _EVENTS.c.audit_id)
    .limit(_MOST)
)
_LAST = Query(
    sa.select(_CHAIN.c.seq, _CHAIN.c.hash, _EVENTS.c.at)
    .join(_EVENTS, _PLACED)
    .where(where(_CHAIN))
    .order_by(_CHAIN.c.seq.desc())
    .limit(sa.literal(1))
)
_SEALED = Query(
    sa.select(_CHAIN.c.seq, _CHAIN.c.hash, _EVENTS)
    .join(_EVENTS, _PLACED)
    .where(where(_CHAIN), _CHAIN.c.seq > sa.bindparam("seq"))
    .order_by(_CHAIN.c.seq)
    .limit(_MOST)
)
_DROPPED = Query(sa.select(_ANCHORS).where(where(_ANCHORS)).order_by(_ANCHORS.c.seq.desc()).limit(sa.literal(1)))
_PLACE = Query(sa.insert(_CHAIN))
# Two sealers at once: the second waits, and then finds what the first has placed.
_LOCK = Query(sa.text("SELECT pg_advisory_xact_lock(hashtextextended('audit:' || :tenant, 0))"))


class AuditRows(Repository):
    """See `Audit`."""

    async def append(self, event: AuditEvent) -> None:
        """Appends one event, committed with what it tells of."""
        values = {
            "tenant_id": self._tenant_id,
            "audit_id": new_id(),
            "actor_id": event.actor_id,
            "on_behalf_of": event.on_behalf_of,
            "channel": event.channel,
            "action": event.action,
            "resource_type": event.resource_type,
            "resource_id": event.resource_id,
            "outcome": event.outcome,
            "reason": event.reason,
            "request_id": event.request_id,
            "details": event.details or {},
            "at": event.at,
        }
        await self._connection.later(_APPEND, storable_json(values))

    async def page(self, which: AuditFilter, page: Page) -> Sequence[AuditRecord]:
        """A page of events, newest first."""
        query = sa.select(_EVENTS).where(_EVENTS.c.tenant_id == self._tenant_id)
        for name in ("actor_id", "action", "resource_type", "resource_id", "outcome"):
            wanted = getattr(which, name)
            query = query if wanted is None else query.where(_EVENTS.c[name] == wanted)
        query = query if which.since is None else query.where(_EVENTS.c.at >= which.since)
        query = query if which.until is None else query.where(_EVENTS.c.at < which.until)
        if page.before is not None:
            at, audit_id = page.before
            place = sa.tuple_(sa.literal(at, _EVENTS.c.at.type), sa.literal(audit_id, _EVENTS.c.audit_id.type))
            query = query.where(sa.tuple_(_EVENTS.c.at, _EVENTS.c.audit_id) < place)
        newest = query.order_by(_EVENTS.c.at.desc(), _EVENTS.c.audit_id.desc()).limit(page.limit)
        return [_record(row) for row in await self._connection.all(newest)]

    async def sealing(self) -> tuple[Anchor, datetime | None]:
        """Waits for other sealers; returns the end of the chain, and the time of its last event."""
        await self._connection.value(_LOCK, {"tenant": self._tenant_id})
        row = await self._connection.first(_LAST, self._of())
        return (await self.start(), None) if row is None else (Anchor(self._tenant_id, row.seq, row.hash), row.at)

    async def start(self) -> Anchor:
        """Where the chain begins: at its genesis, or after what was dropped."""
        row = await self._connection.first(_DROPPED, self._of())
        return Anchor.genesis(self._tenant_id) if row is None else Anchor(self._tenant_id, row.seq, row.hash)

    async def unsealed(self, since: datetime | None, most: int) -> Sequence[AuditRecord]:
        """Events that have no place yet, the oldest first; of those since a time, or of all."""
        values = {**self._of(), "since": since or datetime.min.replace(tzinfo=UTC), "most": most}
        return [_record(row) for row in await self._connection.all(_UNSEALED, values)]

    async def place(self, sealed: Sequence[Sealed]) -> None:
        """Keeps the places of events."""
        for one in sealed:
            values = {"tenant_id": self._tenant_id, "seq": one.seq, "hash": one.hash}
            await self._connection.change(_PLACE, {**values, "audit_id": one.event["audit_id"]})

    async def sealed(self, after: int, most: int) -> Sequence[Sealed]:
        """Events in their places, after a number."""
        rows = await self._connection.all(_SEALED, {**self._of(), "seq": after, "most": most})
        return [Sealed(row.seq, row.hash, _record(row).event()) for row in rows]


def _record(row: Row) -> AuditRecord:
    return AuditRecord(
        audit_id=row.audit_id,
        actor_id=row.actor_id,
        on_behalf_of=row.on_behalf_of,
        channel=row.channel,
        action=row.action,
        resource_type=row.resource_type,
        resource_id=row.resource_id,
        outcome=row.outcome,
        reason=row.reason,
        request_id=row.request_id,
        details=_mapping(row.details),
        at=row.at,
    )


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}
