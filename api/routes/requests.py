"""Requests for approval: those that wait for the caller, and the caller's word on them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter

from api.cursors import Cursor, Limit, parse_place, place_cursor
from api.dependencies import Caller, Parts, SignedIn
from api.parts import GatewayParts
from api.schemas.pages import PageOut
from api.schemas.requests import DecisionIn, RequestOut, request_out
from models.messages.approvals import DecisionInput, DecisionOutcome
from taskforce.application.deciding import Attempted, holds_role, may_decide
from taskforce.core.domain.approvals import Channel, Verdict
from taskforce.core.domain.errors import Conflict, Forbidden
from taskforce.core.domain.ids import missing, parse_id
from taskforce.core.interfaces.identity import Permission
from taskforce.core.interfaces.records import Page, Request

router = APIRouter(prefix="/admin/requests", tags=["approvals"])

Anybody = Annotated[Caller, SignedIn]
BATCH = 100
MOST_BATCHES = 10
_FORBIDDEN = frozenset({"approver_unknown", "approver_role_missing"})


@router.get("/pending", name="list_pending")
async def list_pending(caller: Anybody, parts: Parts, limit: Limit = 20, cursor: Cursor = None) -> PageOut[RequestOut]:
    """Open requests that the caller may decide now, and the caller's own; newest first.

    A page may be short although there is a next one: others' requests are passed over.
    """
    found, more = await _scan(parts, caller, parse_place(cursor), limit)
    shown = [request for request in found if _listed(parts, caller, request)]
    last = found[-1].approval if more else None
    return PageOut[RequestOut].model_construct(
        items=[_out(parts, caller, request) for request in shown],
        next_cursor=place_cursor(last.opened_at, last.request_id) if last else None,
    )


@router.get("/{request_id}", name="read_request")
async def read_request(request_id: str, caller: Anybody, parts: Parts) -> RequestOut:
    """One request, for its requester, for those who may decide it and for auditors."""
    return _out(parts, caller, await _find(parts, caller, request_id))


@router.post("/{request_id}/approve", name="approve_request")
async def approve(request_id: str, caller: Anybody, parts: Parts, said: DecisionIn | None = None) -> RequestOut:
    """Approves exactly what the request's `payload` says."""
    return await _decide(parts, caller, request_id, Verdict.APPROVE, said)


@router.post("/{request_id}/reject", name="reject_request")
async def reject(request_id: str, caller: Anybody, parts: Parts, said: DecisionIn | None = None) -> RequestOut:
    """Rejects a request; the agent is told the comment."""
    return await _decide(parts, caller, request_id, Verdict.REJECT, said)


async def _decide(
    parts: GatewayParts, caller: Caller, request_id: str, verdict: Verdict, said: DecisionIn | None
) -> RequestOut:
    request = await _find(parts, caller, request_id)
    known_id = request.approval.request_id
    if request.closed_at is not None:
        raise Conflict("request_closed", f"The request is {request.status.value}; it takes no more decisions.")
    # Asked here as well as by the workflow: an open request takes a limited number of updates in its life.
    attempt = Attempted(caller.tenant_id, known_id, caller.user_id, Channel.API)
    await parts.deciding().authorize(attempt)
    comment = said.comment if said else ""
    decision = DecisionInput(approver_id=caller.user_id, verdict=verdict.value, comment=comment)
    _require_counted(await parts.door.decide(caller.tenant_id, known_id, decision))
    return _out(parts, caller, await _find(parts, caller, request_id))


def _require_counted(outcome: DecisionOutcome) -> None:
    if outcome.code is not None:
        kind = Forbidden if outcome.code in _FORBIDDEN else Conflict
        raise kind(outcome.code, outcome.message or "The decision does not count.")


async def _find(parts: GatewayParts, caller: Caller, request_id: str) -> Request:
    known_id = parse_id(request_id, "request")
    async with parts.database.tenant(caller.tenant_id) as records:
        request = await records.requests.get(known_id)
    if request is None or not _may_know(parts, caller, request):
        raise missing("request")
    return request


def _may_know(parts: GatewayParts, caller: Caller, request: Request) -> bool:
    own = request.approval.requester_id == caller.user_id
    decides = holds_role(request, caller.user, parts.clock(), parts.claims_age)
    return own or decides or Permission.AUDIT_READ in caller.permissions


def _listed(parts: GatewayParts, caller: Caller, request: Request) -> bool:
    own = request.approval.requester_id == caller.user_id
    return own or may_decide(request, caller.user, parts.clock(), parts.claims_age)


async def _scan(
    parts: GatewayParts, caller: Caller, before: tuple[datetime, str] | None, limit: int
) -> tuple[Sequence[Request], bool]:
    """Open requests up to the one that fills the page, others' included, and whether there may be more."""
    seen: list[Request] = []
    room = limit
    async with parts.database.tenant(caller.tenant_id) as records:
        for _ in range(MOST_BATCHES):
            batch = await records.requests.pending(Page(BATCH, before))
            for number, request in enumerate(batch, start=1):
                seen.append(request)
                room -= _listed(parts, caller, request)
                if room == 0:
                    return seen, number < len(batch) or len(batch) == BATCH
            if len(batch) < BATCH:
                return seen, False
            before = batch[-1].approval.opened_at, batch[-1].approval.request_id
    return seen, True


def _out(parts: GatewayParts, caller: Caller, request: Request) -> RequestOut:
    now = parts.clock()
    return request_out(request, now, can_decide=may_decide(request, caller.user, now, parts.claims_age))
