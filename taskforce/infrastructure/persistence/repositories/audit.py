"""Repository of the audit log in PostgreSQL; nothing else inserts into its table."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from models.tables.audit import AuditAnchorRow, AuditChainRow, AuditRow, AuditUnsealedRow
from taskforce.core.domain.audit.chain import Anchor, Sealed
from taskforce.core.domain.audit.content import ContentRules
from taskforce.core.domain.audit.events import AuditEvent, AuditFilter, AuditRecord
from taskforce.core.domain.ids import new_id
from taskforce.core.domain.paging import Page
from taskforce.core.domain.redaction import redact
from taskforce.infrastructure.persistence.connection import Connection, DeferredWrite, Query, Row
from taskforce.infrastructure.persistence.repositories.api_keys import KEYS
from taskforce.infrastructure.persistence.repository import Repository, newest, storable, storable_json, table, where

MAX_DETAILS_BYTES = 65_536
"""Largest details of an event, in bytes of canonical JSON in UTF-8; far below what the chain takes."""
MAX_DETAILS_DEPTH = 50
KEY_ISSUER = "key_issuer"
"""In the details of an event by an API key: the user who issued the key."""
MAX_TEXT = 4_000
"""Longest of an event's other texts, in characters."""
PLACES_PAGE = 10_000
"""Events that one statement looks at for the places of a period."""
_SMALL_MEMBERS = 20
_SMALL_TEXT = 200
_SMALL_NUMBER = 2**53

_EVENTS, _CHAIN, _ANCHORS = table(AuditRow), table(AuditChainRow), table(AuditAnchorRow)
_QUEUE = table(AuditUnsealedRow)


def _appending() -> Query:
    """Builds the statement that appends an event; by an API key, its details name who issued the key.

    It is looked up here, so that no use case forgets it: whoever issues a key in somebody's name acts as they do.
    """
    tenant, key_id = (sa.bindparam(f"of_{name}", type_=KEYS.c[name].type) for name in ("tenant_id", "key_id"))
    issued = sa.and_(KEYS.c.tenant_id == tenant, KEYS.c.key_id == key_id, KEYS.c.created_by != "")
    issuer = sa.select(sa.func.jsonb_build_object(KEY_ISSUER, KEYS.c.created_by)).where(issued).scalar_subquery()
    details = sa.bindparam("facts", type_=_EVENTS.c.details.type)
    told = details.op("||", return_type=_EVENTS.c.details.type)(sa.func.coalesce(issuer, sa.text("'{}'::jsonb")))
    return Query(
        sa.insert(_EVENTS).values(details=told), [column.name for column in _EVENTS.c if column.name != "details"]
    )


_APPEND = DeferredWrite(audited=_appending())
_PLACED = sa.and_(_CHAIN.c.tenant_id == _EVENTS.c.tenant_id, _CHAIN.c.audit_id == _EVENTS.c.audit_id)
_MOST = sa.bindparam("most", type_=sa.Integer())
_AFTER = sa.tuple_(
    sa.bindparam("after_at", type_=_EVENTS.c.at.type), sa.bindparam("after_id", type_=_EVENTS.c.audit_id.type)
)
# OFFSET 0 keeps it from becoming a join, which reads the tenant's whole log for each event where statistics are old.
_WAITING = (
    sa.select(_EVENTS)
    .where(_EVENTS.c.tenant_id == _QUEUE.c.tenant_id, _EVENTS.c.audit_id == _QUEUE.c.audit_id)
    .offset(sa.literal_column("0"))
    .lateral("waiting")
)
_FIRST = datetime.min.replace(tzinfo=UTC), str(UUID(int=0))
_UNSEALED = Query(
    sa.select(_WAITING)
    .select_from(_QUEUE.join(_WAITING, sa.true()))
    .where(where(_QUEUE), sa.tuple_(_QUEUE.c.at, _QUEUE.c.audit_id) > _AFTER)
    .order_by(_QUEUE.c.at, _QUEUE.c.audit_id)
    .limit(_MOST)
)
_LAST = Query(
    sa.select(_CHAIN.c.seq, _CHAIN.c.hash, sa.select(_EVENTS.c.at).where(_PLACED).scalar_subquery().label("at"))
    .where(where(_CHAIN))
    .order_by(_CHAIN.c.seq.desc())
    .limit(sa.literal(1))
)
_SEALED = Query(
    sa.select(_CHAIN.c.seq, _CHAIN.c.hash, _EVENTS)
    .join(_EVENTS, _PLACED)
    .where(where(_CHAIN), _CHAIN.c.seq > sa.bindparam("after"), _CHAIN.c.seq <= sa.bindparam("until"))
    .order_by(_CHAIN.c.seq)
    .limit(_MOST)
)
_DROPPED = Query(sa.select(_ANCHORS).where(where(_ANCHORS)).order_by(_ANCHORS.c.seq.desc()).limit(sa.literal(1)))
_AT = Query(sa.select(_CHAIN.c.seq, _CHAIN.c.hash).where(where(_CHAIN, "seq")))
# Of two concurrent sealers the second waits, then finds what the first has placed. A plan cached while the chain was
# short would scan all of it for each event, so custom plans are forced until the places are stored. Of a tenant that
# has grown since the last ANALYZE the planner would read and sort all that waits, for each batch; the key is in order.
_LOCK = Query(
    sa.text(
        "SELECT set_config('plan_cache_mode', 'force_custom_plan', true), set_config('enable_sort', 'off', true), "
        "set_config('enable_bitmapscan', 'off', true), set_config('enable_seqscan', 'off', true), "
        "pg_advisory_xact_lock(hashtextextended('audit:' || :tenant, 0))"
    )
)
# Foreign keys are checked by cached plans too, one for each row; those may stay cached.
_KEEP_PLANS = Query(sa.text("SELECT set_config('plan_cache_mode', 'auto', true)"))
_DROP = Query(sa.text("SELECT drop_sealed_audit_events(:older_than, :most)"))


