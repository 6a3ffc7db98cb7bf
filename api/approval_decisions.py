"""Carries what people do to requests through the door, and finds those that a caller may know of."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

import structlog
from fastapi import Response

from api.auth.caller import Caller
from api.composition import GatewayContext
from api.run_dispatch import reach
from api.schemas.approval_requests import RequestOut, request_out
from models.messages.approvals import ChangeInput, DecisionInput, DecisionOutcome
from taskforce.application.approvals.approvers import approver_of, concerns, ground_for, may_decide
from taskforce.application.approvals.changes import Change
from taskforce.application.approvals.decisions import SUBJECT_CHANGED, DecisionAttempt
from taskforce.application.idempotency import IdempotentCall, claim
from taskforce.core.domain.approvals.approval import ApprovalStatus, Channel, Verdict, update_id
from taskforce.core.domain.approvals.records import Approver, Request
from taskforce.core.domain.approvals.terms import Deciders
from taskforce.core.domain.errors import Conflict, DomainError, Forbidden, Invalid, Unavailable
from taskforce.core.domain.ids import missing, parse_id
from taskforce.core.interfaces.identity import Permission
from taskforce.core.interfaces.store import Records

_log = structlog.get_logger(__name__)
_REFUSALS: Mapping[str, type[DomainError]] = {
    "approver_unknown": Forbidden,
    "approver_role_missing": Forbidden,
    "not_yours_to_change": Forbidden,
    "beyond_terms": Forbidden,
    "arguments_invalid": Invalid,
    "deciders_unknown": Invalid,
    "deciders_missing": Invalid,
    "request_closed": Conflict,
    "already_decided": Conflict,
    "self_approval": Conflict,
    "channel_refused": Conflict,
    "comment_required": Conflict,
    "content_changed": Conflict,
    "subject_changed": Conflict,
    "not_editable": Conflict,
    "proof_expired": Conflict,
    "data_invalid": Invalid,
    "data_conflict": Conflict,
}
"""What the workflow may answer; any other code says that something went wrong behind the gateway."""


def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Word:
    """What a caller says about a request.

    Attributes:
        decision: The word.
        key: The idempotency key, if there is one.
        body: What was sent, to tell a repeated call from another one.
        propose: Keeps what they would rather approve, and returns its hash; asked only of who may decide.
        check: Refuses what makes no sense now; a repeated call is past that.
    """

    decision: DecisionInput
    key: str | None = None
    body: Mapping[str, object] = field(default_factory=dict)
    propose: Callable[[], Awaitable[str]] | None = None
    check: Callable[[], object] = _nothing


@dataclass(frozen=True, slots=True)
class Said:
    """Where a request stands since a word; `replayed` tells that an earlier call with the same key has said it."""

    status: ApprovalStatus
    replayed: bool = False


async def who_asks(records: Records, context: GatewayContext, caller: Caller) -> Approver:
    """The caller as an approver, with the roles that count for this request, and those whose place they take."""
    if caller.key_id is not None:
        # A key is cut to its roles, and a delegation is for the person.
        return Approver(caller.user_id, caller.roles, in_person=False)
    return await approver_of(records, caller.user_id, context.rules, context.clock(), caller.roles)


async def find(
    context: GatewayContext, caller: Caller, request_id: str, *, decides: bool = False
) -> tuple[Request, Approver]:
    """A request that the caller may know of, and the caller as an approver.

    Args:
        context: What the gateway is made of.
        caller: Who asks.
        request_id: The request.
        decides: Whether the caller would decide it: then it is audited that they may not.

    Raises:
        Missing: `request_not_found`: there is none, or it is none of the caller's business.
    """
    known_id = parse_id(request_id, "request")
    async with context.database.tenant(caller.tenant_id) as records:
        request = await records.requests.get(known_id)
        approver = await who_asks(records, context, caller)
    if request is None or not _may_know(caller, approver, request):
        if request is not None and decides:
            # Somebody who may have decided once is told no more than a stranger, but the log is.
            attempt = DecisionAttempt(caller.tenant_id, known_id, caller.user_id, Channel.API, key_id=caller.key_id)
            await context.deciding().refuse(attempt, "approver_role_missing")
        raise missing("request")
    return request, approver


def _may_know(caller: Caller, approver: Approver, request: Request) -> bool:
    own = request.approval.requester_id == caller.user_id
    spoke = any(caller.user_id in decision.people for decision in request.approval.decisions)
    return own or spoke or concerns(request, approver) or Permission.AUDIT_READ in caller.permissions


def out(context: GatewayContext, approver: Approver, request: Request) -> RequestOut:
    """A request as the caller sees it."""
    now = context.clock()
    return request_out(request, now, can_decide=may_decide(request, approver, now))


def key_of(caller: Caller) -> dict[str, str]:
    """The API key that speaks, as a message has it: a person's has none."""
    return {} if caller.key_id is None else {"key_id": caller.key_id}


def decision_of(
    caller: Caller, request: Request, verdict: Verdict, comment: str, seen: str | None = None, *, for_run: bool = False
) -> DecisionInput:
    """The caller's word on a request, as the workflow takes it.

    Args:
        caller: Who decides.
        request: The request.
        verdict: What they say.
        comment: Why.
        seen: Hash of what they were shown; None for what is asked for now.
        for_run: Whether an approval holds for the tool for the rest of the run.
    """
    said = {"approver_id": caller.user_id, "verdict": verdict.value, "comment": comment}
    more = {"for_run": True} if for_run else {}
    seen = seen or request.approval.content
    return DecisionInput.model_validate({**said, "seen": seen, **more, **key_of(caller)})


