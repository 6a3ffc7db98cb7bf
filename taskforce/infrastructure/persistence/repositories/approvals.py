"""Repository of approval requests in PostgreSQL."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert

from models.tables.approvals import (
    ApprovalDecisionRow,
    ApprovalEditRow,
    ApprovalHappeningRow,
    ApprovalReaderRow,
    ApprovalRow,
)
from taskforce.core.domain.approvals.approval import Approval, ApprovalStatus, Channel, Decision, Verdict
from taskforce.core.domain.approvals.parties import Party
from taskforce.core.domain.approvals.records import (
    MOST_MATCHES,
    Approver,
    HistoryEntry,
    Matches,
    Request,
    RequestFilter,
)
from taskforce.core.domain.approvals.terms import Deciders, Terms
from taskforce.core.domain.json_limits import Json
from taskforce.core.domain.paging import Page
from taskforce.infrastructure.persistence.connection import Query, Row
from taskforce.infrastructure.persistence.repository import (
    Codec,
    Repository,
    newest,
    storable,
    storable_json,
    table,
    where,
)

_REQUESTS, _DECISIONS = table(ApprovalRow), table(ApprovalDecisionRow)
_EDITS, _HAPPENINGS = table(ApprovalEditRow), table(ApprovalHappeningRow)
_READERS = table(ApprovalReaderRow)
_TERMS = Codec(Terms)
_PENDING = _REQUESTS.c.status == ApprovalStatus.PENDING.value
_SAME_REQUEST = sa.and_(
    *(_READERS.c[name] == _REQUESTS.c[name] for name in ("tenant_id", "request_id", "opened_at", "status"))
)
_REQUESTER = "requester:"
_ADD = Query(insert(_REQUESTS).on_conflict_do_nothing())
_GET = sa.select(_REQUESTS).where(where(_REQUESTS, "request_id"))
_READ, _LOCK = Query(_GET), Query(_GET.with_for_update())
_DECIDED, _PROPOSE, _HAPPENED = (
    Query(insert(one).on_conflict_do_nothing()) for one in (_DECISIONS, _EDITS, _HAPPENINGS)
)
_ASKED = _DECISIONS.c.request_id == sa.any_(sa.bindparam("requests", type_=ARRAY(_DECISIONS.c.request_id.type)))
_DECISIONS_OF = Query(sa.select(_DECISIONS).where(where(_DECISIONS), _ASKED).order_by(_DECISIONS.c.at))
_OPEN = where(_REQUESTS, "request_id") & _PENDING
_STANDS = ("roles", "people", "acted", "current_hash", "edited", "for_run")
_SAVE = Query(sa.update(_REQUESTS).where(where(_REQUESTS, "request_id")), sets=_STANDS)
_CLOSE = Query(sa.update(_REQUESTS).where(_OPEN), sets=("status", "reason", "closed_at"))
_UNSTARTED = _REQUESTS.c.started_at.is_(None)
_START = Query(sa.update(_REQUESTS).where(_OPEN, _UNSTARTED), sets=("started_at",))
_PROPOSAL = Query(sa.select(_EDITS.c.payload).where(where(_EDITS, "request_id", "content_hash")))
_HISTORY = Query(
    sa.select(_HAPPENINGS)
    .where(where(_HAPPENINGS, "request_id"))
    .order_by(_HAPPENINGS.c.at.desc(), _HAPPENINGS.c.happening.desc())
    .limit(sa.literal(2_000))
)
_ONE_HAPPENING = Query(sa.select(_HAPPENINGS).where(where(_HAPPENINGS, "request_id", "happening")))
_OF_KIND = Query(
    sa.select(_HAPPENINGS)
    .where(where(_HAPPENINGS, "request_id", "kind"))
    .order_by(_HAPPENINGS.c.at, _HAPPENINGS.c.happening)
)
_APPROVED_FOR_RUN = sa.and_(_REQUESTS.c.for_run, _REQUESTS.c.status == ApprovalStatus.APPROVED.value)
_GRANT = sa.select(_REQUESTS.c.resource_id, _REQUESTS.c.terms)
_GRANTED = Query(_GRANT.where(where(_REQUESTS, "run_id"), _APPROVED_FOR_RUN))


_DEFINITIONS = sa.func.unnest(sa.bindparam("definitions", type_=ARRAY(sa.Text)))
_DEFINITION = _DEFINITIONS.table_valued("definition_id", name="asked").render_derived()
_UNDER = sa.and_(where(_REQUESTS), _REQUESTS.c.definition_id == _DEFINITION.c.definition_id)
_SOME = sa.select(sa.literal(1)).where(_UNDER).limit(sa.literal(MOST_MATCHES)).correlate(_DEFINITION).lateral("some")
_TIMES = sa.select(sa.func.count()).select_from(_SOME).scalar_subquery()
_LAST = sa.select(sa.func.max(_REQUESTS.c.opened_at)).where(_UNDER).correlate(_DEFINITION).scalar_subquery()
_MATCHES = Query(sa.select(_DEFINITION.c.definition_id, _TIMES.label("times"), _LAST.label("last_at")))

PENDING_BY_TENANT = Query(
    sa.select(_REQUESTS.c.tenant_id, sa.func.count().label("number"), sa.func.min(_REQUESTS.c.opened_at).label("since"))
    .where(sa.text("status = 'pending'"))
    .group_by(_REQUESTS.c.tenant_id)
    .order_by(sa.func.count().desc())
    .limit(sa.bindparam("most", type_=sa.Integer()))
)
"""The requests that wait for people, of all tenants; those with the most first."""


class RequestRepository(Repository):
    """Stores requests for approval; fulfils `Requests`."""

    async def add(self, request: Request) -> bool:
        """Adds a request; False when it exists already. A run's request counts as started from the beginning."""
        approval = request.approval
        values = {
            "tenant_id": self._tenant_id,
            "request_id": approval.request_id,
            "run_id": request.run_id,
            "step": request.step,
            "call": request.call,
            "request_type": request.request_type,
            "resource_type": request.resource_type,
            "resource_id": storable(request.resource_id),
            "requester_id": approval.requester_id,
            "title": storable(request.title),
            "payload": storable_json(request.payload),
            "content_hash": request.content_hash,
            "terms": _TERMS.dump(approval.terms),
            "status": request.status.value,
            "opened_at": approval.opened_at,
            "sweep_at": approval.opened_at,
            "closed_at": None,
            "reason": None,
            "definition_id": request.definition_id,
            "description": storable(request.description),
            "key_id": request.key_id,
            "started_at": None if request.run_id is None else approval.opened_at,
            **_stands(request),
        }
        return await self._connection.change(_ADD, values) > 0

    async def get(self, request_id: str) -> Request | None:
        """Returns one request with its decisions."""
        return await self._one(_READ, request_id)

    async def locked(self, request_id: str) -> Request | None:
        """Returns one request, locked until this transaction ends."""
        return await self._one(_LOCK, request_id)

    async def _one(self, query: Query, request_id: str) -> Request | None:
        row = await self._connection.first(query, self._of(request_id=request_id))
        return None if row is None else _request(row, await self._decisions([request_id]))

    async def page(self, which: RequestFilter, page: Page, known_to: Approver | None = None) -> Sequence[Request]:
        """Returns a page of requests, newest first: all, or those that a user requested or may decide."""
        if known_to is not None:
            statuses = ApprovalStatus if which.status is None else (which.status,)
            conditions = _equal(_READERS, which, "request_type", "requester_id")
            of_run = _equal(_REQUESTS, which, "run_id")
            return await self._known(known_to, statuses, conditions, of_run, page)
        conditions = _equal(_REQUESTS, which, "status", "request_type", "requester_id", "run_id")
        return await self._newest(sa.select(_REQUESTS).where(*conditions), page)

    async def pending(self, page: Page, approver: Approver | None = None) -> Sequence[Request]:
        """Returns open requests, newest first: all, or an approver's own and undecided ones."""
        if approver is None:
            return await self._newest(sa.select(_REQUESTS).where(_PENDING), page)
        own = _READERS.c.reader == sa.literal(storable(f"{_REQUESTER}{approver.user_id}"))
        return await self._known(approver, [ApprovalStatus.PENDING], [], [own | ~_decided_by(approver)], page)

    async def _known(
        self,
        approver: Approver,
        statuses: Iterable[ApprovalStatus],
        conditions: Sequence[sa.ColumnElement[bool]],
        of_request: Sequence[sa.ColumnElement[bool]],
        page: Page,
    ) -> Sequence[Request]:
        """Returns requests that concern a user, by the indexes of readers: in each status of each reader a page.

        Args:
            approver: The user.
            statuses: The statuses.
            conditions: Conditions on columns of readers.
            of_request: Conditions on columns of requests.
            page: The page.
        """
        readers = sa.cast([storable(reader) for reader in _readers(approver)], ARRAY(sa.Text))
        reader = sa.func.unnest(readers).table_valued("reader").render_derived(name="asked")
        status = sa.func.unnest(sa.cast([one.value for one in statuses], ARRAY(sa.Text)))
        each = status.table_valued("status").render_derived(name="each")
        keys = sa.select(_READERS.c.opened_at, _READERS.c.request_id).where(
            _READERS.c.tenant_id == self._tenant_id,
            _READERS.c.reader == reader.c.reader,
            _READERS.c.status == each.c.status,
            *conditions,
        )
        if of_request:
            keys = keys.join(_REQUESTS, _SAME_REQUEST).where(*of_request)
        of_one = newest(keys, _READERS.c.opened_at, _READERS.c.request_id, page).lateral("of_one")
        every = sa.select(of_one).select_from(reader.join(each, sa.true()).join(of_one, sa.true())).distinct()
        chosen = newest(every, of_one.c.opened_at, of_one.c.request_id, page).subquery("chosen")
        query = sa.select(_REQUESTS).join(chosen, _REQUESTS.c.request_id == chosen.c.request_id)
        return await self._newest(query, page)

    async def _newest(self, query: sa.Select[Any], page: Page) -> Sequence[Request]:
        own = query.where(_REQUESTS.c.tenant_id == self._tenant_id)
        rows = await self._listed(newest(own, _REQUESTS.c.opened_at, _REQUESTS.c.request_id, page))
        decisions = await self._decisions([row.request_id for row in rows])
        return [_request(row, decisions) for row in rows]

    async def decided(self, request_id: str, decision: Decision) -> bool:
        """Stores a decision; False when the person's decision on this content exists already."""
        values = {
            "tenant_id": self._tenant_id,
            "request_id": request_id,
            "approver_id": decision.approver_id,
            "content_hash": decision.content or "",
            "verdict": decision.verdict.value,
            "comment": storable(decision.comment),
            "channel": decision.channel.value,
            "at": decision.at,
            "on_behalf_of": decision.on_behalf_of,
            "key_id": decision.key_id,
            "party": None if decision.party is None else sorted(decision.party.people),
            "sponsors": None if decision.party is None else sorted(decision.party.sponsors),
        }
        return await self._connection.change(_DECIDED, values) > 0

    async def save(self, request: Request) -> None:
        """Stores who may decide now, the requested content, and the number of timed actions that have happened."""
        keyed = self._of(request_id=request.approval.request_id)
        await self._connection.change(_SAVE, {**keyed, **_stands(request)})

    async def start(self, request_id: str, now: datetime) -> bool:
        """Marks a request as having a workflow; False when it had one before."""
        return await self._connection.change(_START, {**self._of(request_id=request_id), "started_at": now}) > 0

    async def close(self, request_id: str, status: ApprovalStatus, reason: str, now: datetime) -> bool:
        """Closes an open request; False when it is closed already."""
        values = {"status": status.value, "reason": storable(reason), "closed_at": now}
        return await self._connection.change(_CLOSE, {**self._of(request_id=request_id), **values}) > 0

    async def propose(self, request_id: str, content_hash: str, payload: Json, author_id: str, now: datetime) -> None:
        """Stores the arguments that an approver proposes; they count once they are approved."""
        keyed = {"tenant_id": self._tenant_id, "request_id": request_id, "content_hash": content_hash}
        said = {"author_id": author_id, "payload": storable_json(payload), "at": now}
        await self._connection.change(_PROPOSE, {**keyed, **said})

    async def proposal(self, request_id: str, content_hash: str) -> Json | None:
        """Returns the arguments that an approver proposed."""
        keyed = self._of(request_id=request_id, content_hash=content_hash)
        found: Json | None = await self._connection.value(_PROPOSAL, keyed)
        return found

    async def happened(self, request_id: str, happening: HistoryEntry) -> bool:
        """Adds an event to the history; False when it is there already."""
        values = {
            "tenant_id": self._tenant_id,
            "request_id": request_id,
            "happening": happening.name,
            "kind": happening.kind,
            "actor_id": storable(happening.actor_id),
            "comment": storable(happening.comment),
            "data": storable_json(happening.data),
            "at": happening.at,
        }
        return await self._connection.change(_HAPPENED, values) > 0

    async def happening(self, request_id: str, name: str) -> HistoryEntry | None:
        """Returns the history's event of a name; None when it has not happened."""
        row = await self._connection.first(_ONE_HAPPENING, self._of(request_id=request_id, happening=name))
        return None if row is None else _happening(row)

    async def happenings(self, request_id: str, kind: str) -> Sequence[HistoryEntry]:
        """Returns the history's events of one kind, oldest first, however many."""
        rows = await self._connection.all(_OF_KIND, self._of(request_id=request_id, kind=kind))
        return [_happening(row) for row in rows]

    async def history(self, request_id: str) -> Sequence[HistoryEntry]:
        """Returns the history, oldest event first; of a very long one the latest 2,000."""
        rows = await self._connection.all(_HISTORY, self._of(request_id=request_id))
        return [_happening(row) for row in reversed(rows)]

    async def granted_for_run(self, run_id: str) -> Mapping[str, Sequence[Terms]]:
        """Returns the tools that were approved for the rest of a run, each with the terms of its approvals."""
        found: dict[str, list[Terms]] = {}
        for row in await self._connection.all(_GRANTED, self._of(run_id=run_id)):
            found.setdefault(row.resource_id, []).append(_TERMS.load(row.terms))
        return found

    async def matches(self, definition_ids: Sequence[str]) -> Mapping[str, Matches]:
        """Counts the requests that were made under each definition."""
        rows = await self._connection.all(_MATCHES, {**self._of(), "definitions": list(definition_ids)})
        return {row.definition_id: Matches(row.times, row.last_at) for row in rows}

    async def _decisions(self, request_ids: Sequence[str]) -> dict[str, list[Decision]]:
        found: dict[str, list[Decision]] = {}
        if request_ids:
            for row in await self._connection.all(_DECISIONS_OF, {**self._of(), "requests": list(request_ids)}):
                found.setdefault(row.request_id, []).append(_decision(row))
        return found


