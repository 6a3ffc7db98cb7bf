"""Requests for approval in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert

from models.tables.approvals import ApprovalDecisionRow, ApprovalRow
from taskforce.core.domain.approvals import Approval, ApprovalStatus, Channel, Decision, Terms, Verdict
from taskforce.core.interfaces.stored import Approver, Page, Request
from taskforce.infrastructure.persistence.connection import Query, Row
from taskforce.infrastructure.persistence.rows import Codec, Repository, storable, storable_json, table, where

_REQUESTS, _DECISIONS = table(ApprovalRow), table(ApprovalDecisionRow)
_TERMS = Codec(Terms)
_PENDING = _REQUESTS.c.status == ApprovalStatus.PENDING.value
_ADD = Query(insert(_REQUESTS).on_conflict_do_nothing())
_GET = Query(sa.select(_REQUESTS).where(where(_REQUESTS, "request_id")))
_DECIDED = Query(insert(_DECISIONS).on_conflict_do_nothing())
_ASKED = _DECISIONS.c.request_id == sa.any_(sa.bindparam("requests", type_=ARRAY(_DECISIONS.c.request_id.type)))
_DECISIONS_OF = Query(sa.select(_DECISIONS).where(where(_DECISIONS), _ASKED).order_by(_DECISIONS.c.at))
_OPEN = where(_REQUESTS, "request_id") & _PENDING
_UNBEGUN = where(_REQUESTS, "request_id") & _REQUESTS.c.begun_at.is_(None)
_BEGIN = Query(sa.update(_REQUESTS).where(_UNBEGUN), sets=("begun_at",))
_CLOSE = Query(sa.update(_REQUESTS).where(_OPEN), sets=("status", "reason", "closed_at"))


class RequestRows(Repository):
    """See `Requests`."""

    async def add(self, request: Request) -> bool:
        """Adds a request; False when it is there already."""
        approval = request.approval
        values = {
            "tenant_id": self._tenant_id,
            "request_id": approval.request_id,
            "run_id": request.run_id,
            "step": request.step,
            "call": request.call,
            "request_type": request.request_type,
            "resource_type": request.resource_type,
            "resource_id": request.resource_id,
            "requester_id": approval.requester_id,
            "title": storable(request.title),
            "payload": storable_json(request.payload),
            "content_hash": request.content_hash,
            "terms": _TERMS.dump(approval.terms),
            "status": request.status.value,
            "opened_at": approval.opened_at,
            "closed_at": None,
            "reason": None,
            # A run asks by a workflow that is there already.
            "begun_at": None if request.run_id is None else approval.opened_at,
        }
        return await self._connection.change(_ADD, values) > 0

    async def get(self, request_id: str) -> Request | None:
        """One request with its decisions."""
        row = await self._connection.first(_GET, self._of(request_id=request_id))
        return None if row is None else _request(row, await self._decisions([request_id]))

    async def begin(self, request_id: str, now: datetime) -> None:
        """Marks that a request which no run waits for has its workflow."""
        await self._connection.change(_BEGIN, {**self._of(request_id=request_id), "begun_at": now})

    async def pending(self, page: Page, approver: Approver | None = None) -> Sequence[Request]:
        """Open requests, newest first: all, or an approver's own and those that still lack that approver's word."""
        query = sa.select(_REQUESTS).where(_REQUESTS.c.tenant_id == self._tenant_id, _PENDING)
        if approver is not None:
            query = query.where(_concerns(approver))
        if page.before is not None:
            at, request_id = page.before
            after = sa.tuple_(
                sa.literal(at, _REQUESTS.c.opened_at.type), sa.literal(request_id, _REQUESTS.c.run_id.type)
            )
            query = query.where(sa.tuple_(_REQUESTS.c.opened_at, _REQUESTS.c.request_id) < after)
        newest = query.order_by(_REQUESTS.c.opened_at.desc(), _REQUESTS.c.request_id.desc()).limit(page.limit)
        rows = await self._connection.all(newest)
        decisions = await self._decisions([row.request_id for row in rows])
        return [_request(row, decisions) for row in rows]

    async def decided(self, request_id: str, decision: Decision) -> bool:
        """Records a decision; False when the person's word is there already."""
        values = {
            "tenant_id": self._tenant_id,
            "request_id": request_id,
            "approver_id": decision.approver_id,
            "verdict": decision.verdict.value,
            "comment": storable(decision.comment),
            "channel": decision.channel.value,
            "at": decision.at,
        }
        return await self._connection.change(_DECIDED, values) > 0

    async def close(self, request_id: str, status: ApprovalStatus, reason: str, now: datetime) -> bool:
        """Ends an open request; False when it has ended already."""
        values = {"status": status.value, "reason": storable(reason), "closed_at": now}
        return await self._connection.change(_CLOSE, {**self._of(request_id=request_id), **values}) > 0

    async def _decisions(self, request_ids: Sequence[str]) -> dict[str, list[Decision]]:
        found: dict[str, list[Decision]] = {}
        for row in await self._connection.all(_DECISIONS_OF, {**self._of(), "requests": list(request_ids)}):
            decision = Decision(row.approver_id, Verdict(row.verdict), row.comment, Channel(row.channel), row.at)
            found.setdefault(row.request_id, []).append(decision)
        return found


def _concerns(approver: Approver) -> sa.ColumnElement[bool]:
    """Their own requests, and those that one of their roles decides and that they have not decided yet."""
    roles = sa.cast([storable(role) for role in sorted(approver.roles)], ARRAY(sa.Text))
    decided = sa.exists().where(
        _DECISIONS.c.tenant_id == _REQUESTS.c.tenant_id,
        _DECISIONS.c.request_id == _REQUESTS.c.request_id,
        _DECISIONS.c.approver_id == approver.user_id,
    )
    holds_role = _REQUESTS.c.terms["allowed_roles"].has_any(roles)
    return sa.or_(_REQUESTS.c.requester_id == approver.user_id, sa.and_(holds_role, ~decided))


def _request(row: Row, decisions: dict[str, list[Decision]]) -> Request:
    status = ApprovalStatus(row.status)
    return Request(
        approval=Approval(
            request_id=row.request_id,
            requester_id=row.requester_id,
            terms=_TERMS.load(row.terms),
            opened_at=row.opened_at,
            decisions=tuple(decisions.get(row.request_id, ())),
            withdrawn=status is ApprovalStatus.WITHDRAWN,
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
    )