def _placing() -> Query:
    """Builds one statement that places a batch of events: each column is one parameter, a list."""
    columns = [_CHAIN.c[name] for name in ("seq", "audit_id", "hash")]
    lists = [sa.bindparam(f"{column.name}s", type_=ARRAY(column.type)) for column in columns]
    named = (sa.column(column.name, column.type) for column in columns)
    rows = sa.func.unnest(*lists).table_valued(*named).render_derived()
    tenant = sa.bindparam("of_tenant_id", type_=_CHAIN.c.tenant_id.type)
    chosen = sa.select(tenant, *(rows.c[column.name] for column in columns))
    return Query(sa.insert(_CHAIN).from_select(["tenant_id", *(column.name for column in columns)], chosen))


def _finding_places() -> Query:
    """Builds the statement that finds the numbers of a page of events, and the last event of the page."""
    period = sa.and_(sa.tuple_(_EVENTS.c.at, _EVENTS.c.audit_id) > _AFTER, _EVENTS.c.at < sa.bindparam("until"))
    seq = sa.select(_CHAIN.c.seq).where(_PLACED).scalar_subquery()
    events = sa.select(_EVENTS.c.at, _EVENTS.c.audit_id, seq.label("seq")).where(where(_EVENTS), period)
    page = events.order_by(_EVENTS.c.at, _EVENTS.c.audit_id).limit(_MOST).cte("page")
    newest = sa.select(page.c.at, page.c.audit_id).order_by(page.c.at.desc(), page.c.audit_id.desc())
    last = newest.limit(sa.literal(1)).subquery("newest")
    numbers = sa.select(sa.func.min(page.c.seq).label("first"), sa.func.max(page.c.seq).label("last")).subquery(
        "numbers"
    )
    return Query(sa.select(numbers, last).select_from(last.join(numbers, sa.true())))


_PLACE = _placing()
_PLACES = _finding_places()


