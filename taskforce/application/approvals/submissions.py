"""Decision, reassignment and withdrawal of approval requests: the use cases behind routes and other callers."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import structlog

from taskforce.application.approvals.approvers import find_authority
from taskforce.application.approvals.changes import ApprovalChanges
from taskforce.application.approvals.decisions import SUBJECT_CHANGED, ApprovalDecisions, DecisionAttempt, found
from taskforce.application.approvals.requests import FoundRequest, edited_hash, look_up, propose
from taskforce.application.idempotency import IdempotentCall, claim
from taskforce.application.identity.principals import Actor
from taskforce.application.late_start import reach
from taskforce.core.domain.approvals.approval import ApprovalStatus, Channel, Verdict, update_id
from taskforce.core.domain.approvals.changes import Change, ChangeKind
from taskforce.core.domain.approvals.definitions import PERMISSION_ESCALATION
from taskforce.core.domain.approvals.records import Request
from taskforce.core.domain.approvals.submissions import DecisionResult, SubmittedDecision
from taskforce.core.domain.approvals.terms import NOBODY, Deciders
from taskforce.core.domain.approvals.update_proofs import PROOF_EXPIRED
from taskforce.core.domain.errors import Conflict, DomainError, Forbidden, Invalid, Kind, Missing, Unavailable
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
"""The errors by which a workflow refuses a decision; any other kind means that the decision could not be processed."""


def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True)
class DecisionPorts:
    """Dependencies of the use cases in this module.

    Attributes:
        store: The tenants' data.
        workflows: The client of the approval workflows.
        decisions: Authorizes decisions and audits refused ones.
        changes: Authorizes other changes.
    """

    store: Store
    workflows: ApprovalWorkflows
    decisions: ApprovalDecisions
    changes: ApprovalChanges


@dataclass(frozen=True, slots=True)
class DecisionDraft:
    """A decision that an approver submits.

    Attributes:
        verdict: Whether they approve.
        comment: The reason.
        seen: The hash of the content that they were shown; None for the current content.
        for_run: Whether an approval holds for the tool for the rest of the run.
        arguments: Edited arguments of a tool call; None approves those that were requested.
        key: The idempotency key of the HTTP request, if any.
        body: The body of the HTTP request, to tell a repeated request from another one.
        check: Raises for a decision that does not fit now; not called for a repeated request.
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
    """The status of a request after a decision.

    Attributes:
        status: The status.
        replayed: Whether the decision was made before: under the same idempotency key, or the very same one.
    """

    status: ApprovalStatus
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class ChangeDraft:
    """A change of an open request that somebody submits.

    Attributes:
        kind: Withdrawal or reassignment.
        comment: The reason.
        to: The new approvers, of a reassignment.
    """

    kind: ChangeKind
    comment: str = ""
    to: Deciders = NOBODY


async def find_to_decide(ports: DecisionPorts, actor: Actor, request_id: str) -> FoundRequest:
    """Finds a request that the actor wants to decide; audits an attempt on one that is not visible to them.

    Raises:
        Missing: `request_not_found`: there is none, or it is not visible to the actor.
    """
    request, concerned = await look_up(ports.store, actor, request_id)
    if concerned is not None:
        return concerned
    if request is not None:
        # The actor learns no more than that there is no such request; the audit log names the attempt.
        await ports.decisions.refuse(_attempt(actor, request), "approver_role_missing")
    raise missing("request")


async def decide(ports: DecisionPorts, actor: Actor, to_decide: FoundRequest, draft: DecisionDraft) -> DecidedRequest:
    """Submits the actor's decision to the request's workflow, once for each idempotency key.

    The very decision of the actor that is on record already is answered by its outcome, also without a key: whoever was
    told that it failed cannot know that it was recorded late.

    Args:
        ports: The dependencies.
        actor: The user who decides.
        to_decide: The request, and the actor as an approver.
        draft: The decision.

    Returns:
        The status of the request afterwards.

    Raises:
        Invalid: `idempotency_key_reused`, or what `check_document` and `propose` refuse.
        Forbidden, Conflict: The actor may not decide this, or not any more; it is audited. `claims_narrowed`: a token
            that claims fewer roles than another of its user approves a role escalation.
        Unavailable: `decision_failed`, `decision_pending`, or Temporal does not answer.
    """
    request = to_decide.request
    check_document(draft.arguments, "arguments")
    earlier = await _earlier(ports, actor, request, draft)
    if earlier.result is not None:
        require_counted(earlier.result)
        return DecidedRequest(ApprovalStatus(earlier.result.status), replayed=True)
    recorded = _is_recorded(actor, request, draft)
    if recorded and await _has_counted(ports, actor, request):
        return DecidedRequest(request.status, replayed=True)
    draft.check()
    # A decision that was given up may be on record by now, without having counted: only the workflow can tell.
    attempt = replace(_attempt(actor, request), whole=not (earlier.failed or recorded))
    async with _refusals_audited(ports, attempt):
        _require_open(request)
        _require_key_enough(actor, to_decide)
        # Checked here too: Temporal limits the updates of a workflow, and a refused one would use one up.
        request.approval.check_comment(draft.comment, draft.seen or request.approval.content)
    await _authorize(ports, attempt)
    edit = None if draft.arguments is None else await propose(ports.store, actor, request, draft.arguments)
    submitted = submitted_decision(actor, request, draft, edit)
    try:
        result = await _call_workflow(
            ports, actor, request, lambda: _submit(ports, attempt, submitted, earlier.next_id)
        )
    except Conflict as refused:
        # The first one was still under way, and has counted meanwhile.
        if not recorded or refused.code != "already_decided" or not await _has_counted(ports, actor, request):
            raise
        return DecidedRequest((await _current(ports, actor, request)).status, replayed=True)
    return DecidedRequest(ApprovalStatus(result.status))


