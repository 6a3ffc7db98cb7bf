"""Assembly of a streamed reply, cheap per chunk: a reply may have thousands.

One assembly for all providers: it takes the chunks of the OpenAI wire format as parsed JSON, and LiteLLM's objects.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from taskforce.core.domain.metering.tokens import NO_TOKENS, TokenCounts
from taskforce.core.interfaces.llm import Finish, Reasoning, RequestedCall
from taskforce.infrastructure.llm.call_deltas import CallDeltas, call_deltas, get
from taskforce.infrastructure.llm.reply_limits import DEFAULT_LIMITS, ReplyLimits, calls_note
from taskforce.infrastructure.llm.token_usage import counts_of, larger, usages_of

MOST_PARTS = 10_000
"""Parts that are read of a content which is a list: all are gone through at once, and no reply has as many."""

REASONING_FIELDS = ("reasoning_content", "reasoning")

SEALED_FIELDS = ("reasoning_details", "thinking_blocks")
"""Fields of reasoning that only its provider can read: the model is at work."""

_LENGTH = frozenset({"length", "max_tokens", "model_length", "model_context_window_exceeded"})
_FILTERED = frozenset({"content_filter", "sensitive", "safety", "refusal", "prohibited_content", "blocklist"})
BROKEN = frozenset({"insufficient_system_resource", "network_error", "abort", "server_error"})
"""Finish reasons of servers that could not finish the reply."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_HIGH_SURROGATE = re.compile("[\ud800-\udbff]$")


def _ignored() -> None:
    pass


