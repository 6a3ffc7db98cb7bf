"""Approval requests of users: creation, lists, comments and edits."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from taskforce.application.access.policy_documents import policy_now
from taskforce.application.approvals.approvers import actor_as_approver, concerns, may_decide
from taskforce.application.approvals.decisions import locked
from taskforce.application.approvals.definitions import definitions_of
from taskforce.application.approvals.handler import TOOL_CALL, DefaultHandler, RequestHandler, approved_hash
from taskforce.application.approvals.history import HistoryEvent, record_event
from taskforce.application.approvals.payload_schemas import check_payload
from taskforce.application.idempotency import IdempotentCall, claim, earlier
from taskforce.application.identity.principals import Actor
from taskforce.application.tenant_threads import in_thread
from taskforce.core.domain.access.decisions import decide, subject_of
from taskforce.core.domain.access.policies import Resource
from taskforce.core.domain.approvals.approval import Approval
from taskforce.core.domain.approvals.definitions import Definition, DefinitionRules, check_known, choose
from taskforce.core.domain.approvals.records import Approver, HistoryEntry, Request, RequestFilter
from taskforce.core.domain.approvals.terms import Terms
from taskforce.core.domain.errors import Conflict, Invalid
from taskforce.core.domain.ids import missing, new_id, parse_id
from taskforce.core.domain.json_limits import Json, check_document, check_texts
from taskforce.core.domain.paging import Page
from taskforce.core.interfaces.identity import Permission, ResourceType
from taskforce.core.interfaces.store import Records, Store

ROUTE = "requests"
_OVER_HTTP: Final[Mapping[str, object]] = {"channel": "api"}
MAX_PAYLOAD = 65_536
"""Characters of a payload, as JSON."""
_MADE_ELSEWHERE: Final = {TOOL_CALL: "the run that wants the call", "agent_publish": "submitting the version"}


@dataclass(frozen=True, slots=True)
class ApprovalRequestSpec:
    """A request to be created, with its terms.

    Attributes:
        request_type: The request type.
        title: The title, for lists.
        description: The reason, for the approvers.
        resource_type: The type of the resource that it concerns.
        resource_id: The id of the resource.
        payload: The content that is approved.
        terms: The terms of the decision.
        definition_id: The definition that the terms come from, if any.
    """

    request_type: str
    title: str
    description: str
    resource_type: str
    resource_id: str
    payload: Json
    terms: Terms
    definition_id: str | None = None


@dataclass(frozen=True, slots=True)
class RequestDraft:
    """A request that a user submits.

    Attributes:
        request_type: The request type.
        title: The title, for lists.
        description: The reason, for the approvers.
        resource_type: The type of the resource that it concerns.
        resource_id: The id of the resource.
        payload: The content that is approved.
        definition_id: The definition, where there are several of the type; None for the one that `choose` finds.
    """

    request_type: str
    title: str
    description: str
    resource_type: str
    resource_id: str
    payload: Json
    definition_id: str | None = None


@dataclass(frozen=True, slots=True)
class Deployment:
    """The deployment's configuration of requests.

    Attributes:
        rules: Its approval definitions.
        usual: The terms of requests without a definition.
        handlers: The handlers of requests by request type.
    """

    rules: DefinitionRules
    usual: Terms
    handlers: Mapping[str, RequestHandler]


@dataclass(frozen=True, slots=True)
class CreatedRequest:
    """A request that is committed.

    Attributes:
        request_id: Its id.
        replayed: Whether an earlier HTTP request with the same idempotency key created it.
        request: The request; None for a replayed one.
    """

    request_id: str
    replayed: bool = False
    request: Request | None = None


@dataclass(frozen=True, slots=True)
class FoundRequest:
    """A request that is visible to a user, and the user as an approver.

    Attributes:
        request: The request.
        approver: The user, with current roles and delegations.
    """

    request: Request
    approver: Approver


@dataclass(frozen=True, slots=True)
class ListedRequests:
    """A page of requests, and its reader as an approver.

    Attributes:
        read: The requests of the page, and one more where there is a next page.
        approver: The reader, with current roles and delegations.
        hidden: The ids of those that are not shown; they stay in the page so that its cursor is right.
    """

    read: Sequence[Request]
    approver: Approver
    hidden: frozenset[str] = frozenset()


async def look_up(store: Store, actor: Actor, request_id: str) -> tuple[Request | None, FoundRequest | None]:
    """Looks a request up, and tells whether it is visible to the actor.

    Returns:
        The request, None where there is none; and the request with the actor as an approver, None where it is not
        visible to them.

    Raises:
        Missing: `request_not_found`: the id is malformed.
    """
    known_id = parse_id(request_id, "request")
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        request = await records.requests.get(known_id)
        approver = await actor_as_approver(records, actor)
        known = request is not None and (_concerned(actor, approver, request) or await _audits(records, actor))
    if request is None or not known:
        return request, None
    return request, FoundRequest(request, approver)


async def concerning(store: Store, actor: Actor, request: Request) -> FoundRequest:
    """Loads the actor as an approver of a request that was found by its resource."""
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        return FoundRequest(request, await actor_as_approver(records, actor))


async def find_request(store: Store, actor: Actor, request_id: str) -> FoundRequest:
    """Finds a request; it is visible to its requester, to those who may decide or have decided it, and to auditors.

    Raises:
        Missing: `request_not_found`: there is none, or it is not visible to the actor.
    """
    _, concerned = await look_up(store, actor, request_id)
    if concerned is None:
        raise missing("request")
    return concerned


def _concerned(actor: Actor, approver: Approver, request: Request) -> bool:
    user_id = actor.principal.user.user_id
    own = request.approval.requester_id == user_id
    spoke = any(user_id in decision.people for decision in request.approval.decisions)
    return own or spoke or concerns(request, approver)


async def _audits(records: Records, actor: Actor) -> bool:
    """Tells whether the actor may read all requests, as the audit log is read: by role, and the tenant's policy."""
    principal, needed = actor.principal, Permission.AUDIT_READ
    if needed not in principal.permissions:
        return False
    log = Resource(ResourceType.AUDIT, None, records.tenant_id)
    policy, subject = await policy_now(records), subject_of(principal)
    return decide(policy, subject, needed, log, context=_OVER_HTTP, now=actor.now).decision.allowed