def _equal(source: sa.Table, which: RequestFilter, *names: str) -> list[sa.ColumnElement[bool]]:
    """Builds the conditions of a filter's fields on the columns of the same names."""
    wanted = ((name, getattr(which, name)) for name in names)
    return [source.c[name] == storable(value) for name, value in wanted if value is not None]


def _readers(approver: Approver) -> Iterator[str]:
    """Yields what the table of readers calls a user, and those for whom the user may decide."""
    yield f"{_REQUESTER}{approver.user_id}"
    for one in (approver, *approver.stands_for):
        yield f"user:{one.user_id}"
        yield from (f"role:{role}" for role in one.roles)


def _decided_by(approver: Approver) -> sa.ColumnElement[bool]:
    """Selects requests whose present content a user has decided on."""
    return sa.exists().where(
        _DECISIONS.c.tenant_id == _REQUESTS.c.tenant_id,
        _DECISIONS.c.request_id == _REQUESTS.c.request_id,
        _DECISIONS.c.content_hash.in_(("", _REQUESTS.c.current_hash)),
        _DECISIONS.c.approver_id == approver.user_id,
    )


def _stands(request: Request) -> dict[str, object]:
    approval = request.approval
    return {
        "roles": [storable(role) for role in approval.who.roles],
        "people": [storable(person) for person in approval.who.people],
        "acted": approval.acted,
        "current_hash": approval.content or request.content_hash,
        "edited": None if request.edited is None else storable_json(request.edited),
        "for_run": request.for_run,
    }