@dataclass(slots=True)
class ReplyStream:
    """Collects a reply while it arrives.

    Args:
        on_text: Called with each piece of text.
        offered: Names of the tools on offer.
        limits: The bounds of the reply.
        on_token: Called with each piece of text, reasoning or a tool call.

    Attributes:
        finish_reason: The provider's finish reason, once the model stopped.
        tokens: As the provider counted them; 0 while it has not.
        too_long: Whether text or reasoning exceeds its bound.
        is_whole: Whether it came as one message instead of a stream.
    """

    on_text: Callable[[str], None]
    offered: tuple[str, ...] = ()
    limits: ReplyLimits = DEFAULT_LIMITS
    on_token: Callable[[], None] = _ignored
    finish_reason: str | None = None
    tokens: TokenCounts = NO_TOKENS
    too_long: bool = False
    is_whole: bool = False
    calls: CallDeltas = field(init=False)
    _text: list[str] = field(default_factory=list)
    _reasoning: list[str] = field(default_factory=list)
    _reasoning_field: str = REASONING_FIELDS[0]
    _characters: int = 0
    _idle: int = 0
    _held: str = ""

    def __post_init__(self) -> None:
        self.calls = CallDeltas(self.offered, self.limits.calls, self.limits.characters)

    def add(self, chunk: object) -> None:
        """Adds the next chunk; ignored once the reply is cut off."""
        self._idle += 1
        self.count((chunk,))
        choices = get(chunk, "choices")
        choice = choices[0] if isinstance(choices, list | tuple) and choices else None
        if choice is None or self.is_cut:
            return
        delta = get(choice, "delta")
        if delta is None:
            # A whole message: the reply itself, or some servers' repetition of it at the end.
            delta = None if self.begun else get(choice, "message")
            self.is_whole |= delta is not None
        self._add_delta(delta)
        finish = get(choice, "finish_reason")
        if isinstance(finish, str) and finish:
            # The first one counts: a later chunk may repeat or contradict it.
            self.finish_reason = self.finish_reason or finish

    def _add_delta(self, delta: object) -> None:
        content = get(delta, "content")
        if isinstance(content, str):
            if content:
                self._say(content)
        elif content:
            self._add_parts(content)
        for name in REASONING_FIELDS:
            # The first name that is there: servers that send both send the same text twice.
            if thought := get(delta, name):
                self._reason("".join(_texts(thought)), name)
                break
        if refusal := get(delta, "refusal"):
            self._say("".join(_texts(refusal)))
            # Servers finish a refusal with `stop`, as if it were the answer.
            self.finish_reason = "content_filter"
        if any(get(delta, name) for name in SEALED_FIELDS):
            self.on_token()
        if calls := get(delta, "tool_calls") or get(delta, "function_call"):
            self._add_calls(calls)

    def _add_parts(self, content: object) -> None:
        if isinstance(content, list | tuple) and len(content) > MOST_PARTS:
            content = content[:MOST_PARTS]
            self.too_long = True
        # Joined first: what is said is passed on at once, and a call for each part would take long.
        self._reason("".join(_thoughts(content)), REASONING_FIELDS[0])
        self._say("".join(_texts(content)))

    def _add_calls(self, calls: object) -> None:
        for piece in call_deltas(calls):
            if self.calls.add(piece):
                self._advance()
            if self.calls.left_out:
                self._say(("\n\n" if self._text else "") + calls_note(self.limits.calls))
                break

    def _say(self, text: str) -> None:
        """Adds text; a lone high surrogate waits for its other half, for some servers cut between the two escapes."""
        if self._held or _SURROGATE.search(text):
            text, self._held = _paired(self._held + text)
        room = self.limits.characters - self._characters
        self._characters += len(text)
        if text:
            self._advance()
        if len(text) > room:
            self.too_long, text = True, text[: max(room, 0)]
        if text:
            self._text.append(text)
            self.on_text(text)

    def _reason(self, text: str, name: str) -> None:
        if not text:
            return
        self._characters += len(text)
        self._advance()
        self._reasoning_field = name
        if self._characters > self.limits.characters:
            self.too_long = True
        else:
            self._reasoning.append(text)

    def _advance(self) -> None:
        self._idle = 0
        self.on_token()

    def count(self, chunks: Iterable[object]) -> None:
        """Reads token counts from chunks that have some; providers send them once, or growing."""
        for chunk in chunks:
            for usage in usages_of(chunk):
                self.tokens = larger(self.tokens, counts_of(usage))

    @property
    def begun(self) -> bool:
        """Returns whether anything of the reply arrived."""
        return bool(self._text or self._reasoning or self.calls)

    @property
    def is_cut(self) -> bool:
        """Returns whether it is cut off: later chunks are ignored, and the connection can be closed."""
        return self._is_too_long or self.calls.left_out

    @property
    def _is_too_long(self) -> bool:
        return self.too_long or self.calls.too_long or self._idle > self.limits.idle_chunks

    @property
    def text(self) -> str:
        """Returns the text so far."""
        return "".join(self._text)

    @property
    def tool_calls(self) -> tuple[RequestedCall, ...]:
        """Returns the calls so far."""
        return self.calls.requested()

    @property
    def finish(self) -> Finish:
        """Returns why it ended."""
        reason = (self.finish_reason or "").lower()
        if self._is_too_long or reason in _LENGTH:
            return "length"
        return "content_filter" if reason in _FILTERED else "stop"

    @property
    def has_words(self) -> bool:
        """Returns whether it has text."""
        return any(piece.strip() for piece in self._text)

    @property
    def usable(self) -> bool:
        """Returns whether the loop can go on: the model can correct invalid arguments, but not a call that was cut."""
        if self.finish_reason == "error" or self.calls.nameless:
            return False
        if self.finish != "stop" and self.calls:
            return self.calls.last_is_whole
        return bool(self.calls) or self.has_words

    def reasoning(self, model: str) -> Reasoning | None:
        """Returns the reasoning that precedes the reply.

        Args:
            model: The LiteLLM name of the model.

        Returns:
            The reasoning, or None where there is none.
        """
        text = "".join(self._reasoning)
        return Reasoning(model, self._reasoning_field, text) if text.strip() else None

    def texts(self) -> Sequence[str]:
        """Returns what counts as tokens: text, reasoning, names and arguments."""
        return [self.text, "".join(self._reasoning), *self.calls.texts()]


def _texts(content: object) -> Iterator[str]:
    """Yields the text of a content: a string, or the text parts of a list."""
    if isinstance(content, str):
        if content:
            yield content
    elif isinstance(content, list | tuple):
        for part in content:
            yield from _texts(part)
    elif isinstance(content, Mapping) and content.get("type", "text") in ("text", "output_text"):
        yield from _texts(content.get("text"))


def _thoughts(content: object) -> Iterator[str]:
    """Yields the reasoning in a content that is a list of parts."""
    if isinstance(content, list | tuple):
        for part in content:
            if isinstance(part, Mapping) and part.get("type") in ("thinking", "reasoning"):
                yield from _texts(part.get("thinking") or part.get("text"))


def _paired(text: str) -> tuple[str, str]:
    """Joins surrogate halves; returns what is whole, and a first half at the end that waits for its second."""
    held = _HIGH_SURROGATE.search(text)
    whole = text[: held.start()] if held else text
    return whole.encode("utf-16", "surrogatepass").decode("utf-16", "replace"), held.group() if held else ""
