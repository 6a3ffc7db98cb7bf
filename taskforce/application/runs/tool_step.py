"""The tool step of a run: authorization, execution and observation of tool calls."""

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from taskforce.application.metering.budget_ledgers import BudgetLedgers
from taskforce.application.metering.price_books import PriceBooks
from taskforce.application.outages import AttemptControl, store_patiently
from taskforce.application.runs.answers import answer_to
from taskforce.application.runs.effects import begun, cut_off, effect_key
from taskforce.application.runs.log_context import TOOL_EXECUTED, bind_run, log_context
from taskforce.application.runs.observations import observation, store_observations
from taskforce.application.runs.run_cache import RunCache
from taskforce.application.runs.step_cache import Conversations
from taskforce.application.runs.tool_calls import CallRef, arguments_of, as_approved
from taskforce.application.runs.tool_checks import PermittedCall, ToolCallPolicy
from taskforce.application.runs.workspace import RunResults, RunWorkspace
from taskforce.application.shielding import shielded
from taskforce.core.domain.approvals.approval import ApprovalStatus
from taskforce.core.domain.approvals.records import Request
from taskforce.core.domain.errors import Unavailable
from taskforce.core.domain.metering.usage import UsageEntry
from taskforce.core.domain.runs.outcomes import OUTCOME_PATIENCE, outcome_lost
from taskforce.core.domain.runs.run import RunSpec
from taskforce.core.domain.runs.todo import TODO_TOOL, TodoList
from taskforce.core.domain.runs.transcript import CallStatus, Entry, ShownText, shown
from taskforce.core.interfaces.clock import Clock
from taskforce.core.interfaces.llm import RequestedCall
from taskforce.core.interfaces.metrics import ToolRan
from taskforce.core.interfaces.notifications import Live
from taskforce.core.interfaces.repositories.idempotency import DuplicateKey
from taskforce.core.interfaces.store import Records, Store
from taskforce.core.interfaces.tools import TenantHttp, ToolContext, ToolFailure, ToolRunner, ToolSpec

_ALONE = AttemptControl()
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ToolStepResult:
    """The outcome of a tool call.

    Attributes:
        status: How it ended.
        todo: The plan, if the call wrote one.
        unanswered: Whether the tool was not run because no stored message answers its question.
        answered_by: Id of the stored message that answers its question.
    """

    status: CallStatus
    todo: TodoList | None = None
    unanswered: bool = False
    answered_by: str | None = None


