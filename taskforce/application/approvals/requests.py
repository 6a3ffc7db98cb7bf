"""Asking people for something that no run waits for, and what is said about a request."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from taskforce.application.approvals.decisions import locked
from taskforce.application.approvals.definitions import definitions_of
from taskforce.application.approvals.handler import TOOL_CALL, DefaultHandler, RequestHandler, approved_hash
from taskforce.application.approvals.history import HistoryEvent, record_event
from taskforce.application.approvals.payload_schemas import check_payload
from taskforce.application.idempotency import IdempotentCall, claim, earlier
from taskforce.application.identity.principals import Actor
from taskforce.core.domain.approvals.approval import Approval
from taskforce.core.domain.approvals.definitions import Definition, DefinitionRules, check_known, choose
from taskforce.core.domain.approvals.records import Request
from taskforce.core.domain.approvals.terms import Terms
from taskforce.core.domain.errors import Conflict, Invalid
from taskforce.core.domain.ids import missing, new_id
from taskforce.core.domain.json_limits import Json, check_document, check_texts
from taskforce.core.interfaces.store import Records, Store

ROUTE = "requests"
MAX_PAYLOAD = 65_536
"""Characters of a payload as JSON."""
_MADE_ELSEWHERE: Final = {TOOL_CALL: "the run that wants the call", "agent_publish": "submitting the version"}


@dataclass(frozen=True, slots=True)
class ApprovalRequestSpec:
    """What somebody asks for.

    Attributes:
        request_type: What kind of request it is.
        title: For lists.
        description: Why.
        resource_type: What kind of thing it is about.
        resource_id: Which one.
        payload: Exactly what is asked for.
        terms: Under which it is decided.
        definition_id: Where the terms come from.
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
    """What somebody asks for, before it is known who decides it.

    Attributes:
        request_type: What kind of request it is.
        title: For lists.
        description: Why.
        resource_type: What kind of thing it is about.
        resource_id: Which one.
        payload: Exactly what is asked for.
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
    """What a deployment says about requests.

    Attributes:
        rules: Its definitions.
        usual: The terms where there is no definition.
        handlers: What requests are about, by their type.
    """

    rules: DefinitionRules
    usual: Terms
    handlers: Mapping[str, RequestHandler]


@dataclass(frozen=True, slots=True)
class CreatedRequest:
    """A request that is committed; `replayed` tells that an earlier one with the same key asked for it."""

    request_id: str
    replayed: bool = False
    request: Request | None = None


async def create_request(
    store: Store, actor: Actor, wish: RequestDraft, says: Deployment, key: str | None, body: Mapping[str, object]
) -> CreatedRequest:
    """Commits a request; starting its workflow comes after.

    Args:
        store: The door to the tenant's data.
        actor: Who asks.
        wish: For what.
        says: What the deployment says about requests.
        key: The idempotency key, if there is one.
        body: What was sent, to tell a repeated request from another one.

    Raises:
        Missing: `workflow_not_found`: there is no such definition for requests of this type.
        Conflict: `request_type_reserved`: such a request is made by what it is about.
        Invalid: `request_type_unknown`, `payload_invalid`, `payload_too_large`, `idempotency_key_reused`, or what
            `check_document` refuses.
    """
    if wish.request_type in _MADE_ELSEWHERE:
        raise Conflict(
            "request_type_reserved", f"A request of this type is made by {_MADE_ELSEWHERE[wish.request_type]}."
        )
    check_document(wish.payload, "payload")
    if len(json.dumps(wish.payload)) > MAX_PAYLOAD:
        raise Invalid("payload_too_large", f"`payload` may hold at most {MAX_PAYLOAD} characters of JSON.")
    tenant_id, user_id = actor.principal.tenant.tenant_id, actor.principal.user.user_id
    keyed = IdempotentCall(user_id, ROUTE, key, body)
    async with store.tenant(tenant_id) as records:
        first = await earlier(records, keyed)
        if first is not None:
            return CreatedRequest(str(first["request_id"]), replayed=True)
        chosen = await _definition(records, wish, says.rules)
        handler = says.handlers.get(wish.request_type) or DefaultHandler()
        asked = await handler.validate(records, wish.payload, actor.now)
    if chosen is not None:
        await asyncio.to_thread(check_payload, chosen.payload_schema, asked)
    async with store.tenant(tenant_id) as records:
        request_id = new_id()
        first = await claim(records, keyed, {"request_id": request_id}, actor.now)
        if first is not None:
            return CreatedRequest(str(first["request_id"]), replayed=True)
        return CreatedRequest(
            request_id,
            request=await insert_request(
                records, actor, _wanted(replace(wish, payload=asked), chosen, says.usual), request_id
            ),
        )


async def _definition(records: Records, wish: RequestDraft, rules: DefinitionRules) -> Definition | None:
    definitions = await definitions_of(records, rules.definitions, signals=rules.signals)
    if wish.definition_id is None:
        chosen = choose(definitions, wish.request_type)
    else:
        named = [one for one in definitions if one.definition_id == wish.definition_id]
        chosen = choose(named, wish.request_type)
        if chosen is None:
            raise missing("workflow")
    check_known(wish.request_type, chosen)
    return chosen


def _wanted(wish: RequestDraft, chosen: Definition | None, usual: Terms) -> ApprovalRequestSpec:
    terms, definition_id = (usual, None) if chosen is None else (chosen.own_terms, chosen.definition_id)
    return ApprovalRequestSpec(
        wish.request_type,
        wish.title,
        wish.description,
        wish.resource_type,
        wish.resource_id,
        wish.payload,
        terms,
        definition_id,
    )


async def insert_request(records: Records, actor: Actor, wanted: ApprovalRequestSpec, request_id: str) -> Request:
    """Commits a request within a transaction that does more, for example takes note that something is asked about."""
    user_id = actor.principal.user.user_id
    bound = approved_hash(wanted.payload, wanted.request_type)
    request = Request(
        approval=Approval(request_id, user_id, wanted.terms, actor.now, content=bound),
        run_id=None,
        step=0,
        call=0,
        request_type=wanted.request_type,
        resource_type=wanted.resource_type,
        resource_id=wanted.resource_id,
        title=wanted.title,
        payload=wanted.payload,
        content_hash=bound,
        definition_id=wanted.definition_id,
        description=wanted.description,
        key_id=actor.principal.key_id,
    )
    await records.requests.add(request)
    told = HistoryEvent("created", user_id, actor.now, name="created", comment=wanted.description, outcome="pending")
    await record_event(records, request, _by(actor, told))
    return request


async def comment(store: Store, actor: Actor, request_id: str, text: str) -> None:
    """Says something about a request that is open, or was; who may know of it, the caller has checked.

    Raises:
        Missing: `request_not_found`.
    """
    user_id = actor.principal.user.user_id
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        request = await locked(records, request_id)
        await record_event(records, request, _by(actor, HistoryEvent("commented", user_id, actor.now, comment=text)))


async def propose(store: Store, actor: Actor, request: Request, arguments: Mapping[str, object]) -> str:
    """Keeps the arguments that an approver would rather approve; they count once they are approved.

    Returns:
        The hash of what would be approved.

    Raises:
        Conflict: `not_editable`: it is no tool call.
        Invalid: What `check_document` and `check_texts` refuse: the call would not run with what was approved.
    """
    if request.request_type != TOOL_CALL:
        raise Conflict("not_editable", "This request can be approved or rejected, but not edited.")
    check_document(arguments, "arguments")
    check_texts(arguments, "arguments")
    edited = {"tool": request.resource_id, "arguments": dict(arguments)}
    changed, user_id = approved_hash(edited, TOOL_CALL), actor.principal.user.user_id
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        await records.requests.propose(request.approval.request_id, changed, edited, user_id, actor.now)
    return changed


def _by(actor: Actor, told: HistoryEvent) -> HistoryEvent:
    return replace(told, channel="api", request_id=actor.request_id, key_id=actor.principal.key_id)
