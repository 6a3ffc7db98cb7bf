"""Replies of a model: each is stored once, with its usage, the verdicts of its tool calls, and a milestone."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime

import structlog

from taskforce.application.metering.budget_ledgers import BudgetLedgers, Reservation
from taskforce.application.metering.price_books import PriceBooks
from taskforce.application.runs.lifecycle import Ended, close_by_reply
from taskforce.application.runs.model_turn import ModelStepInput, ModelStepResult
from taskforce.application.runs.step_cache import Conversations
from taskforce.application.runs.tool_checks import ToolCallPolicy, ToolCallVerdicts
from taskforce.application.shielding import shielded
from taskforce.application.tenant_threads import in_thread
from taskforce.core.domain.access.policies import Policy
from taskforce.core.domain.errors import DomainError
from taskforce.core.domain.metering.usage import UsageEntry
from taskforce.core.domain.runs.reply import CappedCalls, capped_calls, capped_text
from taskforce.core.domain.runs.run import Ending, RunSpec, RunStatus
from taskforce.core.domain.runs.transcript import Entry, EntryKind, ShownText
from taskforce.core.interfaces.clock import Clock
from taskforce.core.interfaces.llm import ModelCall, ModelReply
from taskforce.core.interfaces.notifications import Live
from taskforce.core.interfaces.repositories.idempotency import DuplicateKey
from taskforce.core.interfaces.store import Records, Store

_log = structlog.get_logger(__name__)


class ModelReplies:
    """Stores replies, and the usage of attempts that have none.

    Args:
        store: The tenants' data.
        tool_call_policy: Authorizes the tool calls of a reply.
        live: Notifies watchers of runs.
        clock: The time, UTC.
        prices: The prices of the tenants.
        budgets: The ledgers of the tenants' budgets.
        conversations: The cache of steps, for the tool calls and the next step.
    """

    def __init__(
        self,
        store: Store,
        tool_call_policy: ToolCallPolicy,
        *,
        live: Live,
        clock: Clock,
        prices: PriceBooks,
        budgets: BudgetLedgers,
        conversations: Conversations,
    ) -> None:
        self._store = store
        self._tool_call_policy = tool_call_policy
        self._live = live
        self._clock = clock
        self._prices = prices
        self._budgets = budgets
        self._conversations = conversations

    async def keep(
        self, spec: RunSpec, turn: ModelStepInput, heard: Sequence[Entry], reply: ModelReply, *, held: Reservation
    ) -> ModelStepResult:
        """Stores a reply with its usage, verdicts and milestone, or returns the one that another attempt has stored.

        Args:
            spec: The run.
            turn: The step.
            heard: The messages of people that the step has heard.
            reply: The reply.
            held: What the call has reserved on budgets.
        """
        try:
            return await self._store_reply(spec, turn, heard, reply, held=held)
        except Exception:
            # The reply is lost but was paid for: the run's limit of tokens must hold for attempts that fail here.
            lost = tuple(replace(call, failed="reply_not_stored") for call in reply.calls)
            await self.waste(spec, turn, held, calls=lost)
            raise

    async def known(
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

    async def waste(
        self,
        spec: RunSpec,
        turn: ModelStepInput,
        held: Reservation,
        *,
        calls: tuple[ModelCall, ...],
        error: DomainError | None = None,
    ) -> None:
        """Records the usage of an attempt without a reply; an error here must not hide the attempt's own.

        Args:
            spec: The run.
            turn: The step.
            held: What the call has reserved on budgets.
            calls: The calls that were made.
            error: Why there is no reply; None where the attempt was interrupted.
        """
        try:
            await shielded(self._record_waste(spec, turn, held, calls=calls, error=error))
        except Exception:  # noqa: BLE001 - the caller raises the attempt's own failure, which matters more
            _log.exception("usage.not_recorded", run_id=turn.run_id, step=turn.step)

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
            known = await self.known(records, spec, policy, turn, reply)
            await self._budgets.settle(records, spec, held, used)
            return known

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


def _thought(turn: ModelStepInput, reply: Entry, tokens: int, checked: ToolCallVerdicts | None) -> ModelStepResult:
    calls = 0 if turn.closing else len(reply.tool_calls)
    allowed = None if checked is None else checked.allowed
    return ModelStepResult(calls, tokens, allowed, stop_reason=turn.stop_reason(reply))


def _tokens(calls: tuple[ModelCall, ...]) -> int:
    return sum(call.tokens.total for call in calls)
