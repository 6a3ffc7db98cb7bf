"""Routes of approval requests: create, read, decide, withdraw, reassign."""

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response
from fastapi import Request as HttpRequest

from api.auth.caller import Caller, Context, actor_of
from api.auth.guard import SignedInTransient, is_still_known
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
    request_out,
)
from api.schemas.pages import PageOut
from api.web.headers import IdempotencyKey, mark_replayed
from api.web.ndjson import ANCHOR, MEDIA_TYPE, LinesResponse, still
from api.web.pagination import Cursor, Limit, page, parse_place, place_cursor
from taskforce.application.approvals import requests, submissions
from taskforce.application.approvals.approvers import may_decide
from taskforce.application.approvals.requests import Deployment, ListedRequests, RequestDraft
from taskforce.application.approvals.results import begin_download, pieces
from taskforce.application.approvals.submissions import ChangeDraft, DecisionDraft
from taskforce.application.late_start import start_or_leave
from taskforce.core.domain.approvals.approval import ApprovalStatus, Verdict
from taskforce.core.domain.approvals.definitions import PERMISSION_ESCALATION
from taskforce.core.domain.approvals.records import Approver, Request, RequestFilter
from taskforce.core.domain.approvals.terms import Deciders
from taskforce.core.domain.paging import Page

PREFIX = "/admin/requests"
router = APIRouter(prefix=PREFIX, tags=["approvals"])

_RESULT: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {MEDIA_TYPE: {"schema": {"type": "string"}}},
        "headers": {ANCHOR: {"schema": {"type": "string"}, "description": "Where an export of the log must end"}},
    }
}
Anybody = Annotated[Caller, SignedInTransient]
Text = Annotated[str | None, Query(max_length=200)]


@router.get("/pending", name="list_pending")
async def list_pending(
    caller: Anybody, context: Context, limit: Limit = 20, cursor: Cursor = None
) -> PageOut[RequestOut]:
    """Lists open requests that the caller may decide now, and the caller's own; newest first.

    A page may be short although there is a next one: requests that are just about to close are passed over.
    """
    actor, wanted = actor_of(context, caller), Page(limit + 1, parse_place(cursor))
    return _page(context, await requests.list_pending(context.database, actor, wanted), limit)