async def change(ports: DecisionPorts, actor: Actor, to_change: FoundRequest, draft: ChangeDraft) -> Request:
    """Withdraws or reassigns an open request.

    Args:
        ports: The dependencies.
        actor: The user who changes it.
        to_change: The request, and the actor as an approver.
        draft: The change.

    Returns:
        The request afterwards.

    Raises:
        Forbidden, Invalid, Conflict: As `ApprovalChanges.check`; `key_may_not`: an API key may only withdraw its user's
            own request, unless it may manage policies; `claims_narrowed`: a token that claims fewer roles than another
            of its user may do no more than that, whatever it may manage.
        Unavailable: As `decide`.
    """
    request = to_change.request
    tenant_id, request_id = actor.principal.tenant.tenant_id, request.approval.request_id
    submitted = submitted_change(actor, draft)
    _require_key_may_change(actor, request, draft)
    await ports.changes.check(tenant_id, request_id, submitted)
    await _call_workflow(ports, actor, request, lambda: ports.workflows.change(tenant_id, request_id, submitted))
    return await _current(ports, actor, request)


async def _current(ports: DecisionPorts, actor: Actor, request: Request) -> Request:
    # Read past the visibility rules: after a reassignment the actor may not see the request any more.
    async with ports.store.tenant(actor.principal.tenant.tenant_id) as records:
        return await found(records, request.approval.request_id)


def submitted_decision(actor: Actor, request: Request, draft: DecisionDraft, edit: str | None) -> SubmittedDecision:
    """Builds the workflow's input of a decision; the only place that does."""
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
    """Builds the workflow's input of a change; the only place that does."""
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
    """Requires that a decision was accepted by the workflow.

    Raises:
        Forbidden: The approver may not decide this.
        Invalid: The decision is malformed.
        Conflict: The request's state does not allow it.
        Unavailable: `decision_failed`: it could not be checked or recorded.
    """
    if result.code is None:
        return
    if _has_failed(result):
        _log.warning("decision.failed", code=result.code)
        raise Unavailable(
            "decision_failed",
            "The decision could not be taken. Look at the request before you repeat it.",
            retry_after=5,
        )
    raise _REFUSALS[result.kind](result.code, result.message or "The decision does not count.")


def _is_unmade(result: DecisionResult) -> bool:
    """Tells whether a decision was neither made nor refused: it failed, or waited too long to count."""
    return _has_failed(result) or result.code == PROOF_EXPIRED


def _has_failed(result: DecisionResult) -> bool:
    return result.code is not None and result.kind not in _REFUSALS


def _attempt(actor: Actor, request: Request) -> DecisionAttempt:
    return DecisionAttempt(
        actor.principal.tenant.tenant_id,
        request.approval.request_id,
        actor.principal.user.user_id,
        Channel.API,
        key_id=actor.principal.key_id,
    )


def _is_recorded(actor: Actor, request: Request, draft: DecisionDraft) -> bool:
    """Tells whether exactly this decision of the actor is on record."""
    who, approves = actor.principal, draft.verdict is Verdict.APPROVE
    if approves and draft.for_run is not request.for_run:
        return False
    # A rejection is about the request as a whole, whatever others have edited since.
    on = draft.seen or (request.approval.content if approves else None)
    if draft.arguments is not None:
        on = edited_hash(request, draft.arguments)
    return any(
        (one.approver_id, one.key_id, one.channel) == (who.user.user_id, who.key_id, Channel.API)
        and (one.verdict, one.comment) == (draft.verdict, draft.comment)
        and on in {None, one.content}
        for one in request.approval.decisions
    )