async def list_pending(store: Store, actor: Actor, page: Page) -> ListedRequests:
    """Lists the open requests that the actor may decide now, and the actor's own."""
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        approver = await actor_as_approver(records, actor)
        pending = await records.requests.pending(page, approver)
    user_id = actor.principal.user.user_id
    shown = (one for one in pending if one.approval.requester_id == user_id or may_decide(one, approver, actor.now))
    hidden = {one.approval.request_id for one in pending} - {one.approval.request_id for one in shown}
    return ListedRequests(pending, approver, frozenset(hidden))


async def list_requests(store: Store, actor: Actor, which: RequestFilter, page: Page) -> ListedRequests:
    """Lists requests of any status that the actor has made or may decide; for auditors, all requests."""
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        approver, everything = await actor_as_approver(records, actor), await _audits(records, actor)
        return ListedRequests(await records.requests.page(which, page, None if everything else approver), approver)


async def read_history(store: Store, actor: Actor, request_id: str) -> Sequence[HistoryEntry]:
    """Reads the history of a request, oldest first.

    Raises:
        Missing: As `find_request`.
    """
    concerned = await find_request(store, actor, request_id)
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        return await records.requests.history(concerned.request.approval.request_id)


async def create_request(
    store: Store,
    actor: Actor,
    draft: RequestDraft,
    deployment: Deployment,
    *,
    key: str | None,
    body: Mapping[str, object],
) -> CreatedRequest:
    """Creates a request; the caller starts its workflow after the commit.

    Args:
        store: The tenants' data.
        actor: The requester.
        draft: The request.
        deployment: The deployment's configuration of requests.
        key: The idempotency key of the HTTP request, if any.
        body: The body of the HTTP request, to tell a repeated request from another one.

    Raises:
        Missing: `workflow_not_found`: there is no such definition for requests of this type.
        Conflict: `request_type_reserved`: the product itself creates requests of this type.
        Invalid: `request_type_unknown`, `payload_invalid`, `payload_too_large`, `idempotency_key_reused`, or what
            `check_document` refuses.
    """
    if draft.request_type in _MADE_ELSEWHERE:
        raise Conflict(
            "request_type_reserved", f"A request of this type is made by {_MADE_ELSEWHERE[draft.request_type]}."
        )
    check_document(draft.payload, "payload")
    if len(json.dumps(draft.payload)) > MAX_PAYLOAD:
        raise Invalid("payload_too_large", f"`payload` may hold at most {MAX_PAYLOAD} characters of JSON.")
    tenant_id, user_id = actor.principal.tenant.tenant_id, actor.principal.user.user_id
    keyed = IdempotentCall(user_id, ROUTE, key, body)
    async with store.tenant(tenant_id) as records:
        first = await earlier(records, keyed)
        if first is not None:
            return CreatedRequest(str(first["request_id"]), replayed=True)
        chosen = await _definition(records, draft, deployment.rules)
        handler = deployment.handlers.get(draft.request_type) or DefaultHandler()
        asked = await handler.validate(records, draft.payload, actor.now)
    if chosen is not None:
        # Between two transactions: it may take a second, in which none should be open.
        await in_thread(tenant_id, check_payload, chosen.payload_schema, asked)
    async with store.tenant(tenant_id) as records:
        # Claimed only here: a request that fails its validation leaves its idempotency key unused.
        request_id = new_id()
        first = await claim(records, keyed, {"request_id": request_id}, actor.now)
        if first is not None:
            return CreatedRequest(str(first["request_id"]), replayed=True)
        return CreatedRequest(
            request_id,
            request=await insert_request(
                records, actor, _request_spec(replace(draft, payload=asked), chosen, deployment.usual), request_id
            ),
        )