class ToolStep:
    """Use cases of the activities `authorize`, `run_tool` and `record_denial`.

    Args:
        store: The tenants' data.
        run_cache: The specifications of runs.
        tool_call_policy: Authorizes tool calls.
        tools: The deployment's tools.
        http: The guarded HTTP clients of the tools.
        live: Notifies watchers of runs.
        clock: The time, UTC.
        prices: The prices of the tenants.
        budgets: The ledgers of the tenants' budgets.
        conversations: The cache of steps.
    """

    def __init__(
        self,
        store: Store,
        run_cache: RunCache,
        tool_call_policy: ToolCallPolicy,
        *,
        tools: ToolRunner,
        http: TenantHttp,
        live: Live,
        clock: Clock,
        prices: PriceBooks,
        budgets: BudgetLedgers,
        conversations: Conversations | None = None,
    ) -> None:
        self._store = store
        self._prices = prices
        self._budgets = budgets
        self._run_cache = run_cache
        self._tool_call_policy = tool_call_policy
        self._tools = tools
        self._http = http
        self._live = live
        self._clock = clock
        self._conversations = conversations or Conversations(store)

    async def authorize(self, tenant_id: str, run_id: str, step: int) -> tuple[PermittedCall, ...]:
        """Authorizes the calls of a stored reply, for a model step that could not do so in its own transaction.

        Raises:
            Missing: `run_not_found` or `step_not_found`.
        """
        spec = await self._run_cache.get(tenant_id, run_id)
        reply = await self._conversations.reply(tenant_id, run_id, step)
        policy = await self._tool_call_policy.policy(spec)
        async with self._store.tenant(tenant_id) as records:
            entries = await records.transcripts.range(run_id, step - 1, 1)
            checked = await self._tool_call_policy.step(records, spec, policy, reply, {entry.call for entry in entries})
        self._conversations.observed(tenant_id, run_id, checked.refused)
        self._live.changed(tenant_id, run_id)
        return checked.allowed

    async def run(
        self,
        ref: CallRef,
        attempt: int,
        messages: tuple[str, ...],
        request_id: str | None,
        *,
        by_row: bool = False,
        lost: bool = False,
        control: AttemptControl = _ALONE,
    ) -> ToolStepResult:
        """Runs a tool call and stores its observation, usage and milestone in one transaction.

        A retry returns the earlier observation's outcome. A tool that is not idempotent is not run a second time: if an
        earlier attempt began it, the outcome is `unknown`. Where the database is away when the tool has ended, the
        outcome is stored as soon as it is back, within `OUTCOME_PATIENCE`.

        Args:
            ref: The call.
            attempt: Temporal's attempt of the activity, from 1.
            messages: The ids of the messages that were sent as the answer of the call's question.
            request_id: The approval request that it waited for, if any.
            by_row: Whether the question stays open where messages were sent and none answers it.
            lost: Whether an earlier attempt has failed with `OUTCOME_LOST`.
            control: The attempt; one that is cancelled and the last stores that the outcome is unknown.

        Raises:
            Missing: `run_not_found` or `step_not_found`.
            Conflict: `run_cancelled`.
            Unavailable: `halted`: a kill switch is pulled. `OUTCOME_LOST`: the tool has ended, and the database was
                away for longer than `OUTCOME_PATIENCE`.
        """
        spec = await self._run_cache.get(ref.tenant_id, ref.run_id)
        bind_run(spec)
        reply = await self._conversations.reply(ref.tenant_id, ref.run_id, ref.step)
        call = reply.tool_calls[ref.call - 1]
        one = _Attempt(spec, ref, call, self._tools.specs().get(call.name), attempt)
        if self._tool_call_policy.just_cleared(spec, ref, call):
            return await self._perform(one, (), control)
        policy = await self._tool_call_policy.policy(spec)
        # A tool that is not idempotent needs a committed record that it began; for the others reading is enough.
        opened = self._store.tenant if one.runs_once else self._store.reading
        async with opened(ref.tenant_id) as records:
            answer = await answer_to(records, ref, messages, reply.at, by_row=by_row) if one.asks_person else ()
            one = replace(one, word_id=answer[0] if by_row and answer else None)
            known = await _observation_before(records, one)
            if known is not None:
                return replace(_observed_before(call, known), answered_by=one.word_id)
            request = await records.requests.get(request_id) if request_id else None
            one = replace(one, call=as_approved(call, request), edited=request is not None and bool(request.edited))
            objection = await self._tool_call_policy.objection_now(
                records, spec, policy, ref=ref, call=one.call, request=request
            )
            if objection is None and by_row and messages and not answer:
                return ToolStepResult(CallStatus.FAILED, unanswered=True)
            # Recorded as begun only when it will run: a refused call must not look like one whose process died.
            fresh = objection is None and await self._begin(records, one)
            # An earlier attempt may have had its effect: "refused" would say that it has not, whatever forbids it now.
            stands = objection is not None and not await _was_begun(records, one)
            said = tuple(text for _, _, text in await records.messages.get(ref.run_id, answer)) if answer else ()
        if objection is not None and stands:
            result = await self._tell(one, CallStatus.REFUSED, objection)
        elif not fresh:
            result = await self._store_outcome(one, CallStatus.UNKNOWN, _LOST if lost else _UNKNOWN)
        else:
            result = await self._perform(one, said, control)
        return replace(result, answered_by=one.word_id)

    async def _begin(self, records: Records, one: "_Attempt") -> bool:
        ref, now = one.ref, self._clock()
        if not one.runs_once:
            return True
        if not await records.effects.begin(ref.run_id, ref.step, ref.call, one.call.name, now):
            return False
        await records.audit.append(begun(one.spec, ref, one.call.name, now))
        return True

    async def record_denial(self, ref: CallRef, request_id: str) -> ToolStepResult:
        """Stores the observation that a call was not approved, with the reason.

        Args:
            ref: The call.
            request_id: The approval request.
        """
        spec = await self._run_cache.get(ref.tenant_id, ref.run_id)
        reply = await self._conversations.reply(ref.tenant_id, ref.run_id, ref.step)
        call = reply.tool_calls[ref.call - 1]
        async with self._store.tenant(ref.tenant_id) as records:
            request = await records.requests.get(request_id)
        return await self._tell(_Attempt(spec, ref, call), CallStatus.DENIED, _denial(call.name, request))

    async def _perform(self, one: "_Attempt", messages: tuple[str, ...], control: AttemptControl) -> ToolStepResult:
        began, name = self._clock(), one.call.name
        seconds = self._tools.specs()[name].timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                result = await self._tools.run(name, arguments_of(one.call), self._context(one, messages))
            status = CallStatus.SUCCEEDED
        except ToolFailure as failure:
            status, result = CallStatus.FAILED, f"The tool failed: {failure}"
        except TimeoutError:
            status, result = CallStatus.FAILED, f"The tool did not finish within {seconds:g} s."
        except asyncio.CancelledError:
            if control.is_over():
                text = cut_off(one.ref)
                await shielded(self._store_outcome(one, CallStatus.UNKNOWN, text, spent=self._since(began)))
            raise
        spent = self._since(began)

        async def store() -> ToolStepResult:
            return await self._store_outcome(one, status, result, spent=spent)

        # What has happened is stored also where the cancellation comes at this moment.
        if one.holds_workflow_task:
            return await shielded(store())
        try:
            return await store_patiently(store, OUTCOME_PATIENCE, control)
        except Unavailable as away:
            raise outcome_lost(away) from away

    def _since(self, began: datetime) -> int:
        return int((self._clock() - began).total_seconds() * 1_000)

    async def _store_outcome(
        self, one: "_Attempt", status: CallStatus, result: object, *, spent: int = 0
    ) -> ToolStepResult:
        spec, ref, call = one.spec, one.ref, one.call
        seen = shown(result, ref.step, ref.call)
        if one.edited and status is not CallStatus.UNKNOWN:
            # After the result is cut to size, so that the note is never cut.
            seen = replace(seen, text=_EDITED.format(call.arguments) + seen.text)
        spending = replace(
            UsageEntry.of_run(spec, self._clock(), step=ref.step, call=ref.call, attempt=one.number),
            tool=call.name,
            duration_ms=spent,
            failed=_FAILED.get(status),
        )
        await self._store_observation(one, status, seen, spending)
        _log.info(TOOL_EXECUTED, tool_name=call.name[:80], duration_ms=spent, status=status.value, **log_context(spec))
        return ToolStepResult(status, result if isinstance(result, TodoList) else None)

    async def _tell(self, one: "_Attempt", status: CallStatus, text: str) -> ToolStepResult:
        await self._store_observation(one, status, ShownText(text))
        return ToolStepResult(status)

    async def _store_observation(
        self, one: "_Attempt", status: CallStatus, seen: ShownText, spending: UsageEntry | None = None
    ) -> None:
        spec, ref = one.spec, one.ref
        spent = spending.duration_ms if spending is not None else 0
        entry = observation(
            ref.step, ref.call, one.call, status=status, result=seen, at=self._clock(), duration_ms=spent
        )
        entry = replace(entry, word_id=one.word_id)
        try:
            async with self._store.tenant(spec.tenant_id) as records:
                entries = await store_observations(records, spec, [(one.call, entry)])
                if spending is not None:
                    spending = spending.priced(await self._prices.latest(records))
                    await records.usage.add(spending)
                    records.facts.append(ToolRan(one.call.name, status.value, spent / 1_000))
                if seen.whole is not None:
                    await records.results.add(spec.run_id, entry.step, entry.call, seen.whole)
                if spending is not None:
                    # Last, for the ledgers are locked until the commit.
                    await self._budgets.charge(records, spec, spending)
        except DuplicateKey:
            # Another attempt, taken for dead, has stored its observation first: the model receives that one only.
            _log.info("observation.kept", run_id=spec.run_id, step=entry.step, call=entry.call)
        else:
            self._conversations.observed(spec.tenant_id, spec.run_id, entries)
        self._live.changed(spec.tenant_id, spec.run_id)

    def _context(self, one: "_Attempt", messages: tuple[str, ...]) -> ToolContext:
        spec = one.spec
        return ToolContext(
            tenant_id=spec.tenant_id,
            user_id=spec.user_id,
            run_id=spec.run_id,
            effect_key=effect_key(one.ref),
            now=self._clock(),
            workspace=RunWorkspace(self._store, spec.tenant_id, spec.run_id, self._clock),
            results=RunResults(self._store, spec.tenant_id, spec.run_id),
            http=self._http.of(spec.tenant_id),
            words=messages,
        )


