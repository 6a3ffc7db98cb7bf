"""The model step of a run: the request to the model, and the reply with its usage and tool call verdicts."""

from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import structlog

from taskforce.application.metering.budget_ledgers import BudgetLedgers
from taskforce.application.metering.price_books import PriceBooks
from taskforce.application.runs.closing_turn import answer_in_words
from taskforce.application.runs.conversation_window import ConversationWindows
from taskforce.application.runs.lifecycle import begin, begun
from taskforce.application.runs.log_context import bind_run
from taskforce.application.runs.model_replies import ModelReplies
from taskforce.application.runs.model_request import StepContext, model_request, told_of_budget
from taskforce.application.runs.model_turn import ModelStepInput, ModelStepResult
from taskforce.application.runs.run_cache import RunCache
from taskforce.application.runs.step_cache import Conversations
from taskforce.application.runs.tool_checks import ToolCallPolicy, offered
from taskforce.application.shielding import shielded
from taskforce.core.domain.errors import Conflict
from taskforce.core.domain.identity.principals import Principal
from taskforce.core.domain.runs.repetition import repeated_steps
from taskforce.core.domain.runs.run import TOKENS_USED_UP, RunSpec, StopReason
from taskforce.core.domain.runs.transcript import Entry, EntryKind
from taskforce.core.interfaces.clock import Clock
from taskforce.core.interfaces.llm import (
    ChatModel,
    ModelFailure,
    ModelInterrupted,
    ModelReply,
    ModelRequest,
)
from taskforce.core.interfaces.notifications import Live
from taskforce.core.interfaces.repositories.budgets import CallKey
from taskforce.core.interfaces.store import Records, Store
from taskforce.core.interfaces.tools import ToolRunner, ToolSpec

_log = structlog.get_logger(__name__)


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
        self._replies = ModelReplies(
            store,
            tool_call_policy,
            live=live,
            clock=clock,
            prices=prices,
            budgets=budgets,
            conversations=self._conversations,
        )

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
                result = await self._replies.known(records, spec, policy, turn, seen.known)
            return replace(result, unknown=seen.unknown)
        if turn.begins and turn.attempt == 1:
            begun(self._live, spec)
        request = model_request(spec, seen)
        call = CallKey(turn.run_id, turn.step, 0, turn.attempt)
        held = await self._budgets.reserve(spec, seen.draws, request, call, begins=turn.begins)
        try:
            # No transaction is open during the call, which may take minutes.
            reply = await self._ask(told_of_budget(request, held), turn)
        except ModelFailure as error:
            await self._replies.waste(spec, turn, held, calls=error.calls, error=error)
            raise
        except ModelInterrupted as gone:
            await self._replies.waste(spec, turn, held, calls=gone.calls)
            raise
        # A reply that was paid for is stored also when the activity is cancelled at this moment.
        return replace(
            await shielded(self._replies.keep(spec, turn, seen.heard, reply, held=held)), unknown=seen.unknown
        )

    async def _ask(self, request: ModelRequest, turn: ModelStepInput) -> ModelReply:
        stream = self._stream(turn)
        if turn.closing:
            return await answer_in_words(self._model, request, stream, turn.closed_by)
        return await self._model.complete(request, stream)

    async def _look(self, spec: RunSpec, turn: ModelStepInput) -> StepContext:
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
                return StepContext(turn, window, known=known, unknown=unknown)
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
            return StepContext(
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

    def _stream(self, turn: ModelStepInput) -> "_Stream":
        return _Stream(self._live, turn)


class _StalePrices(Exception):
    """Raised where the beginning of a run was priced by prices that have changed since."""


class _Stream:
    def __init__(self, live: Live, turn: ModelStepInput) -> None:
        self._live = live
        self._turn = turn

    def __call__(self, text: str) -> None:
        turn = self._turn
        self._live.text(turn.tenant_id, turn.run_id, turn.step, turn.attempt, text)
