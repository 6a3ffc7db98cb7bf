"""Puts a streamed reply together, cheaply: a reply of thousands of chunks passes through here one by one."""

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from taskforce.core.interfaces.llm import RequestedCall
from taskforce.infrastructure.llm.chat_format import estimate_tokens, parsed_object

MOST_TOKENS = 1_000_000_000
"""More than any call can have; a provider that counts more cannot be believed."""


class FunctionDelta(Protocol):
    """A piece of a function call."""

    name: str | None
    arguments: str | None


class CallDelta(Protocol):
    """A piece of a tool call; `index` tells which of several it belongs to."""

    index: int
    id: str | None
    function: FunctionDelta | None


class Delta(Protocol):
    """What a chunk adds to the reply."""

    content: str | None
    tool_calls: Sequence[CallDelta] | None


class Choice(Protocol):
    """The reply in a chunk; only one is ever asked for."""

    delta: Delta
    finish_reason: str | None


class Chunk(Protocol):
    """A chunk as LiteLLM gives it, whatever the provider."""

    choices: Sequence[Choice]


@dataclass(slots=True)
class _Call:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)

    def requested(self) -> RequestedCall:
        return RequestedCall(self.id or f"call_{uuid.uuid4().hex[:16]}", self.name, "".join(self.arguments))


@dataclass(slots=True)
class ReplyStream:
    """A reply while it arrives.

    Args:
        on_text: Called with each piece of text.

    Attributes:
        finish_reason: Why the model stopped, once it did.
        input_tokens: As the provider counted them; 0 while it has not.
        output_tokens: Likewise.
        cached_tokens: Input tokens that came from the provider's cache.
    """

    on_text: Callable[[str], None]
    finish_reason: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    _text: list[str] = field(default_factory=list)
    _calls: list[_Call] = field(default_factory=list)
    _open: dict[int, _Call] = field(default_factory=dict)

    def add(self, chunk: Chunk) -> None:
        """Takes the next chunk."""
        if not chunk.choices:
            return
        choice = chunk.choices[0]
        if choice.finish_reason:
            self.finish_reason = choice.finish_reason
        content = choice.delta.content
        if content:
            self._text.append(content)
            self.on_text(content)
        for delta in choice.delta.tool_calls or ():
            self._add_call(delta)

    def _add_call(self, delta: CallDelta) -> None:
        """Some providers give every call the index 0: a new id with a name begins a new call."""
        function = delta.function
        name = (function and function.name) or ""
        call = self._open.get(delta.index)
        if call is None or (name and delta.id and call.id and delta.id != call.id):
            call = self._open[delta.index] = _Call()
            self._calls.append(call)
        call.id = call.id or delta.id or ""
        call.name = call.name or name
        if function and function.arguments:
            call.arguments.append(function.arguments)

    def count(self, chunks: Iterable[object]) -> None:
        """Takes token counts from chunks that carry some; providers send them once, or growing."""
        for chunk in chunks:
            usage = _get(chunk, "usage")
            if usage is not None:
                self.input_tokens = max(self.input_tokens, _number(_get(usage, "prompt_tokens")))
                self.output_tokens = max(self.output_tokens, _number(_get(usage, "completion_tokens")))
                cached = _get(_get(usage, "prompt_tokens_details"), "cached_tokens")
                self.cached_tokens = max(self.cached_tokens, _number(cached))

    @property
    def begun(self) -> bool:
        """Whether anything of the reply arrived."""
        return bool(self._text or self._calls)

    @property
    def text(self) -> str:
        """The words so far."""
        return "".join(self._text)

    @property
    def tool_calls(self) -> tuple[RequestedCall, ...]:
        """The calls so far."""
        return tuple(call.requested() for call in self._calls)

    @property
    def usable(self) -> bool:
        """Whether the loop can go on: arguments that are no JSON can be told to the model, a cut call cannot."""
        if self.finish_reason == "error" or any(not call.name for call in self._calls):
            return False
        if self.finish_reason == "length" and self._calls:
            return parsed_object("".join(self._calls[-1].arguments)) is not None
        return bool(self._calls or self.text.strip())

    def estimate_output(self) -> int:
        """Guesses the tokens of what arrived."""
        return estimate_tokens(self.text, *(call.name + "".join(call.arguments) for call in self._calls))


def _get(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, dict) else getattr(value, name, None)


def _number(value: object) -> int:
    return min(max(value, 0), MOST_TOKENS) if isinstance(value, int) else 0
