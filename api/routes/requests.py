"""Requests for approval: those that wait for the caller, and the caller's word on them."""

from collections.abc import Mapping
from typing import Annotated

import structlog
from fastapi import APIRouter

from api.cursors import Cursor, Limit, parse_place, place_cursor
from api.dependencies import Caller, Parts, SignedIn
from api.parts import GatewayParts
from api.schemas.pages import PageOut
from api.schemas.requests import DecisionIn, RequestOut, request_out
from models.messages.approvals import DecisionInput, DecisionOutcome
from taskforce.application.deciding import Attempted, holds_role, may_decide
from taskforce.core.domain.approvals import ApprovalStatus, Channel, Verdict
from taskforce.core.domain.errors import Conflict, DomainError, Forbidden, Unavailable
from taskforce.core.domain.ids import missing, parse_id
from taskforce.core.interfaces.identity import Permission
from taskforce.core.interfaces.stored import Approver, Page, Request

router = APIRouter(prefix="/admin/requests", tags=["approvals"])

Anybody = Annotated[Caller, SignedIn]
_log = structlog.get_logger(__name__)
_REFUSALS: Mapping[str, type[DomainError]] = {
    "approver_unknown": Forbidden,
    "approver_role_missing": Forbidden,
    "request_closed": Conflict,
    "already_decided": Conflict,
    "self_approval": Conflict,
    "channel_refused": Conflict,
}
"""What the workflow may answer; any other code says that something went wrong behind the gateway."""


@router.get("/pending", name="list_pending")
async def list_pending(caller: Anybody, parts: Parts, limit: Limit = 20, cursor: Cursor = None) -> PageOut[RequestOut]:
    """Open requests that the caller may decide now, and the caller's own; newest first.

    A page may be short although there is a next one: requests that are just about to close are passed over.
    """
    roles = caller.roles
    page = Page(limit + 1, parse_place(cursor))
    async with parts.database.tenant(caller.tenant_id) as records:
        found = await records.requests.pending(page, Approver(caller.user_id, roles))
    shown = [request for request in found[:limit] if _listed(parts, caller, request)]
    last = found[limit - 1].approval if len(found) > limit else None
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
    await carry(parts, caller, request, verdict, said.comment if said else "")
    return _out(parts, caller, await _find(parts, caller, request_id))


async def carry(
    parts: GatewayParts, caller: Caller, request: Request, verdict: Verdict, comment: str
) -> ApprovalStatus:
    """Carries the caller's word to a request's workflow.

    Returns:
        Where the request stands now.

    Raises:
        Forbidden: The caller may not decide this request.
        Conflict: The request's state does not allow it.
        Unavailable: It could not be checked or recorded.
    """
    known_id = request.approval.request_id
    if request.closed_at is not None:
        raise Conflict("request_closed", f"The request is {request.status.value}; it takes no more decisions.")
    # Asked here as well as by the workflow: an open request takes a limited number of updates in its life.
    attempt = Attempted(caller.tenant_id, known_id, caller.user_id, Channel.API)
    await parts.deciding().authorize(attempt)
    if request.run_id is None:
        # The sweeper may not have come by yet.
        await parts.door.start_request(caller.tenant_id, request)
    decision = DecisionInput(approver_id=caller.user_id, verdict=verdict.value, comment=comment)
    outcome = await parts.door.decide(caller.tenant_id, known_id, decision)
    require_counted(outcome)
    return ApprovalStatus(outcome.status)


def require_counted(outcome: DecisionOutcome) -> None:
    """Raises what a decision that does not count was refused for.

    Raises:
        Forbidden: The approver may not decide this request.
        Conflict: The request's state does not allow it.
        Unavailable: `decision_failed`: it could not be checked or recorded.
    """
    if outcome.code is None:
        return
    refusal = _REFUSALS.get(outcome.code)
    if refusal is None:
        _log.warning("decision.failed", code=outcome.code)
        raise Unavailable(
            "decision_failed",
            "The decision could not be taken. Look at the request before you repeat it.",
            retry_after=5,
        )
    raise refusal(outcome.code, outcome.message or "The decision does not count.")


async def _find(parts: GatewayParts, caller: Caller, request_id: str) -> Request:
    known_id = parse_id(request_id, "request")
    async with parts.database.tenant(caller.tenant_id) as records:
        request = await records.requests.get(known_id)
    if request is None or not _may_know(parts, caller, request):
        raise missing("request")
    return request


def _may_know(parts: GatewayParts, caller: Caller, request: Request) -> bool:
    own = request.approval.requester_id == caller.user_id
    decides = holds_role(request, caller.roles)
    return own or decides or Permission.AUDIT_READ in caller.permissions


def _listed(parts: GatewayParts, caller: Caller, request: Request) -> bool:
    own = request.approval.requester_id == caller.user_id
    return own or may_decide(request, caller.user_id, caller.roles, parts.clock())


def _out(parts: GatewayParts, caller: Caller, request: Request) -> RequestOut:
    now = parts.clock()
    return request_out(request, now, can_decide=may_decide(request, caller.user_id, caller.roles, now))
