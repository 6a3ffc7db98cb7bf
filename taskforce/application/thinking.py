"""One turn of the model: what it is shown, and what is kept of its reply."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from taskforce.application.running import Briefs
from taskforce.core.domain.errors import DomainError
from taskforce.core.domain.runs import Brief
from taskforce.core.domain.transcript import Entry, EntryKind, conversation
from taskforce.core.interfaces.llm import ChatMessage, ChatModel, ModelCall, ModelFailure, ModelReply, ModelRequest
from taskforce.core.interfaces.records import Clock, Live, Records, Spending, Store
from taskforce.core.interfaces.tools import ToolRunner, ToolSpec

ENTRIES_SHOWN = 600
EXCHANGES_SHOWN = 10
CLOSING = (
    "[You have reached the limit of steps. Answer now, in words, as well as you can with what you have; "
    "say what is left undone.]"
)


@dataclass(frozen=True, slots=True)
class Turn:
    """One step of a run in which the model speaks.

    Attributes:
        tenant_id: The tenant.
        run_id: The run.
        step: The step, from 1.
        attempt: Temporal's attempt, from 1.
        words: Ids of a person's words to hear first.
        closing: The model must answer in words.
    """

    tenant_id: str
    run_id: str
    step: int
    attempt: int
    words: tuple[str, ...] = ()
    closing: bool = False


@dataclass(frozen=True, slots=True)
class Thought:
    """What the loop must know of a reply."""

    calls: int
    tokens: int


class Thinking:
    """The use case behind `call_model`.

    Args:
        store: The tenants' data.
        briefs: What the runs are about.
        model: The door to the models.
        tools: The tools there are.
        live: Who watches.
        clock: The time.
    """

    def __init__(
        self, store: Store, briefs: Briefs, model: ChatModel, tools: ToolRunner, live: Live, clock: Clock
    ) -> None:
        self._store = store
        self._briefs = briefs
        self._model = model
        self._tools = tools
        self._live = live
        self._clock = clock

    async def think(self, turn: Turn) -> Thought:
        """Asks the model for a step and stores reply and usage in one transaction; a retry finds the earlier reply.

        Raises:
            ModelFailure: No usable reply; what was spent is recorded.
        """
        brief = await self._briefs.get(turn.tenant_id, turn.run_id)
        async with self._store.tenant(turn.tenant_id) as records:
            known = await records.transcripts.entry(turn.run_id, turn.step, 0)
            if known is not None:
                return Thought(0 if turn.closing else len(known.tool_calls), 0)
            heard = await self._heard(records, turn)
            messages = await self._messages(records, brief, turn, heard)
        try:
            reply = await self._model.complete(self._request(brief, turn, messages), self._stream(turn))
        except ModelFailure as error:
            await self._spend(brief, turn, error.calls, error)
            raise
        await self._keep(brief, turn, heard, reply)
        return Thought(0 if turn.closing else len(reply.tool_calls), _tokens(reply.calls))

    async def _heard(self, records: Records, turn: Turn) -> list[Entry]:
        if not turn.words:
            return []
        words = await records.words.get(turn.run_id, turn.words)
        now = self._clock()
        return [
            Entry(turn.step, place - len(words), EntryKind.WORD, text, now, author_id=author)
            for place, (author, text) in enumerate(words)
        ]

    async def _messages(
        self, records: Records, brief: Brief, turn: Turn, heard: Sequence[Entry]
    ) -> tuple[ChatMessage, ...]:
        earlier = await records.runs.exchanges(brief, EXCHANGES_SHOWN)
        entries = await records.transcripts.latest(turn.run_id, 0, ENTRIES_SHOWN)
        messages = conversation(brief.agent.system_prompt, earlier, [*entries, *heard])
        return (*messages, ChatMessage("user", CLOSING)) if turn.closing else messages

    def _request(self, brief: Brief, turn: Turn, messages: tuple[ChatMessage, ...]) -> ModelRequest:
        agent = brief.agent
        return ModelRequest(
            models=agent.models,
            messages=messages,
            tools=() if turn.closing else offered(self._tools.specs(), brief),
            temperature=agent.temperature,
            max_tokens=agent.max_reply_tokens,
        )

    def _stream(self, turn: Turn) -> "_Stream":
        return _Stream(self._live, turn)

    async def _keep(self, brief: Brief, turn: Turn, heard: Sequence[Entry], reply: ModelReply) -> None:
        now = self._clock()
        calls = () if turn.closing else reply.tool_calls
        duration = reply.calls[-1].duration_ms
        entry = Entry(turn.step, 0, EntryKind.REPLY, reply.text, now, tool_calls=calls, duration_ms=duration)
        data = {"step": turn.step, "tools": [call.name for call in calls], "text": reply.text[:500]}
        async with self._store.tenant(turn.tenant_id) as records:
            await records.transcripts.add(turn.run_id, [*heard, entry])
            await records.usage.add(self._spending(brief, turn, reply.calls))
            await records.runs.stepped(turn.run_id, turn.step)
            await records.events.append(turn.run_id, "step.replied", data, now)
        self._live.changed(turn.tenant_id, turn.run_id)

    async def _spend(self, brief: Brief, turn: Turn, calls: tuple[ModelCall, ...], error: DomainError) -> None:
        now = self._clock()
        data = {"step": turn.step, "attempt": turn.attempt, "code": error.code, "message": error.message[:500]}
        async with self._store.tenant(turn.tenant_id) as records:
            await records.usage.add(self._spending(brief, turn, calls))
            await records.events.append(turn.run_id, "model.failed", data, now)
        self._live.changed(turn.tenant_id, turn.run_id)

    def _spending(self, brief: Brief, turn: Turn, calls: tuple[ModelCall, ...]) -> Spending:
        return Spending(
            run_id=turn.run_id,
            step=turn.step,
            call=0,
            attempt=turn.attempt,
            user_id=brief.user_id,
            agent_id=brief.agent.agent_id,
            at=self._clock(),
            calls=calls,
        )


class _Stream:
    def __init__(self, live: Live, turn: Turn) -> None:
        self._live = live
        self._turn = turn

    def __call__(self, text: str) -> None:
        turn = self._turn
        self._live.text(turn.tenant_id, turn.run_id, turn.step, turn.attempt, text)


def offered(specs: Mapping[str, ToolSpec], brief: Brief) -> tuple[ToolSpec, ...]:
    """The tools that the agent may use, in a stable order, so that providers can cache the prompt."""
    return tuple(specs[name] for name in sorted(specs) if brief.agent.may_use(name))


def _tokens(calls: tuple[ModelCall, ...]) -> int:
    return sum(call.input_tokens + call.output_tokens for call in calls)