async def _definition(records: Records, draft: RequestDraft, rules: DefinitionRules) -> Definition | None:
    definitions = await definitions_of(records, rules.definitions, signals=rules.signals)
    if draft.definition_id is None:
        chosen = choose(definitions, draft.request_type)
    else:
        named = [one for one in definitions if one.definition_id == draft.definition_id]
        chosen = choose(named, draft.request_type)
        if chosen is None:
            raise missing("workflow")
    check_known(draft.request_type, chosen)
    return chosen


def _request_spec(draft: RequestDraft, chosen: Definition | None, usual: Terms) -> ApprovalRequestSpec:
    terms, definition_id = (usual, None) if chosen is None else (chosen.own_terms, chosen.definition_id)
    return ApprovalRequestSpec(
        draft.request_type,
        draft.title,
        draft.description,
        draft.resource_type,
        draft.resource_id,
        draft.payload,
        terms,
        definition_id,
    )


async def insert_request(records: Records, actor: Actor, spec: ApprovalRequestSpec, request_id: str) -> Request:
    """Creates a request within the caller's transaction, which for example also marks a version as submitted."""
    user_id = actor.principal.user.user_id
    bound = approved_hash(spec.payload, spec.request_type)
    request = Request(
        approval=Approval(request_id, user_id, spec.terms, actor.now, content=bound),
        run_id=None,
        step=0,
        call=0,
        request_type=spec.request_type,
        resource_type=spec.resource_type,
        resource_id=spec.resource_id,
        title=spec.title,
        payload=spec.payload,
        content_hash=bound,
        definition_id=spec.definition_id,
        description=spec.description,
        key_id=actor.principal.key_id,
    )
    await records.requests.add(request)
    event = HistoryEvent("created", user_id, actor.now, name="created", comment=spec.description, outcome="pending")
    await record_event(records, request, _by(actor, event))
    return request


async def comment(store: Store, actor: Actor, request_id: str, text: str) -> None:
    """Adds a comment to a request of any status; the caller has checked that it is visible to the actor.

    Raises:
        Missing: `request_not_found`.
    """
    user_id = actor.principal.user.user_id
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        request = await locked(records, request_id)
        await record_event(records, request, _by(actor, HistoryEvent("commented", user_id, actor.now, comment=text)))


def edited_hash(request: Request, arguments: Mapping[str, object]) -> str:
    """Returns the hash of a tool call with edited arguments, as `propose` does."""
    return approved_hash(_edited(request, arguments), TOOL_CALL)


def _edited(request: Request, arguments: Mapping[str, object]) -> dict[str, object]:
    return {"tool": request.resource_id, "arguments": dict(arguments)}


async def propose(store: Store, actor: Actor, request: Request, arguments: Mapping[str, object]) -> str:
    """Stores edited arguments of a tool call; they are in force once they are approved.

    Args:
        store: The tenants' data.
        actor: The approver.
        request: The request.
        arguments: The edited arguments.

    Returns:
        The hash of the edited content, which the decision refers to.

    Raises:
        Conflict: `not_editable`: it is no tool call.
        Invalid: As `check_document` and `check_texts`: the call could not run with exactly these arguments.
    """
    if request.request_type != TOOL_CALL:
        raise Conflict("not_editable", "This request can be approved or rejected, but not edited.")
    check_document(arguments, "arguments")
    check_texts(arguments, "arguments")
    edited, user_id = _edited(request, arguments), actor.principal.user.user_id
    changed = approved_hash(edited, TOOL_CALL)
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        await records.requests.propose(request.approval.request_id, changed, edited, user_id, actor.now)
    return changed


def _by(actor: Actor, event: HistoryEvent) -> HistoryEvent:
    return replace(event, channel="api", request_id=actor.request_id, key_id=actor.principal.key_id)
