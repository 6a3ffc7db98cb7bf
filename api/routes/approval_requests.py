"""Requests for approval: made, read, decided."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response
from fastapi import Request as HttpRequest

from api import approval_decisions, run_dispatch
from api.auth.caller import Caller, Context, actor_of
from api.auth.guard import SignedIn, is_still_known
from api.auth.resource import agent_named
from api.composition import GatewayContext
from api.schemas.approval_requests import (
    CommentIn,
    DecisionIn,
    HistoryOut,
    ReassignmentIn,
    RejectionIn,
    RequestIn,
    RequestOut,
    WithdrawalIn,
    history_out,
)
from api.schemas.pages import PageOut
from api.web.headers import IdempotencyKey
from api.web.ndjson import ANCHOR, MEDIA_TYPE, LinesResponse, still
from api.web.pagination import Cursor, Limit, parse_place, place_cursor
from models.messages.approvals import ChangeInput
from taskforce.application.approval_handlers.registry import all_handlers
from taskforce.application.approvals import requests
from taskforce.application.approvals.approvers import may_decide
from taskforce.application.approvals.decisions import found
from taskforce.application.approvals.requests import Deployment, RequestDraft
from taskforce.application.approvals.results import begin_download, pieces
from taskforce.core.domain.approvals.approval import ApprovalStatus, Verdict
from taskforce.core.domain.approvals.definitions import PERMISSION_ESCALATION
from taskforce.core.domain.approvals.records import Approver, Request, RequestFilter
from taskforce.core.domain.json_limits import check_document
from taskforce.core.domain.paging import Page
from taskforce.core.interfaces.identity import Permission

PREFIX = "/admin/requests"
router = APIRouter(prefix=PREFIX, tags=["approvals"])

_RESULT: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {MEDIA_TYPE: {"schema": {"type": "string"}}},
        "headers": {ANCHOR: {"schema": {"type": "string"}, "description": "Where an export of the log must end"}},
    }
}
Anybody = Annotated[Caller, SignedIn]
Text = Annotated[str | None, Query(max_length=200)]


@router.get("/pending", name="list_pending")
async def list_pending(
    caller: Anybody, context: Context, limit: Limit = 20, cursor: Cursor = None
) -> PageOut[RequestOut]:
    """Open requests that the caller may decide now, and the caller's own; newest first.

    A page may be short although there is a next one: requests that are just about to close are passed over.
    """
    page = Page(limit + 1, parse_place(cursor))
    async with context.database.tenant(caller.tenant_id) as records:
        approver = await approval_decisions.who_asks(records, context, caller)
        pending = await records.requests.pending(page, approver)
    shown = [request for request in pending[:limit] if _listed(context, caller, approver, request)]
    return _page(context, approver, pending, limit, shown)


@router.get("", name="list_requests")
async def list_requests(
    caller: Anybody,
    context: Context,
    status: ApprovalStatus | None = None,
    request_type: Text = None,
    requester_id: Text = None,
    run_id: UUID | None = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> PageOut[RequestOut]:
    """Requests that the caller has made or may decide, whatever became of them; all of them for auditors."""
    run = None if run_id is None else str(run_id)
    which, page = RequestFilter(status, request_type, requester_id, run), Page(limit + 1, parse_place(cursor))
    async with context.database.tenant(caller.tenant_id) as records:
        approver = await approval_decisions.who_asks(records, context, caller)
        everything = Permission.AUDIT_READ in caller.permissions
        listed = await records.requests.page(which, page, None if everything else approver)
    return _page(context, approver, listed, limit, listed[:limit])


@router.post("", name="create_request", status_code=201)
async def create(
    asked: RequestIn, caller: Anybody, context: Context, http: HttpRequest, response: Response, key: IdempotencyKey
) -> RequestOut:
    """Asks people for something, under the tenant's definition of such requests; its workflow waits for them."""
    says = Deployment(context.definitions, context.agents.terms(), all_handlers(context.rules))
    wish = RequestDraft(
        asked.request_type,
        asked.title,
        asked.description,
        asked.resource_type,
        asked.resource_id,
        await _meant(context, caller, asked),
        asked.workflow_id,
    )
    made = await requests.create_request(
        context.database, actor_of(context, caller), wish, says, key, await http.json()
    )
    if made.request is not None:
        await run_dispatch.start_request(context, caller.tenant_id, made.request)
    else:
        response.headers["idempotency-replayed"] = "true"
    response.headers["location"] = f"/api/v1{PREFIX}/{made.request_id}"
    return await read_request(made.request_id, caller, context)