def _happening(row: Row) -> HistoryEntry:
    return HistoryEntry(row.happening, row.kind, row.actor_id, row.at, row.comment, row.data)


def _decision(row: Row) -> Decision:
    return Decision(
        row.approver_id,
        Verdict(row.verdict),
        row.comment,
        Channel(row.channel),
        row.at,
        row.on_behalf_of,
        row.content_hash or None,
        row.key_id,
        None if row.party is None else Party(frozenset(row.party), frozenset(row.sponsors or ())),
    )


def _request(row: Row, decisions: dict[str, list[Decision]]) -> Request:
    status = ApprovalStatus(row.status)
    terms = _TERMS.load(row.terms)
    deciders = Deciders(tuple(row.roles), tuple(row.people))
    return Request(
        approval=Approval(
            request_id=row.request_id,
            requester_id=row.requester_id,
            terms=terms,
            opened_at=row.opened_at,
            decisions=tuple(decisions.get(row.request_id, ())),
            withdrawn=status is ApprovalStatus.WITHDRAWN,
            content=row.current_hash,
            deciders=None if deciders == terms.deciders else deciders,
            acted=row.acted,
            voided=status is ApprovalStatus.VOIDED,
        ),
        run_id=row.run_id,
        step=row.step,
        call=row.call,
        request_type=row.request_type,
        resource_type=row.resource_type,
        resource_id=row.resource_id,
        title=row.title,
        payload=row.payload,
        content_hash=row.content_hash,
        status=status,
        closed_at=row.closed_at,
        reason=row.reason,
        definition_id=row.definition_id,
        description=row.description,
        edited=row.edited,
        for_run=row.for_run,
        key_id=row.key_id,
    )
