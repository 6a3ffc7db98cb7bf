"""The transcript of a run, and the conversation that is built from it for the model."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from taskforce.core.domain.runs.todo import TodoList
from taskforce.core.interfaces.llm import ChatMessage, Finish, Reasoning, RequestedCall

SHOWN_LIMIT = 8_000
SHOWN_TAIL = 1_000
CONTEXT_LIMIT = 240_000
NOTE_SIZE = 100


class EntryKind(StrEnum):
    """The kind of a transcript entry; `word` is a person's message."""

    MISSION = "mission"
    WORD = "word"
    REPLY = "reply"
    OBSERVATION = "observation"


class CallStatus(StrEnum):
    """The status of a tool call in its observation."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REFUSED = "refused"
    DENIED = "denied"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the append-only transcript; (step, call) is its key and its order.

    The mission is (0, 0). Within a step people's messages come first with negative numbers, then the model's reply as
    0, then the observation of its n-th tool call as n.

    Attributes:
        step: The step, from 1; 0 for the mission.
        call: The position within the step.
        kind: The kind of entry.
        text: The text; for an observation as shown to the model.
        at: Time of recording, UTC.
        author_id: The user who wrote a message.
        word_id: Id of the stored message: of a person's message itself, or of an observation that is its answer. None
            in entries of before 2026-12.
        tool_calls: The calls that a reply requests.
        tool: Name of the tool, for an observation.
        tool_call_id: The model's id of the observed call.
        status: The status of the observed call.
        duration_ms: Milliseconds that the reply or the call took.
        whole_size: Characters of the whole result or reply, where only a part is shown.
        reasoning: The model's reasoning before a reply, where its provider requires it back.
        finish: Why a reply ended.
        dropped: Number of tool calls of a reply beyond the cap, which are not kept.
    """

    step: int
    call: int
    kind: EntryKind
    text: str
    at: datetime
    author_id: str | None = None
    tool_calls: tuple[RequestedCall, ...] = ()
    tool: str | None = None
    tool_call_id: str | None = None
    status: CallStatus | None = None
    duration_ms: int | None = None
    whole_size: int | None = None
    reasoning: Reasoning | None = None
    finish: Finish = "stop"
    dropped: int = 0
    word_id: str | None = None

    def size(self) -> int:
        """Returns the approximate size in characters."""
        return _size(self.message()) + 100

    def message(self) -> ChatMessage:
        """Returns the entry as a message to the model."""
        match self.kind:
            case EntryKind.REPLY:
                return ChatMessage("assistant", self.text, tool_calls=self.tool_calls, reasoning=self.reasoning)
            case EntryKind.OBSERVATION:
                return ChatMessage("tool", self.text, tool_call_id=self.tool_call_id)
            case _:
                return ChatMessage("user", self.text)


@dataclass(frozen=True, slots=True)
class Exchange:
    """An earlier mission of the same session with its answer."""

    mission: str
    answer: str


def mission_text(mission: str, context: Mapping[str, object]) -> str:
    """Renders the mission with the caller's context for the model."""
    if not context:
        return mission
    return f"{mission}\n\nContext:\n{json.dumps(context, ensure_ascii=False, indent=2, default=str)}"


def conversation(
    system_prompt: str,
    earlier: Sequence[Exchange],
    entries: Sequence[Entry],
    limit: int = CONTEXT_LIMIT,
) -> tuple[ChatMessage, ...]:
    """Builds the conversation for the model: system prompt, mission, and as many of the latest whole steps as fit.

    Earlier exchanges of the session take at most half of the room, the latest first.

    Args:
        system_prompt: The agent's prompt.
        earlier: Earlier exchanges of the session, oldest first.
        entries: The transcript in order, the mission first.
        limit: Characters of the whole conversation, at most.

    Returns:
        The messages, oldest first. A step is never cut, for providers refuse a reply without its observations; the
        latest step is included even where it alone exceeds the limit.
    """
    prompt = ChatMessage("system", system_prompt)
    mission = [entry.message() for entry in entries if entry.step == 0]
    # The note on omitted steps must fit too, whether or not it is needed.
    room = limit - NOTE_SIZE - _total([prompt, *mission])
    steps = [entry for entry in entries if entry.step > 0]
    latest = _total([entry.message() for entry in steps if entry.step == steps[-1].step])
    # The share is the same in each step as a rule: a stable prefix can be served from the provider's cache.
    session = _latest_exchanges(earlier, min(room // 2, room - latest))
    kept, left_out = _latest_steps(steps, room - _total(session))
    note = [ChatMessage("user", f"[{left_out} earlier steps are left out here; their results are stored.]")]
    return (prompt, *session, *mission, *(note if left_out else []), *kept)


def _latest_exchanges(earlier: Sequence[Exchange], room: int) -> list[ChatMessage]:
    kept: list[ChatMessage] = []
    for exchange in reversed(earlier):
        pair = [ChatMessage("user", exchange.mission), ChatMessage("assistant", exchange.answer)]
        room -= _total(pair)
        if room < 0:
            break
        kept = [*pair, *kept]
    return kept


def _latest_steps(entries: Sequence[Entry], room: int) -> tuple[list[ChatMessage], int]:
    steps: dict[int, list[ChatMessage]] = {}
    for entry in entries:
        steps.setdefault(entry.step, []).append(entry.message())
    kept: list[list[ChatMessage]] = []
    for _, messages in sorted(steps.items(), reverse=True):
        room -= _total(messages)
        # The latest step is kept in any case, or the model would not see its own calls' results.
        if room < 0 and kept:
            break
        kept.append(messages)
    first_kept = sorted(steps)[len(steps) - len(kept)] if kept else 1
    return [message for messages in reversed(kept) for message in messages], max(0, first_kept - 1)


def _total(messages: Sequence[ChatMessage]) -> int:
    return sum(_size(message) for message in messages)


def _size(message: ChatMessage) -> int:
    calls = sum(len(call.name) + len(call.arguments) for call in message.tool_calls)
    return len(message.content) + calls + (len(message.reasoning.text) if message.reasoning else 0) + 16


@dataclass(frozen=True, slots=True)
class ShownText:
    """A text as shown to the model, with the whole text where it was cut."""

    text: str
    whole: str | None = None


def shown(result: object, step: int, call: int) -> ShownText:
    """Renders a tool's result for the model; a long one is cut, with a reference to the whole.

    Args:
        result: The tool's return value.
        step: The step of the call.
        call: The call within the step.

    Returns:
        At most about 8,000 characters to show, and the whole text if it is longer.
    """
    text = _as_text(result)
    if len(text) <= SHOWN_LIMIT:
        return ShownText(text)
    head = SHOWN_LIMIT - SHOWN_TAIL
    note = (
        f"\n[... cut: {SHOWN_LIMIT} of {len(text)} characters are shown. The whole is stored; "
        f"read on with read_result(step={step}, call={call}, offset={head}) ...]\n"
    )
    return ShownText(text[:head] + note + text[-SHOWN_TAIL:], text)


def _as_text(result: object) -> str:
    if isinstance(result, str):
        # PostgreSQL's text type refuses NUL.
        return result.replace("\x00", "\N{REPLACEMENT CHARACTER}")
    if isinstance(result, TodoList):
        return result.markdown() or "The list is empty."
    return _as_text(json.dumps(result, ensure_ascii=False, default=str))