@router.get("/{request_id}", name="read_request")
async def read_request(request_id: str, caller: Anybody, context: Context) -> RequestOut:
    """One request, for its requester, for those who may decide it and for auditors."""
    request, approver = await approval_decisions.find(context, caller, request_id)
    return approval_decisions.out(context, approver, request)


@router.get("/{request_id}/history", name="read_request_history")
async def read_history(request_id: str, caller: Anybody, context: Context) -> HistoryOut:
    """What has happened to a request, oldest first."""
    request, _ = await approval_decisions.find(context, caller, request_id)
    async with context.database.tenant(caller.tenant_id) as records:
        return history_out(list(await records.requests.history(request.approval.request_id)))


@router.get("/{request_id}/result", response_class=Response, responses=_RESULT, name="download_request_result")
async def download_result(request_id: str, caller: Anybody, context: Context) -> LinesResponse:
    """What came of an approved request, for its requester and nobody else; it is kept for seven days.

    409 while it is not approved (`not_approved`) or still being made (`result_not_ready`), and 404 where there is
    nothing to be had (any more).
    """
    request, _ = await approval_decisions.find(context, caller, request_id)
    actor = actor_of(context, caller)
    download = await begin_download(context.database, actor, request.approval.request_id)
    result, anchor = download.result, download.result.state.get("end")
    headers = {
        "content-disposition": f'attachment; filename="{result.file_name}"',
        "content-length": str(result.size),
        **({ANCHOR: anchor} if isinstance(anchor, str) else {}),
    }
    reading = still(context, lambda: is_still_known(context, caller))
    return LinesResponse(pieces(context.database, download, reading), headers)


@router.post("/{request_id}/approve", name="approve_request")
async def approve(
    request_id: str,
    caller: Anybody,
    context: Context,
    response: Response,
    key: IdempotencyKey,
    said: DecisionIn | None = None,
) -> RequestOut:
    """Approves what the request asks for, or, with `arguments`, the same tool call with other arguments."""
    sent = said or DecisionIn()
    request, approver = await approval_decisions.find(context, caller, request_id, decides=True)
    actor, arguments = actor_of(context, caller), sent.arguments
    check_document(arguments, "arguments")
    propose = None if arguments is None else partial(requests.propose, context.database, actor, request, arguments)
    decision = approval_decisions.decision_of(
        caller, request, Verdict.APPROVE, sent.comment, sent.content_hash, for_run=sent.for_run
    )
    word = approval_decisions.Word(decision, key, _body(sent, Verdict.APPROVE), propose)
    approval_decisions.mark_replayed(response, await approval_decisions.say(context, caller, request, approver, word))
    return await read_request(request_id, caller, context)


@router.post("/{request_id}/reject", name="reject_request")
async def reject(
    request_id: str,
    caller: Anybody,
    context: Context,
    response: Response,
    key: IdempotencyKey,
    said: RejectionIn | None = None,
) -> RequestOut:
    """Rejects a request; the agent is told the comment."""
    sent = said or RejectionIn()
    request, approver = await approval_decisions.find(context, caller, request_id, decides=True)
    decision = approval_decisions.decision_of(caller, request, Verdict.REJECT, sent.comment, sent.content_hash)
    word = approval_decisions.Word(decision, key, _body(sent, Verdict.REJECT))
    approval_decisions.mark_replayed(response, await approval_decisions.say(context, caller, request, approver, word))
    return await read_request(request_id, caller, context)


