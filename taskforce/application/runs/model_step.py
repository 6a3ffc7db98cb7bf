"""The model step of a run: the request to the model, and the reply with its usage and tool call verdicts."""

from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from taskforce.application.metering.budget_ledgers import BudgetLedgers, Reservation
from taskforce.application.metering.price_books import PriceBooks
from taskforce.application.runs.closing_turn import CLOSING, answer_in_words
from taskforce.application.runs.conversation_window import ConversationWindows, Window
from taskforce.application.runs.lifecycle import Ended, begin, begun, close_by_reply
from taskforce.application.runs.log_context import bind_run
from taskforce.application.runs.model_turn import ModelStepInput, ModelStepResult
from taskforce.application.runs.run_cache import RunCache
from taskforce.application.runs.step_cache import Conversations
from taskforce.application.runs.tool_checks import ToolCallPolicy, ToolCallVerdicts, offered
from taskforce.application.shielding import shielded
from taskforce.application.tenant_threads import in_thread
from taskforce.core.domain.access.policies import Policy
from taskforce.core.domain.errors import Conflict, DomainError
from taskforce.core.domain.identity.principals import Principal
from taskforce.core.domain.metering.budget_ledgers import Draw
from taskforce.core.domain.metering.usage import UsageEntry
from taskforce.core.domain.runs.repetition import needs_hint, repeated_steps
from taskforce.core.domain.runs.reply import CappedCalls, capped_calls, capped_text
from taskforce.core.domain.runs.run import TOKENS_USED_UP, Ending, RunSpec, RunStatus, StopReason
from taskforce.core.domain.runs.transcript import Entry, EntryKind, ShownText, conversation
from taskforce.core.interfaces.clock import Clock
from taskforce.core.interfaces.llm import (
    ChatMessage,
    ChatModel,
    ModelCall,
    ModelFailure,
    ModelInterrupted,
    ModelReply,
    ModelRequest,
)
from taskforce.core.interfaces.notifications import Live
from taskforce.core.interfaces.repositories.budgets import CallKey
from taskforce.core.interfaces.repositories.idempotency import DuplicateKey
from taskforce.core.interfaces.store import Records, Store
from taskforce.core.interfaces.tools import ToolRunner, ToolSpec

_log = structlog.get_logger(__name__)

REPEATED = (
    "[You have now made the same tool calls {count} times in a row, with the same results. Do something else, or "
    "answer with what you have; after {most} times the run ends.]"
)

BUDGET_LOW = (
    "[The budget of this run is nearly used up: of {limit} there are about {left} left. Do what matters most first, "
    "and answer as soon as you can.]"
)