@dataclass(frozen=True, slots=True)
class _Attempt:
    """Holds an attempt of a tool call: the run, the call as it is to run, and what is known of it."""

    spec: RunSpec
    ref: CallRef
    call: RequestedCall
    tool_spec: ToolSpec | None = None
    number: int = 1
    word_id: str | None = None
    edited: bool = False

    @property
    def runs_once(self) -> bool:
        """Tells whether its effect must not happen twice, so that its beginning is recorded."""
        return self.tool_spec is not None and not self.tool_spec.idempotent

    @property
    def holds_workflow_task(self) -> bool:
        """Tells whether it is quick: then it has seconds, and may be repeated, for quick tools are idempotent."""
        return self.tool_spec is not None and self.tool_spec.quick

    @property
    def asks_person(self) -> bool:
        """Tells whether it is a question to a person."""
        return self.tool_spec is not None and self.tool_spec.asks_person


_FAILED = {CallStatus.FAILED: "tool_failed", CallStatus.UNKNOWN: "tool_unknown"}
_EDITED = "[A person has approved this call with other arguments, and it ran with these: {}]\n"
_FIND_OUT = "and it was not run again. Find out before you repeat it, and say so in your answer."
_UNKNOWN = (
    "The tool was begun, but the process that ran it ended before it had stored the outcome. It may or may not have "
    f"had its effect, {_FIND_OUT}"
)
_LOST = (
    "The tool has ended, but the database was away for so long that the outcome could not be stored, and is lost. It "
    f"may have failed or have had its effect, {_FIND_OUT}"
)