async def _has_counted(ports: DecisionPorts, actor: Actor, request: Request) -> bool:
    """Tells whether the workflow has counted all recorded decisions of the actor, or has ended."""
    if request.closed_at is not None:
        return True
    user_id = actor.principal.user.user_id
    try:
        # A query, for a refused update would use up one of those that a workflow takes in its life.
        counted = await ports.workflows.decided_by(actor.principal.tenant.tenant_id, request.approval.request_id)
    except Missing:
        return False
    own = [one for one in request.approval.decisions if one.approver_id == user_id]
    return counted.count(user_id) >= len(own)


def _require_open(request: Request) -> None:
    if request.closed_at is not None:
        raise Conflict("request_closed", f"The request is {request.status.value}; it takes no more decisions.")


def _require_key_enough(actor: Actor, to_decide: FoundRequest) -> None:
    """Requires that an API key, or a token that claims fewer roles than another, has itself a role that decides.

    Checked here because the workflow checks the roles of the user.
    """
    request, principal = to_decide.request, actor.principal
    if principal.key_id is not None or principal.is_narrowed:
        find_authority(request, to_decide.approver, Channel.API, actor.now)
    if request.request_type == PERMISSION_ESCALATION:
        require_whole(principal)


def _require_key_may_change(actor: Actor, request: Request, draft: ChangeDraft) -> None:
    """Requires that an API key may manage policies, and that a token claims no fewer roles than another.

    Checked here because the workflow checks the rights of the key, but of a token those of its user.
    """
    principal = actor.principal
    own = request.approval.requester_id == principal.user.user_id and draft.kind == "withdraw"
    if own:
        return
    require_whole(principal)
    if principal.key_id is not None and Permission.POLICY_MANAGE not in principal.permissions:
        raise Forbidden("key_may_not", "This is done by a person, or by a key that may manage policies.")


@dataclass(frozen=True, slots=True)
class _Earlier:
    """The earlier decisions with the same idempotency key.

    Attributes:
        result: The result of the one that was processed; None where there is none.
        failed: Whether one could not be processed.
        next_id: The update id of the next decision; None without a key.
    """

    result: DecisionResult | None = None
    failed: bool = False
    next_id: str | None = None


async def _earlier(ports: DecisionPorts, actor: Actor, request: Request, draft: DecisionDraft) -> _Earlier:
    """Finds the earlier decisions with the same idempotency key."""
    if draft.key is None:
        return _Earlier()
    attempt = _attempt(actor, request)
    keyed = IdempotentCall(attempt.approver_id, f"decision:{attempt.request_id}", draft.key, draft.body)
    async with ports.store.tenant(attempt.tenant_id) as records:
        if await claim(records, keyed, {}, actor.now) is None:
            return _Earlier(next_id=_update_id(attempt, draft.key, 0))
    unmade, failed, named = 0, False, _update_id(attempt, draft.key, 0)
    # Each turn finds one update of the workflow, of which there is a limited number.
    while (result := await ports.workflows.decided(attempt.tenant_id, attempt.request_id, named)) is not None:
        if not _is_unmade(result):
            break
        unmade, failed = unmade + 1, failed or _has_failed(result)
        named = _update_id(attempt, draft.key, unmade)
    return _Earlier(result, failed, named)


def _update_id(attempt: DecisionAttempt, key: str, unmade: int) -> str:
    return update_id(attempt.tenant_id, attempt.request_id, attempt.approver_id, key, unmade)


async def _authorize(ports: DecisionPorts, attempt: DecisionAttempt) -> None:
    # Authorized here as well as by the workflow: Temporal limits the updates of a workflow.
    try:
        await ports.decisions.authorize(attempt)
    except Conflict as conflict:
        # A request whose subject has changed still goes to its workflow, which closes it as voided.
        if conflict.code != SUBJECT_CHANGED:
            raise


async def _call_workflow(
    ports: DecisionPorts, actor: Actor, request: Request, act: Callable[[], Awaitable[DecisionResult]]
) -> DecisionResult:
    """Calls the workflow of an open request, starting it first if that has not happened yet."""

    async def start() -> None:
        # A run starts the workflow of its own requests: a missing one has ended. Of other requests it may be missing
        # because of a crash between commit and start.
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
    """Audits what is refused here or by the workflow's validator; `ApprovalDecisions` audits its own refusals."""
    try:
        yield
    except (Conflict, Forbidden) as refused:
        await ports.decisions.refuse(attempt, refused.code)
        raise