def require_open(request: Request) -> None:
    """Lets nobody decide what has ended.

    Raises:
        Conflict: `request_closed`.
    """
    if request.closed_at is not None:
        raise Conflict("request_closed", f"The request is {request.status.value}; it takes no more decisions.")


def require_key_enough(context: GatewayContext, caller: Caller, request: Request, approver: Approver) -> None:
    """Lets an API key decide only what its own roles decide; the workflow asks for its user's.

    Raises:
        Forbidden, Conflict: As `ground_for`.
    """
    if caller.key_id is not None:
        ground_for(request, approver, Channel.API, context.clock())


def change_of(caller: Caller, request: Request, wish: ChangeInput, now: datetime) -> Change:
    """What a caller wants of a request, as the use case takes it.

    Raises:
        Forbidden: `key_may_not`: an API key changes what its user has asked for, or what it may manage, and no more.
    """
    own = request.approval.requester_id == caller.user_id and wish.kind == "withdraw"
    if caller.key_id is not None and not own and Permission.POLICY_MANAGE not in caller.permissions:
        raise Forbidden("key_may_not", "This is done by a person, or by a key that may manage policies.")
    to = Deciders(wish.roles, wish.people)
    return Change(wish.actor_id, wish.kind, now, wish.comment, to, wish.http_request, wish.key_id)


async def carry(
    context: GatewayContext, tenant_id: str, request: Request, act: Callable[[], Awaitable[DecisionOutcome]]
) -> DecisionOutcome:
    """Does something to an open request through its workflow, which is started first if that has not happened yet.

    Raises:
        DomainError: As `require_counted`; what the door raises.
    """

    async def start() -> None:
        # A request whose workflow is over, or was ended by an operator, takes no more decisions; one that a crash has
        # left without has one now.
        if request.run_id is not None:
            raise Conflict("request_closed", "The request has ended; it takes no more decisions.")
        await context.workflow_client.start_request(tenant_id, request)

    require_open(request)
    outcome = await reach(act, start)
    require_counted(outcome)
    return outcome


async def say(context: GatewayContext, caller: Caller, request: Request, approver: Approver, word: Word) -> Said:
    """Carries the caller's word to a request, once for each idempotency key.

    Args:
        context: What the gateway is made of.
        caller: Who decides.
        request: The request.
        approver: The caller as an approver.
        word: Their word.

    Returns:
        Where the request stands since.

    Raises:
        Invalid: `idempotency_key_reused`.
        DomainError: As `require_open`, `require_key_enough`, `Deciding.authorize` and `carry`; a refusal is audited.
    """
    tenant_id, request_id = caller.tenant_id, request.approval.request_id
    first = await _first(context, caller, request, word)
    if first is not None:
        require_counted(first)
        return Said(ApprovalStatus(first.status), replayed=True)
    word.check()
    attempt = DecisionAttempt(tenant_id, request_id, caller.user_id, Channel.API, key_id=caller.key_id)
    async with _noted(context, attempt):
        require_open(request)
        require_key_enough(context, caller, request, approver)
        # What the workflow would refuse takes none of its limited number of updates.
        request.approval.check_word(word.decision.comment, word.decision.seen)
    await _authorize(context, attempt)
    said = word.decision if word.propose is None else word.decision.model_copy(update={"edit": await word.propose()})
    named = None if word.key is None else update_id(tenant_id, request_id, caller.user_id, word.key)
    outcome = await carry(context, tenant_id, request, lambda: _update(context, attempt, said, named))
    return Said(ApprovalStatus(outcome.status))


def mark_replayed(response: Response, said: Said) -> None:
    """Says in the answer's header that it repeats an earlier one."""
    if said.replayed:
        response.headers["idempotency-replayed"] = "true"


async def _first(context: GatewayContext, caller: Caller, request: Request, word: Word) -> DecisionOutcome | None:
    """What an earlier call with the same key has brought; None where there was none, or nothing came of it."""
    tenant_id, request_id = caller.tenant_id, request.approval.request_id
    if word.key is None:
        return None
    keyed = IdempotentCall(caller.user_id, f"decision:{request_id}", word.key, word.body)
    async with context.database.tenant(tenant_id) as records:
        if await claim(records, keyed, {}, context.clock()) is None:
            return None
    return await context.workflow_client.decided(
        tenant_id, request_id, update_id(tenant_id, request_id, caller.user_id, word.key)
    )


async def _authorize(context: GatewayContext, attempt: DecisionAttempt) -> None:
    # Asked here as well as by the workflow: an open request takes a limited number of updates in its life.
    try:
        await context.deciding().authorize(attempt)
    except Conflict as conflict:
        # The request of something that has changed is ended by its workflow.
        if conflict.code != SUBJECT_CHANGED:
            raise


async def _update(
    context: GatewayContext, attempt: DecisionAttempt, said: DecisionInput, named: str | None
) -> DecisionOutcome:
    async with _noted(context, attempt):
        return await context.workflow_client.decide(attempt.tenant_id, attempt.request_id, said, named)


@asynccontextmanager
async def _noted(context: GatewayContext, attempt: DecisionAttempt) -> AsyncIterator[None]:
    """Audits what is refused here or by the workflow's validator; what the use case refuses it audits itself."""
    try:
        yield
    except (Conflict, Forbidden) as refused:
        await context.deciding().refuse(attempt, refused.code)
        raise


def require_counted(outcome: DecisionOutcome) -> None:
    """Raises what a decision that does not count was refused for.

    Raises:
        Forbidden: The person may not do this.
        Invalid: What they sent does not fit.
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