@router.get("", name="list_requests")
async def list_requests(
    caller: Anybody,
    context: Context,
    status: ApprovalStatus | None = None,
    *,
    request_type: Text = None,
    requester_id: Text = None,
    run_id: UUID | None = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> PageOut[RequestOut]:
    """Lists requests that the caller has made or may decide, in any status; auditors see all of them."""
    run = None if run_id is None else str(run_id)
    which, wanted = RequestFilter(status, request_type, requester_id, run), Page(limit + 1, parse_place(cursor))
    listed = await requests.list_requests(context.database, actor_of(context, caller), which, wanted)
    return _page(context, listed, limit)


@router.post("", name="create_request", status_code=201)
async def create(
    body: RequestIn, caller: Anybody, context: Context, *, http: HttpRequest, response: Response, key: IdempotencyKey
) -> RequestOut:
    """Creates an approval request under the tenant's definition of its type; its workflow waits for decisions."""
    says = Deployment(context.definitions, context.agents.terms(), context.use_cases.handlers)
    draft = RequestDraft(
        body.request_type,
        body.title,
        body.description,
        body.resource_type,
        body.resource_id,
        await _meant(context, caller, body),
        body.workflow_id,
    )
    made = await requests.create_request(
        context.database, actor_of(context, caller), draft, says, key=key, body=await http.json()
    )
    filed = made.request
    if filed is not None:
        await start_or_leave(lambda: context.workflow_client.approvals.start(caller.tenant_id, filed))
    mark_replayed(response, replayed=filed is None)
    response.headers["location"] = f"/api/v1{PREFIX}/{made.request_id}"
    return await read_request(made.request_id, caller, context)


@router.get("/{request_id}", name="read_request")
async def read_request(request_id: str, caller: Anybody, context: Context) -> RequestOut:
    """Returns one request, to its requester, to those who may decide it and to auditors."""
    found = await requests.find_request(context.database, actor_of(context, caller), request_id)
    return _out(context, found.approver, found.request)


@router.get("/{request_id}/history", name="read_request_history")
async def read_history(request_id: str, caller: Anybody, context: Context) -> HistoryOut:
    """Returns the history of a request, oldest event first."""
    return history_out(list(await requests.read_history(context.database, actor_of(context, caller), request_id)))


@router.get("/{request_id}/result", response_class=Response, responses=_RESULT, name="download_request_result")
async def download_result(request_id: str, caller: Anybody, context: Context) -> LinesResponse:
    """Returns the result of an approved request, to its requester only; it is kept for seven days.

    409 while the request is not approved (`not_approved`) or its result is still being made (`result_not_ready`), and
    404 where there is no result, or it is kept no more.
    """
    actor = actor_of(context, caller)
    found = await requests.find_request(context.database, actor, request_id)
    with context.in_flight.exports.take(caller.tenant_id, caller.user_id) as place:
        download = await begin_download(context.database, actor, found.request.approval.request_id)
        place.keep()
    result, anchor = download.result, download.result.state.get("end")
    headers = {
        "content-disposition": f'attachment; filename="{result.file_name}"',
        "content-length": str(result.size),
        **({ANCHOR: anchor} if isinstance(anchor, str) else {}),
    }
    reading = still(context, lambda: is_still_known(context, caller))
    return LinesResponse(pieces(context.database, download, reading), headers, place)


@router.post("/{request_id}/approve", name="approve_request")
async def approve(
    request_id: str,
    caller: Anybody,
    context: Context,
    *,
    response: Response,
    key: IdempotencyKey,
    body: DecisionIn | None = None,
) -> RequestOut:
    """Approves the request, or, with `arguments`, the same tool call with other arguments."""
    sent = body or DecisionIn()
    draft = DecisionDraft(
        Verdict.APPROVE,
        sent.comment,
        seen=sent.content_hash,
        for_run=sent.for_run,
        arguments=sent.arguments,
        key=key,
        body=_body(sent, Verdict.APPROVE),
    )
    return await _decided(context, caller, response, request_id, draft)


@router.post("/{request_id}/reject", name="reject_request")
async def reject(
    request_id: str,
    caller: Anybody,
    context: Context,
    *,
    response: Response,
    key: IdempotencyKey,
    said: RejectionIn | None = None,
) -> RequestOut:
    """Rejects a request; the agent receives the comment."""
    sent = said or RejectionIn()
    body = _body(sent, Verdict.REJECT)
    draft = DecisionDraft(Verdict.REJECT, sent.comment, seen=sent.content_hash, key=key, body=body)
    return await _decided(context, caller, response, request_id, draft)


@router.post("/{request_id}/withdraw", name="withdraw_request")
async def withdraw(request_id: str, caller: Anybody, context: Context, body: WithdrawalIn | None = None) -> RequestOut:
    """Withdraws a request; a run that waits for it goes on with the withdrawal as the outcome."""
    comment = (body or WithdrawalIn()).comment
    return await _changed(context, caller, request_id, ChangeDraft("withdraw", comment))


@router.post("/{request_id}/reassign", name="reassign_request")
async def reassign(request_id: str, caller: Anybody, context: Context, body: ReassignmentIn) -> RequestOut:
    """Reassigns a request: within the definition's people and roles, or to anybody for who manages policies."""
    to = Deciders(tuple(body.roles or ()), tuple(body.people or ()))
    return await _changed(context, caller, request_id, ChangeDraft("reassign", body.comment, to))


@router.post("/{request_id}/comments", name="comment_on_request", status_code=201)
async def add_comment(request_id: str, caller: Anybody, context: Context, body: CommentIn) -> HistoryOut:
    """Adds a comment to a request; answers with its history."""
    actor = actor_of(context, caller)
    found = await requests.find_request(context.database, actor, request_id)
    await requests.comment(context.database, actor, found.request.approval.request_id, body.comment)
    return await read_history(request_id, caller, context)


async def _meant(context: GatewayContext, caller: Caller, body: RequestIn) -> Mapping[str, object]:
    """Returns the payload with an agent named by its id: whoever takes over a slug must not inherit the approval."""
    named = body.payload.get("resource_id")
    of_agent = body.request_type == PERMISSION_ESCALATION and body.payload.get("resource_type") == "agent"
    if not of_agent or not isinstance(named, str):
        return body.payload
    return {**body.payload, "resource_id": await agent_named(context, caller.tenant_id, named)}


async def _decided(
    context: GatewayContext, caller: Caller, response: Response, request_id: str, draft: DecisionDraft
) -> RequestOut:
    ports, actor = context.decision_ports, actor_of(context, caller)
    found = await submissions.find_to_decide(ports, actor, request_id)
    mark_replayed(response, replayed=(await submissions.decide(ports, actor, found, draft)).replayed)
    return await read_request(request_id, caller, context)


async def _changed(context: GatewayContext, caller: Caller, request_id: str, draft: ChangeDraft) -> RequestOut:
    actor = actor_of(context, caller)
    found = await requests.find_request(context.database, actor, request_id)
    changed = await submissions.change(context.decision_ports, actor, found, draft)
    return _out(context, found.approver, changed)


def _body(sent: DecisionIn | RejectionIn, verdict: Verdict) -> Mapping[str, object]:
    return {"verdict": verdict.value, **sent.model_dump()}


def _out(context: GatewayContext, approver: Approver, request: Request) -> RequestOut:
    """Renders a request as the caller sees it."""
    now = context.clock()
    return request_out(request, now, can_decide=may_decide(request, approver, now))


def _page(context: GatewayContext, listed: ListedRequests, limit: int) -> PageOut[RequestOut]:
    read, hidden = listed.read, listed.hidden
    shown = (one for one in read[:limit] if one.approval.request_id not in hidden)
    return page(
        PageOut[RequestOut],
        (_out(context, listed.approver, one) for one in shown),
        found=read,
        limit=limit,
        cursor_of=lambda last: place_cursor(last.approval.opened_at, last.approval.request_id),
    )