class ModelStep:
    """Use case of the activity `call_model`.

    Args:
        store: The tenants' data.
        run_cache: The specifications of runs.
        tool_call_policy: Authorizes the tool calls of a reply.
        model: The client of the language models.
        tools: The deployment's tools.
        live: Notifies watchers of runs.
        clock: The time, UTC.
        prices: The prices of the tenants.
        budgets: The ledgers of the tenants' budgets.
        conversations: The cache of steps, for the tool calls and the next step.
    """

    def __init__(
        self,
        store: Store,
        run_cache: RunCache,
        tool_call_policy: ToolCallPolicy,
        *,
        model: ChatModel,
        tools: ToolRunner,
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
        self._model = model
        self._tools = tools
        self._live = live
        self._clock = clock
        self._conversations = conversations or Conversations(store)
        self._windows = ConversationWindows(self._conversations)

    async def run(self, turn: ModelStepInput) -> ModelStepResult:
        """Requests a step's reply; stores it with usage, verdicts of its tool calls and milestone in one transaction.

        A retry returns the reply that an earlier attempt has stored.

        Args:
            turn: The step.

        Returns:
            What the workflow needs to know of the reply.

        Raises:
            ModelFailure: There is no usable reply; its usage is recorded.
            Forbidden: As `ToolCallPolicy.user`: the run's user or credential has lost its rights.
            Conflict: `tokens_used_up`: failed attempts have used up the run's limit of tokens; `run_cancelled`;
                `budget_exceeded`.
            Invalid: `model_unpriced`: a budget of money bears on the call, and its model has no known price.
            Unavailable: `halted`: a kill switch is pulled.
        """
        spec = await self._run_cache.get(turn.tenant_id, turn.run_id)
        bind_run(spec)
        policy = await self._tool_call_policy.policy(spec)
        try:
            seen = await self._look(spec, turn)
        except _StalePrices:
            # They are read by now, and the beginning of the run was rolled back.
            seen = await self._look(spec, turn)
        turn = seen.turn
        if seen.known is not None:
            async with self._store.tenant(turn.tenant_id) as records:
                result = await self._known(records, spec, policy, turn, seen.known)
            return replace(result, unknown=seen.unknown)
        if turn.begins and turn.attempt == 1:
            begun(self._live, spec)
        request = self._request(spec, seen)
        call = CallKey(turn.run_id, turn.step, 0, turn.attempt)
        held = await self._budgets.reserve(spec, seen.draws, request, call, begins=turn.begins)
        try:
            # No transaction is open during the call, which may take minutes.
            reply = await self._ask(_told_of_budget(request, held), turn)
        except ModelFailure as error:
            await self._spend(spec, turn, held, calls=error.calls, error=error)
            raise
        except ModelInterrupted as gone:
            await self._spend(spec, turn, held, calls=gone.calls)
            raise
        # A reply that was paid for is stored also when the activity is cancelled at this moment.
        return replace(await shielded(self._keep(spec, turn, seen.heard, reply, held=held)), unknown=seen.unknown)

    async def _ask(self, request: ModelRequest, turn: ModelStepInput) -> ModelReply:
        stream = self._stream(turn)
        if turn.closing:
            return await answer_in_words(self._model, request, stream, turn.closed_by)
        return await self._model.complete(request, stream)

    async def _look(self, spec: RunSpec, turn: ModelStepInput) -> "_StepContext":
        """Reads window, messages and current rights of a step; only the reply, if an earlier attempt has stored one."""
        async with self._looking(turn) as records:
            window = await self._windows.read(records, spec, turn.step, turn.attempt)
            # A message of a person may be the reason to repeat a call, so the count starts again.
            repeated = 0 if turn.words else repeated_steps(window.before(turn.step))
            if repeated >= spec.agent.loop.max_repeated_steps and not turn.closing:
                turn = replace(turn, closing=True, stop=StopReason.REPEATED_CALLS)
            heard, unknown = await self._heard(records, turn)
            # An id that nobody has stored is no message: the run ends once the stored ones are heard.
            turn = replace(turn, told=None if turn.told is None else turn.told - unknown)
            known = window.reply(turn.step)
            if known is not None:
                return _StepContext(turn, window, known=known, unknown=unknown)
            # Written together with the query of the user: so it is priced before the tenant's revision is known.
            book = await self._prices.latest(records) if turn.begins else None
            if book is not None:
                await begin(records, spec, self._clock(), book)
            principal = await self._tool_call_policy.user(records, spec)
            if book is not None and await self._prices.latest(records) is not book:
                raise _StalePrices
            principal.stop.require_none()
            # The workflow learns the tokens of failed attempts only with a reply; until then nobody else bounds them.
            if turn.attempt > 1:
                await self._require_tokens(records, turn)
            return _StepContext(
                turn,
                window,
                offered=self._offered(spec, turn, principal),
                repeated=repeated,
                heard=heard,
                unknown=unknown,
                draws=await self._budgets.draws(records, spec, principal.tenant),
            )

    def _offered(self, spec: RunSpec, turn: ModelStepInput, principal: Principal) -> tuple[ToolSpec, ...]:
        return () if turn.closing else offered(self._tools.specs(), spec, principal.tenant.settings)

    async def _require_tokens(self, records: Records, turn: ModelStepInput) -> None:
        used = await records.usage.of_steps(turn.run_id, 1, turn.step)
        limits = (await self._run_cache.reread(records, turn.tenant_id, turn.run_id)).limits
        if sum(one.tokens.total for one in used) >= limits.max_tokens:
            raise Conflict(TOKENS_USED_UP, "Failed attempts have used up the tokens that the run may use.")

    def _looking(self, turn: ModelStepInput) -> AbstractAsyncContextManager[Records]:
        # Only a run's first step writes before the call: it marks the run as running.
        return self._store.tenant(turn.tenant_id) if turn.begins else self._store.reading(turn.tenant_id)

    async def _known(
        self, records: Records, spec: RunSpec, policy: Policy, turn: ModelStepInput, reply: Entry
    ) -> ModelStepResult:
        """Returns the result of a reply that an earlier attempt has stored."""
        tokens = await _used(records, turn)
        if turn.ends(reply):
            run = await records.runs.get(turn.run_id)
            ended = run is not None and run.status.is_final
            return ModelStepResult(0, tokens, ended=ended, stop_reason=turn.stop_reason(reply))
        observed = {entry.call for entry in await records.transcripts.range(turn.run_id, turn.step - 1, 1)}
        return _thought(
            turn, reply, tokens, await self._checked(records, spec, policy, turn=turn, reply=reply, observed=observed)
        )

    async def _checked(
        self,
        records: Records,
        spec: RunSpec,
        policy: Policy,
        *,
        turn: ModelStepInput,
        reply: Entry,
        observed: Collection[int] = (),
    ) -> ToolCallVerdicts | None:
        if turn.closing:
            return ToolCallVerdicts()
        try:
            return await self._tool_call_policy.step(records, spec, policy, reply, observed)
        except (DomainError, DuplicateKey):
            raise
        except Exception:  # noqa: BLE001 - the paid reply is stored in any case; the workflow then calls `authorize`
            _log.exception("calls.not_checked", step=reply.step)
            return None

    async def _heard(self, records: Records, turn: ModelStepInput) -> tuple[list[Entry], int]:
        """Reads the messages that the step hears; returns them, and the number of ids that add none."""
        if not turn.words:
            return [], 0
        # Whoever reaches Temporal may send an id again: each message is heard once, and an answer not as a message too.
        before = await records.transcripts.words_before(turn.run_id, turn.step, turn.words)
        sent = dict.fromkeys(turn.words)
        heard = await records.messages.get(turn.run_id, [word_id for word_id in sent if word_id not in before])
        now = self._clock()
        entries = [
            # Messages have call numbers below 0, so that they are before the reply of the step, which has 0.
            Entry(turn.step, place - len(heard), EntryKind.WORD, text, now, author_id=author, word_id=word_id)
            for place, (word_id, author, text) in enumerate(heard)
        ]
        # Nobody has stored it, or the run has forgotten that it was told of it before, and has counted it again.
        return entries, len(sent) - len(heard)

    def _request(self, spec: RunSpec, context: "_StepContext") -> ModelRequest:
        agent = spec.agent
        return ModelRequest(
            models=agent.models,
            messages=_messages(spec, context),
            tools=context.offered,
            temperature=agent.temperature,
            max_tokens=agent.max_reply_tokens,
            times=agent.reply_times,
        )

    def _stream(self, turn: ModelStepInput) -> "_Stream":
        return _Stream(self._live, turn)

    async def _keep(
        self, spec: RunSpec, turn: ModelStepInput, heard: Sequence[Entry], reply: ModelReply, *, held: Reservation
    ) -> ModelStepResult:
        try:
            return await self._store_reply(spec, turn, heard, reply, held=held)
        except Exception:
            # The reply is lost but was paid for: the run's limit of tokens must hold for attempts that fail here.
            lost = tuple(replace(call, failed="reply_not_stored") for call in reply.calls)
            await self._spend(spec, turn, held, calls=lost)
            raise

    async def _store_reply(
        self, spec: RunSpec, turn: ModelStepInput, heard: Sequence[Entry], reply: ModelReply, *, held: Reservation
    ) -> ModelStepResult:
        text = capped_text(reply.text, turn.step)
        # In a thread: arguments may be megabytes, and parsing them would block the event loop for other tenants' runs.
        asked = () if turn.closing else reply.tool_calls
        calls = await in_thread(spec.tenant_id, capped_calls, asked, spec.agent.loop.max_calls_per_reply)
        entry = _entry(turn, reply, calls, text, self._clock())
        policy = await self._tool_call_policy.policy(spec)
        try:
            return await self._store_first(
                spec, policy, turn, messages=[*heard, entry], calls=reply.calls, whole=text.whole, held=held
            )
        except DuplicateKey:
            return await self._store_late(spec, policy, turn, calls=reply.calls, held=held)
        finally:
            self._live.changed(turn.tenant_id, turn.run_id)

    async def _store_first(
        self,
        spec: RunSpec,
        policy: Policy,
        turn: ModelStepInput,
        *,
        messages: Sequence[Entry],
        calls: tuple[ModelCall, ...],
        whole: str | None,
        held: Reservation,
    ) -> ModelStepResult:
        async with self._store.tenant(turn.tenant_id) as records:
            *heard, reply = [await records.transcripts.append(turn.run_id, one) for one in messages]
            if whole is not None:
                await records.results.add(turn.run_id, turn.step, 0, whole)
            used = await self._spending(records, spec, turn, calls)
            await records.usage.add(used)
            data = {"step": turn.step, "tools": [call.name for call in reply.tool_calls], "text": reply.text[:500]}
            await records.events.append(turn.run_id, "step.replied", data, reply.at, step=turn.step)
            checked = await self._checked(records, spec, policy, turn=turn, reply=reply)
            # The usage of failed attempts counts as well; a first attempt has none before it and saves the query.
            tokens = _tokens(calls) if turn.attempt == 1 else await _used(records, turn)
            ended = await self._ended(records, spec, turn, reply) if turn.ends(reply) else None
            # Last, for the ledgers are locked until the commit, and other runs wait for them.
            await self._budgets.settle(records, spec, held, used)
        if ended is not None:
            ended.log()
            return ModelStepResult(0, tokens, ended=True, stop_reason=turn.stop_reason(reply))
        # After the commit: only entries that never change may be cached.
        self._conversations.opened(turn.tenant_id, turn.run_id, heard, reply)
        if checked is not None:
            self._conversations.observed(turn.tenant_id, turn.run_id, checked.refused)
        return _thought(turn, reply, tokens, checked)

    async def _ended(self, records: Records, spec: RunSpec, turn: ModelStepInput, reply: Entry) -> Ended | None:
        """Ends the run with the reply, unless it is to be cancelled, or has a message that the model has not seen."""
        reason = turn.incomplete(reply)
        ending = Ending(RunStatus.COMPLETED if reason is None else RunStatus.INCOMPLETE, reason)
        # After a closing turn no steps are left for new messages.
        seen = None if turn.closing else turn.told
        return await close_by_reply(records, spec, ending, reply, self._clock(), messages=seen)

    async def _store_late(
        self,
        spec: RunSpec,
        policy: Policy,
        turn: ModelStepInput,
        *,
        calls: tuple[ModelCall, ...],
        held: Reservation,
    ) -> ModelStepResult:
        """Returns the reply of another attempt that was taken for dead but has stored its reply first."""
        async with self._store.tenant(turn.tenant_id) as records:
            used = await self._spending(records, spec, turn, calls)
            await records.usage.add(used)
            reply = await records.transcripts.entry(turn.run_id, turn.step, 0)
            if reply is None:
                raise DuplicateKey(f"Something of step {turn.step} is stored already, but no reply.")
            if turn.ends(reply):
                # The other attempt has ended the run with totals that lack the usage of this one.
                await records.runs.total(turn.run_id)
            known = await self._known(records, spec, policy, turn, reply)
            await self._budgets.settle(records, spec, held, used)
            return known

    async def _spend(
        self,
        spec: RunSpec,
        turn: ModelStepInput,
        held: Reservation,
        *,
        calls: tuple[ModelCall, ...],
        error: DomainError | None = None,
    ) -> None:
        """Records the usage of an attempt without a reply; an error here must not hide the attempt's own."""
        try:
            await shielded(self._record_waste(spec, turn, held, calls=calls, error=error))
        except Exception:  # noqa: BLE001 - the caller raises the attempt's own failure, which matters more
            _log.exception("usage.not_recorded", run_id=turn.run_id, step=turn.step)

    async def _record_waste(
        self,
        spec: RunSpec,
        turn: ModelStepInput,
        held: Reservation,
        *,
        calls: tuple[ModelCall, ...],
        error: DomainError | None,
    ) -> None:
        async with self._store.tenant(turn.tenant_id) as records:
            used = await self._spending(records, spec, turn, calls)
            await records.usage.add(used)
            if error is not None:
                details = {
                    "step": turn.step,
                    "attempt": turn.attempt,
                    "code": error.code,
                    "message": error.message[:500],
                }
                await records.events.append(turn.run_id, "model.failed", details, self._clock())
            # The run may have ended, with its totals closed, before this model call was given up.
            await records.runs.total(turn.run_id)
            await self._budgets.settle(records, spec, held, used)
        self._live.changed(turn.tenant_id, turn.run_id)

    async def _spending(
        self, records: Records, spec: RunSpec, turn: ModelStepInput, calls: tuple[ModelCall, ...]
    ) -> UsageEntry:
        entry = UsageEntry.of_run(spec, self._clock(), step=turn.step, attempt=turn.attempt)
        return replace(entry, calls=calls).priced(await self._prices.latest(records))


class _StalePrices(Exception):
    """Raised where the beginning of a run was priced by prices that have changed since."""


@dataclass(frozen=True, slots=True)
class _StepContext:
    """Holds what a step reads before it calls the model, or the reply that is stored already."""

    turn: ModelStepInput
    window: Window
    heard: Sequence[Entry] = ()
    offered: tuple[ToolSpec, ...] = ()
    repeated: int = 0
    known: Entry | None = None
    unknown: int = 0
    draws: tuple[Draw, ...] = ()


def _entry(turn: ModelStepInput, reply: ModelReply, calls: CappedCalls, text: ShownText, now: datetime) -> Entry:
    return Entry(
        step=turn.step,
        call=0,
        kind=EntryKind.REPLY,
        text=text.text,
        at=now,
        tool_calls=calls.calls,
        # Of the call that succeeded; the failed ones before it are in the usage records.
        duration_ms=reply.calls[-1].duration_ms,
        whole_size=None if text.whole is None else len(text.whole),
        finish=reply.finish,
        reasoning=reply.reasoning,
        dropped=calls.dropped,
    )


async def _used(records: Records, turn: ModelStepInput) -> int:
    used = await records.usage.of_steps(turn.run_id, turn.step, turn.step)
    return sum(one.tokens.total for one in used)


def _messages(spec: RunSpec, context: _StepContext) -> tuple[ChatMessage, ...]:
    window, most = context.window, spec.agent.loop.max_repeated_steps
    messages = conversation(spec.agent.system_prompt, window.earlier, [*window.entries, *context.heard])
    if context.turn.closing:
        return (*messages, ChatMessage("user", CLOSING[context.turn.closed_by]))
    if needs_hint(context.repeated, most):
        return (*messages, ChatMessage("user", REPEATED.format(count=context.repeated, most=most)))
    return messages


def _told_of_budget(request: ModelRequest, held: Reservation) -> ModelRequest:
    ledger = held.nearly_used_up
    if ledger is None:
        return request
    # At the end, for what stands before the conversation must not change, or no provider finds it in its cache.
    left = BUDGET_LOW.format(left=ledger.budget.shown(ledger.left), limit=ledger.budget.shown(ledger.limit))
    return replace(request, messages=(*request.messages, ChatMessage("user", left)))


class _Stream:
    def __init__(self, live: Live, turn: ModelStepInput) -> None:
        self._live = live
        self._turn = turn

    def __call__(self, text: str) -> None:
        turn = self._turn
        self._live.text(turn.tenant_id, turn.run_id, turn.step, turn.attempt, text)


def _thought(turn: ModelStepInput, reply: Entry, tokens: int, checked: ToolCallVerdicts | None) -> ModelStepResult:
    calls = 0 if turn.closing else len(reply.tool_calls)
    allowed = None if checked is None else checked.allowed
    return ModelStepResult(calls, tokens, allowed, stop_reason=turn.stop_reason(reply))


def _tokens(calls: tuple[ModelCall, ...]) -> int:
    return sum(call.tokens.total for call in calls)
