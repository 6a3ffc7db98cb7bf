"""Approval requests from opening to close: decisions, timed actions and the end."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from taskforce.application.approvals.approvers import approver_of, find_authority
from taskforce.application.approvals.budget_raise_requests import BudgetRaiseRequests, BudgetWish
from taskforce.application.approvals.handler import DefaultHandler, RequestHandler
from taskforce.application.approvals.history import HistoryEvent, record_event
from taskforce.application.approvals.parties import asking_party, deciding_party, givers_of
from taskforce.application.approvals.tool_call_requests import ToolCallRequests, idle_roles
from taskforce.application.runs.run_cache import RunCache
from taskforce.application.runs.tool_calls import CallRef
from taskforce.core.domain.approvals.approval import ApprovalStatus, Channel, Decision, Verdict
from taskforce.core.domain.approvals.definitions import DefinitionRules
from taskforce.core.domain.approvals.parties import Party
from taskforce.core.domain.approvals.records import Approver, Request
from taskforce.core.domain.approvals.terms import ActionKind
from taskforce.core.domain.errors import Conflict, DomainError, Forbidden, Missing
from taskforce.core.domain.identity.principals import AccessRules
from taskforce.core.domain.ids import missing
from taskforce.core.domain.json_limits import Json
from taskforce.core.domain.runs.kill_switches import RUN_CANCELLED
from taskforce.core.interfaces.clock import Clock
from taskforce.core.interfaces.notifications import Live
from taskforce.core.interfaces.store import Records, Store
from taskforce.core.interfaces.tools import ToolRunner

SUBJECT_CHANGED = "subject_changed"
_DONE = {ActionKind.REMIND: "reminded", ActionKind.WIDEN: "widened", ActionKind.REASSIGN: "reassigned"}


@dataclass(frozen=True, slots=True)
class DecisionAttempt:
    """A decision to be authorized.

    Attributes:
        tenant_id: The tenant.
        request_id: The request.
        approver_id: The user who decides.
        channel: The channel of the decision.
        edit: The hash of the edited content that they approve; None for the content as requested.
        whole: Whether the decisions of the request's row count; False leaves them to the workflow, which knows them.
        key_id: The id of the API key that the user acts by, if any.
    """

    tenant_id: str
    request_id: str
    approver_id: str
    channel: Channel
    edit: str | None = None
    whole: bool = True
    key_id: str | None = None


@dataclass(frozen=True, slots=True)
class RecordedDecision:
    """A decision that counts.

    Attributes:
        decision: The approver, the verdict and the hash of the content.
        for_run: Whether an approval holds for the tool for the rest of the run.
    """

    decision: Decision
    for_run: bool = False


class ApprovalDecisions:
    """Use cases of the activities of the `Approval` workflow.

    Args:
        store: The tenants' data.
        run_cache: The specifications of runs.
        live: Notifies watchers of runs.
        clock: The time, UTC.
        rules: The deployment's access rules.
        handlers: The handlers of requests by request type.
        definitions: The deployment's approval definitions.
        tools: The deployment's tools; None where no call is opened.
    """

    def __init__(
        self,
        store: Store,
        run_cache: RunCache,
        live: Live,
        *,
        clock: Clock,
        rules: AccessRules,
        handlers: Mapping[str, RequestHandler] | None = None,
        definitions: DefinitionRules | None = None,
        tools: ToolRunner | None = None,
    ) -> None:
        self._store = store
        self._run_cache = run_cache
        self._live = live
        self._clock = clock
        self._rules = rules
        self._handlers = handlers or {}
        self._raises = BudgetRaiseRequests(definitions or DefinitionRules())
        self._calls = ToolCallRequests(definitions or DefinitionRules(), tools)

    async def open_call(self, ref: CallRef, request_id: str) -> Request:
        """Creates the request for a tool call, bound to its exact arguments; a second call returns the first request.

        Args:
            ref: The call.
            request_id: The id of the request, chosen by the workflow so that a retry has the same.

        Raises:
            Missing: `run_not_found` or `step_not_found`.
        """
        spec = await self._run_cache.get(ref.tenant_id, ref.run_id)
        now = self._clock()
        async with self._store.tenant(ref.tenant_id) as records:
            reply = await records.transcripts.entry(ref.run_id, ref.step, 0)
            if reply is None:
                raise missing("step")
            request = await self._calls.build(records, spec, ref, reply=reply, request_id=request_id, now=now)
            opened = await _add(records, request, idle_roles(spec, request.approval.terms))
        self._tell_run(ref.tenant_id, opened)
        return opened

    async def open_raise(self, ref: CallRef, request_id: str, wish: BudgetWish) -> Request:
        """Creates the request for a raise of a budget that has no room; a second call returns the first request.

        Args:
            ref: The step that waits.
            request_id: The id of the request, chosen by the workflow so that a retry has the same.
            wish: The ledger, and what is missing.

        Raises:
            Missing: `run_not_found` or `budget_not_found`.
        """
        spec = await self._run_cache.get(ref.tenant_id, ref.run_id)
        async with self._store.tenant(ref.tenant_id) as records:
            request = await self._raises.build(records, spec, ref, wish, request_id=request_id, now=self._clock())
            opened = await _add(records, request, {})
        self._tell_run(ref.tenant_id, opened)
        return opened

    async def open(self, tenant_id: str, request_id: str) -> Request:
        """Records that the workflow of a request has started.

        Raises:
            Missing: `request_not_found`.
        """
        async with self._store.tenant(tenant_id) as records:
            await records.requests.start(request_id, self._clock())
            return await found(records, request_id)

    async def authorize(self, attempt: DecisionAttempt) -> str | None:
        """Authorizes a decision with current rights, and audits a refusal.

        The approver must exist in the tenant, be active, be named or hold an allowed role at this moment (or hold a
        delegation of somebody who does), be independent of the requester and not have decided before.

        Args:
            attempt: The decision.

        Returns:
            The user on whose behalf the approver decides; None for the approver's own right.

        Raises:
            Forbidden: As `approver_of` and `find_authority`.
            Conflict: As `Approval.check` and `Approval.check_independent`; `run_cancelled`, `subject_changed`,
                `not_editable`.
            Invalid: The edited content does not fit.
        """
        async with self._store.tenant(attempt.tenant_id) as records:
            request = await found(records, attempt.request_id)
            try:
                return await self._check(records, request, attempt)
            except DomainError as error:
                refused = error
        # In a transaction of its own: the raised error would roll the audit event back.
        await self.refuse(attempt, refused.code)
        raise refused

    async def _check(self, records: Records, request: Request, attempt: DecisionAttempt) -> str | None:
        now, said = self._clock(), request.approval
        if not attempt.whole:
            # A workflow task that failed after the decision was recorded is executed again, and authorizes the same
            # decision a second time: the recorded one must not refuse it.
            request = replace(request, approval=replace(request.approval, decisions=()))
        if request.status is ApprovalStatus.VOIDED:
            # Authorized again because the workflow task that closed the request failed: it must take the same branch.
            raise Conflict(SUBJECT_CHANGED, "What was asked for has changed since. Ask again.")
        request.approval.check(attempt.approver_id, attempt.channel, now)
        await _require_run_goes_on(records, request)
        handler = self._handler(request)
        current = await handler.current_hash(records, request)
        if current is None:
            raise Conflict(
                SUBJECT_CHANGED, "What this is about is gone, or has ended. Ask again if it is still needed."
            )
        if current != request.content_hash:
            raise Conflict(SUBJECT_CHANGED, "What was asked for has changed since. Ask again.")
        approver = await approver_of(records, attempt.approver_id, self._rules, now, key_id=attempt.key_id)
        authority = find_authority(request, approver, attempt.channel, now)
        decides = await deciding_party(records, request, approver, authority.on_behalf_of)
        said.check_independent(attempt.approver_id, decides, await asking_party(records, request))
        if attempt.edit is not None:
            edited = await records.requests.proposal(attempt.request_id, attempt.edit)
            if edited is None:
                raise missing("edit")
            await handler.check_edit(request, edited)
        return authority.on_behalf_of

    async def refuse(self, attempt: DecisionAttempt, code: str) -> None:
        """Records the audit event of a decision that was refused.

        Args:
            attempt: The decision.
            code: The error code.
        """
        async with self._store.tenant(attempt.tenant_id) as records:
            request = await found(records, attempt.request_id)
            event = HistoryEvent("refused", attempt.approver_id, self._clock(), outcome="denied", reason=code)
            await record_event(records, request, replace(event, channel=attempt.channel.value, key_id=attempt.key_id))

    async def record(self, tenant_id: str, request_id: str, recorded: RecordedDecision) -> None:
        """Records a decision with history, audit event and webhook deliveries; a second call changes nothing.

        Raises:
            Missing: `request_not_found`.
            Conflict: `channel_refused`; `already_decided`: the approver's recorded verdict on this content is another;
                `run_cancelled`: the run's cancellation was requested since the decision was authorized.
        """
        try:
            request = await self._record(tenant_id, request_id, recorded)
        except Conflict as refused:
            if refused.code == RUN_CANCELLED:
                said = recorded.decision
                attempt = DecisionAttempt(tenant_id, request_id, said.approver_id, said.channel, key_id=said.key_id)
                await self.refuse(attempt, refused.code)
            raise
        if request is not None:
            self._tell_run(tenant_id, request)

    async def _record(self, tenant_id: str, request_id: str, recorded: RecordedDecision) -> Request | None:
        decision = recorded.decision
        async with self._store.tenant(tenant_id) as records:
            before = await locked(records, request_id)
            before.approval.require_channel(decision.channel)
            party = await self._party(records, before, decision)
            # The party is recorded with the decision: later changes of keys and accounts must not change how it counts.
            decision = replace(decision, content=decision.content or before.approval.content, party=party)
            if not await records.requests.decided(request_id, decision):
                _require_same(before, decision)
                return None
            # After the row was added, which the refusal takes back: a repetition of what is on record is not refused.
            await _require_run_goes_on(records, before)
            request = await _after(records, before, decision, for_run=recorded.for_run)
            await records.requests.save(request)
            edited = request.approval.content != before.approval.content
            event = _decision_event(decision, await _access_facts(records, before, decision), edited=edited)
            await record_event(records, request, replace(event, key_id=decision.key_id))
        return request

    async def _party(self, records: Records, request: Request, decision: Decision) -> Party:
        try:
            approver = await approver_of(
                records, decision.approver_id, self._rules, self._clock(), key_id=decision.key_id
            )
        except Forbidden:
            # The decision counted when it was authorized. Without current roles every grant of theirs counts for the
            # check of independence, which is the stricter side.
            approver = Approver(decision.approver_id, frozenset(), key_id=decision.key_id)
        return await deciding_party(records, request, approver, decision.on_behalf_of)

    async def act(self, tenant_id: str, request_id: str, number: int, at: datetime) -> None:
        """Performs a timed action of the terms: reminder, widening or reassignment; a second call changes nothing.

        Args:
            tenant_id: The tenant.
            request_id: The request.
            number: The number of the action, from 0.
            at: The time at which it was due, UTC.

        Raises:
            Missing: `request_not_found`.
        """
        async with self._store.tenant(tenant_id) as records:
            before = await locked(records, request_id)
            action = before.approval.terms.actions[number]
            # An earlier attempt has performed it, or the request was closed meanwhile.
            if before.approval.acted != number or before.closed_at is not None:
                return
            request = replace(before, approval=before.approval.act(at))
            await records.requests.save(request)
            to = action.to or request.approval.who
            data = {"roles": list(to.roles), "people": list(to.people)}
            await record_event(
                records, request, HistoryEvent(_DONE[action.kind], "system", at, name=f"action:{number}", data=data)
            )
        self._tell_run(tenant_id, request)

    async def close(self, tenant_id: str, request_id: str, status: ApprovalStatus, reason: str) -> None:
        """Closes a request; a second call changes nothing.

        Args:
            tenant_id: The tenant.
            request_id: The request.
            status: The final status.
            reason: The reason, for history and audit log.

        Raises:
            Missing: `request_not_found`.
            Conflict: `approval_unfounded`: the recorded decisions do not approve it; it is closed as voided instead.
        """
        now = self._clock()
        async with self._store.tenant(tenant_id) as records:
            request = await locked(records, request_id)
            borne = status is not ApprovalStatus.APPROVED or request.approval.status(now) is status
            unfounded = request.closed_at is None and not borne
            if unfounded:
                # Whoever has access to Temporal can start a workflow with made-up decisions; only recorded ones count.
                status, reason = ApprovalStatus.VOIDED, "its decisions are not on record"
            if await records.requests.close(request_id, status, reason, now):
                await self._handler(request).on_closed(records, request, status, reason, now)
                event = HistoryEvent(status.value, "system", now, name="closed", comment=reason, outcome=status.value)
                await record_event(records, request, event)
        self._tell_run(tenant_id, request)
        if unfounded:
            raise Conflict("approval_unfounded", "Nobody's recorded decisions approve this request.")

    async def withdraw(self, tenant_id: str, request_id: str, reason: str) -> None:
        """Closes a request whose workflow is gone as withdrawn; one that is closed or was never opened is unchanged."""
        with suppress(Missing):
            await self.close(tenant_id, request_id, ApprovalStatus.WITHDRAWN, reason)

    def _handler(self, request: Request) -> RequestHandler:
        return self._handlers.get(request.request_type) or DefaultHandler()

    def _tell_run(self, tenant_id: str, request: Request) -> None:
        if request.run_id is not None:
            self._live.changed(tenant_id, request.run_id)


async def _add(records: Records, request: Request, facts: Json) -> Request:
    # A retry: an earlier attempt has committed the request, which may be decided already.
    if not await records.requests.add(request):
        return await found(records, request.approval.request_id)
    asked = request.approval
    event = HistoryEvent("created", asked.requester_id, asked.opened_at, outcome="pending", data=facts)
    await record_event(records, request, event)
    return request


async def found(records: Records, request_id: str) -> Request:
    """Reads a request.

    Raises:
        Missing: `request_not_found`.
    """
    request = await records.requests.get(request_id)
    if request is None:
        raise missing("request")
    return request


async def locked(records: Records, request_id: str) -> Request:
    """Reads a request and locks its row until the transaction ends.

    Raises:
        Missing: `request_not_found`.
    """
    request = await records.requests.locked(request_id)
    if request is None:
        raise missing("request")
    return request


async def _require_run_goes_on(records: Records, request: Request) -> None:
    # The promise of a cancellation is the run's row; the request that tells its workflows may still be under way.
    run = None if request.run_id is None else await records.runs.get(request.run_id)
    if run is not None:
        run.require_not_cancelled()


async def _after(records: Records, before: Request, decision: Decision, *, for_run: bool) -> Request:
    """Returns the request after a decision; an approval of edited content makes that the requested content."""
    if decision.verdict is Verdict.REJECT:
        return before
    approval = before.approval
    first = not any(d.verdict is Verdict.APPROVE and d.content == decision.content for d in approval.decisions)
    edited = before.edited
    if decision.content != approval.content:
        edited = await records.requests.proposal(approval.request_id, decision.content or "")
    return replace(
        before,
        approval=replace(approval, content=decision.content or approval.content),
        edited=edited,
        # It holds for the rest of the run only if every approver says so.
        for_run=for_run and (first or before.for_run),
    )


def _require_same(before: Request, decision: Decision) -> None:
    said = {one.content: one.verdict for one in before.approval.decisions if one.approver_id == decision.approver_id}
    if said.get(decision.content) is not decision.verdict:
        raise Conflict("already_decided", "This person has already decided.")


async def _access_facts(records: Records, request: Request, decision: Decision) -> Mapping[str, object]:
    """Returns facts for the auditor of a decision: who issued keys and granted access to whom, at any time."""
    assert decision.party is not None
    requester = request.approval.requester_id
    facts = {
        "counted_with": decision.party.people - {decision.approver_id, decision.on_behalf_of},
        "recent_access_from": decision.party.sponsors,
        "access_from": await givers_of(records, decision.approver_id) - {decision.approver_id},
        "requester_access_from": decision.people & await givers_of(records, requester) - {requester},
    }
    return {name: sorted(people) for name, people in facts.items() if people}


def _decision_event(decision: Decision, access: Mapping[str, object], *, edited: bool) -> HistoryEvent:
    kind = "approved_by" if decision.verdict is Verdict.APPROVE else "rejected_by"
    data: dict[str, object] = {"verdict": decision.verdict.value, "content_hash": decision.content, **access}
    if decision.on_behalf_of is not None:
        data["on_behalf_of"] = decision.on_behalf_of
    if edited:
        data["edited"] = True
    return HistoryEvent(
        kind,
        decision.approver_id,
        decision.at,
        name=f"{decision.approver_id}:{decision.content}",
        comment=decision.comment,
        outcome=decision.verdict.value,
        channel=decision.channel.value,
        data=data,
    )