class AuditRepository(Repository):
    """Stores the append-only audit log and its hash chain; fulfils `Audit`.

    Args:
        connection: The connection, in a transaction.
        tenant_id: The tenant.
        contents: The content rules.
    """

    def __init__(self, connection: Connection, tenant_id: str, contents: ContentRules) -> None:
        super().__init__(connection, tenant_id)
        self._contents = contents

    async def append(self, event: AuditEvent) -> None:
        """Appends one event, committed together with the change that it records."""
        texts = {
            "actor_id": event.actor_id,
            "on_behalf_of": event.on_behalf_of,
            "channel": event.channel,
            "action": event.action,
            "resource_type": event.resource_type,
            "resource_id": event.resource_id,
            "outcome": event.outcome,
            "reason": None if event.reason is None else redact(event.reason, self._contents.secrets),
            "request_id": event.request_id,
        }
        values = {name: None if text is None else _short(text) for name, text in texts.items()}
        self._connection.facts.append(event)
        ids = {"tenant_id": self._tenant_id, "audit_id": new_id(), "key_id": event.key_id}
        of_key = {"of_tenant_id": self._tenant_id, "of_key_id": event.key_id}
        content = {} if event.content is None else self._contents.event_fields(event.content)
        facts = {**(event.details or {}), **content}
        details = _capped(facts) if facts else {}
        await self._connection.later(_APPEND, {**values, **ids, **of_key, "facts": details, "at": event.at})

    async def page(self, which: AuditFilter, page: Page) -> Sequence[AuditRecord]:
        """Returns a page of events, newest first."""
        query = sa.select(_EVENTS).where(_EVENTS.c.tenant_id == self._tenant_id)
        for name in ("actor_id", "action", "resource_type", "resource_id", "outcome"):
            wanted = getattr(which, name)
            query = query if wanted is None else query.where(_EVENTS.c[name] == _short(wanted))
        query = query if which.key_id is None else query.where(_EVENTS.c.key_id == which.key_id)
        query = query if which.since is None else query.where(_EVENTS.c.at >= which.since)
        query = query if which.until is None else query.where(_EVENTS.c.at < which.until)
        rows = await self._listed(newest(query, _EVENTS.c.at, _EVENTS.c.audit_id, page))
        return [_record(row) for row in rows]

    async def sealing(self) -> Anchor:
        """Locks the chain against other sealers; returns its end."""
        await self._connection.value(_LOCK, {"tenant": self._tenant_id})
        return (await self.end())[0]

    async def end(self) -> tuple[Anchor, datetime | None]:
        """Returns the end of the chain and the time of its last event; None when the chain holds none."""
        row = await self._connection.first(_LAST, self._of())
        return (await self.start(), None) if row is None else (self._anchor(row), row.at)

    async def start(self) -> Anchor:
        """Returns the start of the chain: its genesis, or the position after what was dropped."""
        row = await self._connection.first(_DROPPED, self._of())
        return Anchor.genesis(self._tenant_id) if row is None else self._anchor(row)

    async def anchor(self, seq: int) -> Anchor | None:
        """Returns the position after an event that is kept; None when there is no such event."""
        row = await self._connection.first(_AT, self._of(seq=seq))
        return None if row is None else self._anchor(row)

    async def unsealed(self, after: tuple[datetime, str] | None, most: int) -> Sequence[AuditRecord]:
        """Returns events without a place in the chain, in the order of time and id; after such a place, or all."""
        at, audit_id = after or _FIRST
        values = {**self._of(), "after_at": at, "after_id": audit_id, "most": most}
        return [_record(row) for row in await self._connection.all(_UNSEALED, values)]

    async def place(self, sealed: Sequence[Sealed]) -> None:
        """Stores the places of events, in one statement."""
        await self._connection.value(_KEEP_PLANS)
        columns = {
            "seqs": [one.seq for one in sealed],
            "audit_ids": [one.event["audit_id"] for one in sealed],
            "hashs": [one.hash for one in sealed],
        }
        await self._connection.change(_PLACE, {**self._of(), **columns})

    async def sealed(self, after: int, until: int, most: int) -> Sequence[Sealed]:
        """Returns events by their places, after one number and up to another."""
        rows = await self._connection.all(_SEALED, {**self._of(), "after": after, "until": until, "most": most})
        return [Sealed(row.seq, row.hash, _record(row).event()) for row in rows]

    async def places(self, since: datetime | None, until: datetime | None) -> tuple[int, int] | None:
        """Returns the numbers of the first and the last event of a period; None when there is none.

        It reads page by page, for no statement may take as long as a period of years.
        """
        values = {**self._of(), "until": until or datetime.max.replace(tzinfo=UTC), "most": PLACES_PAGE}
        at, audit_id = since or _FIRST[0], _FIRST[1]
        first: int | None = None
        last = 0
        while row := await self._connection.first(_PLACES, {**values, "after_at": at, "after_id": audit_id}):
            at, audit_id = row.at, row.audit_id
            if row.first is not None:
                first, last = min(row.first, first or row.first), max(row.last, last)
        return None if first is None else (first, last)

    async def drop(self, older_than: datetime, most: int) -> int:
        """Drops the beginning of the chain as far as its events are older, keeps its anchor, and returns the number."""
        return int(await self._connection.value(_DROP, {"older_than": older_than, "most": most}))

    def _anchor(self, row: Row) -> Anchor:
        return Anchor(self._tenant_id, row.seq, row.hash)


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
        key_id=row.key_id,
    )


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _short(text: str) -> str:
    stored = storable(text)
    return stored if len(stored) <= MAX_TEXT else f"{stored[: MAX_TEXT - 1]}…"


def _capped(details: Mapping[str, object]) -> Mapping[str, object]:
    """Returns the details, or a note in place of details that the chain could not take, so that it never stops."""
    try:
        stored: dict[str, object] = storable_json(details)
        content = json.dumps(stored, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return _cut(details, None)
    size = len(content.encode())
    return _cut(stored, content.encode()) if size > MAX_DETAILS_BYTES or _too_deep(stored) else stored


def _too_deep(details: Mapping[str, object]) -> bool:
    waiting: list[tuple[object, int]] = [(details, 1)]
    while waiting:
        part, depth = waiting.pop()
        if depth > MAX_DETAILS_DEPTH:
            return True
        parts = part.values() if isinstance(part, Mapping) else part if isinstance(part, list | tuple) else ()
        waiting += [(child, depth + 1) for child in parts if isinstance(child, Mapping | list | tuple)]
    return False


def _cut(details: Mapping[str, object], content: bytes | None) -> Mapping[str, object]:
    small = [(storable(str(name)), value) for name, value in details.items() if len(str(name)) <= _SMALL_TEXT]
    kept = {name: storable_json(value) for name, value in small if _is_small(value)}
    facts = {
        "cut": True,
        "size": None if content is None else len(content),
        "hash": None if content is None else hashlib.sha256(content).hexdigest(),
    }
    return {**dict(list(kept.items())[:_SMALL_MEMBERS]), **facts}


def _is_small(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= _SMALL_TEXT
    return value is None or (isinstance(value, int | float) and abs(value) < _SMALL_NUMBER)
