"""Deciding a request for approval, handing it on and taking it back: what every way to a request does."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog

from taskforce.application.approvals.approvers import ground_for
from taskforce.application.approvals.changes import ApprovalChanges
from taskforce.application.approvals.decisions import SUBJECT_CHANGED, ApprovalDecisions, DecisionAttempt, found
from taskforce.application.approvals.requests import FoundRequest, look_up, propose
from taskforce.application.idempotency import IdempotentCall, claim
from taskforce.application.identity.principals import Actor
from taskforce.application.late_start import reach
from taskforce.core.domain.approvals.approval import ApprovalStatus, Channel, Verdict, update_id
from taskforce.core.domain.approvals.changes import Change, ChangeKind
from taskforce.core.domain.approvals.definitions import PERMISSION_ESCALATION
from taskforce.core.domain.approvals.records import Request
from taskforce.core.domain.approvals.submissions import DecisionResult, SubmittedDecision
from taskforce.core.domain.approvals.terms import NOBODY, Deciders
from taskforce.core.domain.errors import Conflict, DomainError, Forbidden, Invalid, Kind, Unavailable
from taskforce.core.domain.identity.principals import require_whole
from taskforce.core.domain.ids import missing
from taskforce.core.domain.json_limits import check_document
from taskforce.core.interfaces.identity import Permission
from taskforce.core.interfaces.store import Store
from taskforce.core.interfaces.workflows import ApprovalWorkflows

_log = structlog.get_logger(__name__)

_REFUSALS: Mapping[Kind | None, type[DomainError]] = {
    Kind.FORBIDDEN: Forbidden,
    Kind.INVALID: Invalid,
    Kind.CONFLICT: Conflict,
}
"""What a workflow may refuse a decision by; any other kind says that something went wrong behind it."""


def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True)
class DecisionPorts:
    """What deciding a request needs.

    Attributes:
        store: The tenants' data.
        workflows: The workflows of the requests.
        decisions: Checks and audits decisions.
        changes: Checks other changes.
    """

    store: Store
    workflows: ApprovalWorkflows
    decisions: ApprovalDecisions
    changes: ApprovalChanges


@dataclass(frozen=True, slots=True)
class DecisionDraft:
    """What somebody says about a request.

    Attributes:
        verdict: Whether they approve.
        comment: Why.
        seen: Hash of what they were shown; None for what is asked for now.
        for_run: Whether an approval holds for the tool for the rest of the run.
        arguments: Those with which they would rather approve a tool call.
        key: The idempotency key, if there is one.
        body: What was sent, to tell a repeated call from another one.
        check: Refuses what makes no sense now; a repeated call is past that.
    """

    verdict: Verdict
    comment: str = ""
    seen: str | None = None
    for_run: bool = False
    arguments: Mapping[str, object] | None = None
    key: str | None = None
    body: Mapping[str, object] = field(default_factory=dict)
    check: Callable[[], object] = _nothing


@dataclass(frozen=True, slots=True)
class DecidedRequest:
    """Where a request stands since a decision; `replayed` tells that an earlier call with the same key made it."""

    status: ApprovalStatus
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class ChangeDraft:
    """What else somebody wants of an open request.

    Attributes:
        kind: Take it back, or let others decide.
        comment: Why.
        to: Who shall decide.
    """

    kind: ChangeKind
    comment: str = ""
    to: Deciders = NOBODY


async def find_to_decide(ports: DecisionPorts, actor: Actor, request_id: str) -> FoundRequest:
    """Finds a request that the actor would decide; it is audited that they may not.

    Raises:
        Missing: `request_not_found`: there is none, or it is none of the actor's business.
    """
    request, concerned = await look_up(ports.store, actor, request_id)
    if concerned is not None:
        return concerned
    if request is not None:
        # Somebody who may have decided once is told no more than a stranger, but the log is.
        await ports.decisions.refuse(_attempt(actor, request), "approver_role_missing")
    raise missing("request")


async def decide(ports: DecisionPorts, actor: Actor, to_decide: FoundRequest, draft: DecisionDraft) -> DecidedRequest:
    """Carries the actor's decision to a request, once for each idempotency key.

    Args:
        ports: What it needs.
        actor: Who decides.
        to_decide: The request, and the actor as an approver.
        draft: What they say.

    Returns:
        Where the request stands since.

    Raises:
        Invalid: `idempotency_key_reused`, or what `check_document` and `propose` refuse.
        Forbidden, Conflict: The actor may not decide this, or not any more; it is audited. `claims_narrowed` where a
            token that claims less than another hands on rights.
        Unavailable: `decision_failed`, `decision_pending`, or Temporal does not answer.
    """
    request = to_decide.request
    check_document(draft.arguments, "arguments")
    first = await _first(ports, actor, request, draft)
    if first is not None:
        require_counted(first)
        return DecidedRequest(ApprovalStatus(first.status), replayed=True)
    draft.check()
    attempt = _attempt(actor, request)
    async with _refusals_audited(ports, attempt):
        _require_open(request)
        _require_key_enough(actor, to_decide)
        # What the workflow would refuse takes none of its limited number of updates.
        request.approval.check_word(draft.comment, draft.seen or request.approval.content)
    await _authorize(ports, attempt)
    edit = None if draft.arguments is None else await propose(ports.store, actor, request, draft.arguments)
    submitted = submitted_decision(actor, request, draft, edit)
    result = await _carry(ports, actor, request, lambda: _submit(ports, attempt, submitted, _update_id(attempt, draft)))
    return DecidedRequest(ApprovalStatus(result.status))


async def change(ports: DecisionPorts, actor: Actor, to_change: FoundRequest, draft: ChangeDraft) -> Request:
    """Takes an open request back, or lets others decide it.

    Returns:
        The request as it is since.

    Raises:
        Forbidden, Invalid, Conflict: As `ApprovalChanges.check`; `key_may_not`: an API key changes what its user has
            asked for, or what it may manage, and no more; `claims_narrowed`: nor does a token that claims less than
            another.
        Unavailable: As `decide`.
    """
    request = to_change.request
    tenant_id, request_id = actor.principal.tenant.tenant_id, request.approval.request_id
    submitted = submitted_change(actor, draft)
    _require_key_may_change(actor, request, draft)
    await ports.changes.check(tenant_id, request_id, submitted)
    await _carry(ports, actor, request, lambda: ports.workflows.change(tenant_id, request_id, submitted))
    # Whoever has handed it on may not be concerned any more, and sees once more what became of it.
    async with ports.store.tenant(tenant_id) as records:
        return await found(records, request_id)


def submitted_decision(actor: Actor, request: Request, draft: DecisionDraft, edit: str | None) -> SubmittedDecision:
    """Makes what the workflow is told of a decision; nothing else does."""
    return SubmittedDecision(
        approver_id=actor.principal.user.user_id,
        verdict=draft.verdict,
        comment=draft.comment,
        seen=draft.seen or request.approval.content,
        edit=edit,
        for_run=draft.for_run,
        key_id=actor.principal.key_id,
    )


def submitted_change(actor: Actor, draft: ChangeDraft) -> Change:
    """Makes what the workflow is told of a change; nothing else does."""
    return Change(
        actor_id=actor.principal.user.user_id,
        kind=draft.kind,
        at=actor.now,
        comment=draft.comment,
        to=draft.to,
        http_request=actor.request_id,
        key_id=actor.principal.key_id,
    )


def require_counted(result: DecisionResult) -> None:
    """Raises what a decision that does not count was refused for.

    Raises:
        Forbidden: The person may not do this.
        Invalid: What they sent does not fit.
        Conflict: The request's state does not allow it.
        Unavailable: `decision_failed`: it could not be checked or recorded.
    """
    if result.code is None:
        return
    refusal = _REFUSALS.get(result.kind)
    if refusal is None:
        _log.warning("decision.failed", code=result.code)
        raise Unavailable(
            "decision_failed",
            "The decision could not be taken. Look at the request before you repeat it.",
            retry_after=5,
        )
    raise refusal(result.code, result.message or "The decision does not count.")


def _attempt(actor: Actor, request: Request) -> DecisionAttempt:
    return DecisionAttempt(
        actor.principal.tenant.tenant_id,
        request.approval.request_id,
        actor.principal.user.user_id,
        Channel.API,
        key_id=actor.principal.key_id,
    )


def _update_id(attempt: DecisionAttempt, draft: DecisionDraft) -> str | None:
    if draft.key is None:
        return None
    return update_id(attempt.tenant_id, attempt.request_id, attempt.approver_id, draft.key)


def _require_open(request: Request) -> None:
    if request.closed_at is not None:
        raise Conflict("request_closed", f"The request is {request.status.value}; it takes no more decisions.")


def _require_key_enough(actor: Actor, to_decide: FoundRequest) -> None:
    """Lets an API key, or a token that claims less than another, decide only what its own roles decide.

    The workflow asks for its user's.
    """
    request, principal = to_decide.request, actor.principal
    if principal.key_id is not None or principal.is_narrowed:
        ground_for(request, to_decide.approver, Channel.API, actor.now)
    if request.request_type == PERMISSION_ESCALATION:
        require_whole(principal)


def _require_key_may_change(actor: Actor, request: Request, draft: ChangeDraft) -> None:
    own = request.approval.requester_id == actor.principal.user.user_id and draft.kind == "withdraw"
    if own or Permission.POLICY_MANAGE in actor.principal.permissions:
        return
    require_whole(actor.principal)
    if actor.principal.key_id is not None:
        raise Forbidden("key_may_not", "This is done by a person, or by a key that may manage policies.")


async def _first(ports: DecisionPorts, actor: Actor, request: Request, draft: DecisionDraft) -> DecisionResult | None:
    """Finds what an earlier call with the same key has brought; None where there was none, or nothing came of it."""
    attempt = _attempt(actor, request)
    named = _update_id(attempt, draft)
    if named is None:
        return None
    keyed = IdempotentCall(attempt.approver_id, f"decision:{attempt.request_id}", draft.key, draft.body)
    async with ports.store.tenant(attempt.tenant_id) as records:
        if await claim(records, keyed, {}, actor.now) is None:
            return None
    return await ports.workflows.decided(attempt.tenant_id, attempt.request_id, named)


async def _authorize(ports: DecisionPorts, attempt: DecisionAttempt) -> None:
    # Asked here as well as by the workflow: an open request takes a limited number of updates in its life.
    try:
        await ports.decisions.authorize(attempt)
    except Conflict as conflict:
        # The request of something that has changed is ended by its workflow.
        if conflict.code != SUBJECT_CHANGED:
            raise


async def _carry(
    ports: DecisionPorts, actor: Actor, request: Request, act: Callable[[], Awaitable[DecisionResult]]
) -> DecisionResult:
    """Does something to an open request through its workflow, which is started first if that has not happened yet."""

    async def start() -> None:
        # A request whose workflow is over, or was ended by an operator, takes no more decisions; one that a crash has
        # left without has one now.
        if request.run_id is not None:
            raise Conflict("request_closed", "The request has ended; it takes no more decisions.")
        await ports.workflows.start(actor.principal.tenant.tenant_id, request)

    _require_open(request)
    result = await reach(act, start)
    require_counted(result)
    return result


async def _submit(
    ports: DecisionPorts, attempt: DecisionAttempt, submitted: SubmittedDecision, named: str | None
) -> DecisionResult:
    async with _refusals_audited(ports, attempt):
        return await ports.workflows.decide(attempt.tenant_id, attempt.request_id, submitted, named)


@asynccontextmanager
async def _refusals_audited(ports: DecisionPorts, attempt: DecisionAttempt) -> AsyncIterator[None]:
    """Audits what is refused here or by the workflow's validator; what the use case refuses it audits itself."""
    try:
        yield
    except (Conflict, Forbidden) as refused:
        await ports.decisions.refuse(attempt, refused.code)
        raise