async def _observation_before(records: Records, one: _Attempt) -> Entry | None:
    # An idempotent tool may run again: the primary key keeps the first observation, and mostly there is none.
    if one.number == 1 and one.tool_spec is not None and one.tool_spec.idempotent:
        return None
    return await records.transcripts.entry(one.ref.run_id, one.ref.step, one.ref.call)


async def _was_begun(records: Records, one: _Attempt) -> bool:
    return one.runs_once and (one.ref.step, one.ref.call) in await records.effects.unsettled(one.ref.run_id)


def _observed_before(call: RequestedCall, known: Entry) -> ToolStepResult:
    status = known.status or CallStatus.SUCCEEDED
    written = call.name == TODO_TOOL and status is CallStatus.SUCCEEDED
    return ToolStepResult(status, TodoList.written(arguments_of(call).get("items")) if written else None)


def _denial(tool: str, request: Request | None) -> str:
    if request is None or request.status is ApprovalStatus.APPROVED:
        # Approved, and yet not run: somebody ended the request's workflow before the call began.
        status, reason = "withdrawn", "the request was ended before the call began"
    else:
        status, reason = request.status.value, request.reason or "no reason was given"
    return f"Not allowed: the approval of {tool} was {status}. Reason: {reason}. Do not repeat the call unchanged."