@router.post("/{request_id}/withdraw", name="withdraw_request")
async def withdraw(request_id: str, caller: Anybody, context: Context, said: WithdrawalIn | None = None) -> RequestOut:
    """Takes a request back; a run that waits for it is told so."""
    comment = (said or WithdrawalIn()).comment
    return await _change(context, caller, request_id, _wish(caller, "withdraw", comment))


@router.post("/{request_id}/reassign", name="reassign_request")
async def reassign(request_id: str, caller: Anybody, context: Context, said: ReassignmentIn) -> RequestOut:
    """Lets others decide from now on: within the definition's people and roles, or anybody for who manages policies."""
    named = {name: tuple(who) for name, who in (("roles", said.roles), ("people", said.people)) if who}
    return await _change(context, caller, request_id, _wish(caller, "reassign", said.comment, **named))


@router.post("/{request_id}/comments", name="comment_on_request", status_code=201)
async def add_comment(request_id: str, caller: Anybody, context: Context, said: CommentIn) -> HistoryOut:
    """Says something about a request; answers its history."""
    request, _ = await approval_decisions.find(context, caller, request_id)
    await requests.comment(context.database, actor_of(context, caller), request.approval.request_id, said.comment)
    return await read_history(request_id, caller, context)


async def _meant(context: GatewayContext, caller: Caller, asked: RequestIn) -> Mapping[str, object]:
    """The payload, in which an agent is named by its id: whoever takes a slug must not inherit what is approved."""
    named = asked.payload.get("resource_id")
    of_agent = asked.request_type == PERMISSION_ESCALATION and asked.payload.get("resource_type") == "agent"
    if not of_agent or not isinstance(named, str):
        return asked.payload
    return {**asked.payload, "resource_id": await agent_named(context, caller.tenant_id, named)}


async def _change(context: GatewayContext, caller: Caller, request_id: str, wish: ChangeInput) -> RequestOut:
    request, approver = await approval_decisions.find(context, caller, request_id)
    known_id = request.approval.request_id
    change = approval_decisions.change_of(caller, request, wish, context.clock())
    await context.changing().check(caller.tenant_id, known_id, change)
    await approval_decisions.carry(
        context,
        caller.tenant_id,
        request,
        lambda: context.workflow_client.change_request(caller.tenant_id, known_id, wish),
    )
    # Whoever has handed it on may not be concerned any more, and sees once more what became of it.
    async with context.database.tenant(caller.tenant_id) as records:
        return approval_decisions.out(context, approver, await found(records, known_id))


def _wish(caller: Caller, kind: str, comment: str, **named: tuple[str, ...]) -> ChangeInput:
    said = {"actor_id": caller.user_id, "kind": kind, "comment": comment, "http_request": caller.request_id}
    return ChangeInput.model_validate({**said, **named, **approval_decisions.key_of(caller)})


def _body(sent: DecisionIn | RejectionIn, verdict: Verdict) -> Mapping[str, object]:
    return {"verdict": verdict.value, **sent.model_dump()}


def _listed(context: GatewayContext, caller: Caller, approver: Approver, request: Request) -> bool:
    own = request.approval.requester_id == caller.user_id
    return own or may_decide(request, approver, context.clock())


def _page(
    context: GatewayContext, approver: Approver, read: Sequence[Request], limit: int, shown: Sequence[Request]
) -> PageOut[RequestOut]:
    last = read[limit - 1].approval if len(read) > limit else None
    return PageOut[RequestOut].model_construct(
        items=[approval_decisions.out(context, approver, request) for request in shown],
        next_cursor=place_cursor(last.opened_at, last.request_id) if last else None,
    )
