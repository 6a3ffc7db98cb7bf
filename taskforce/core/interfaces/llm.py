"""Value types of a conversation with a model, and the protocol that `infrastructure/llm` implements."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from taskforce.core.domain.errors import DomainError, Invalid, Limited, Unavailable
from taskforce.core.domain.metering.tokens import TokenCounts
from taskforce.core.domain.runs.reply_times import ReplyTimes
from taskforce.core.interfaces.tools import ToolSpec

Role = Literal["system", "user", "assistant", "tool"]
Finish = Literal["stop", "length", "content_filter"]
"""Why a reply ended: the model finished, a length limit cut it, or the provider's content filter did."""
Estimate = Literal["tokenizer", "cut_off"]
"""How tokens are counted without the provider: by a tokenizer, or so of a call that was cut off before its end."""


@dataclass(frozen=True, slots=True)
class RequestedCall:
    """A tool call as the model requested it.

    Attributes:
        id: The model's id of the call, which links the observation to it.
        name: The tool's name: an offered one where the model's spelling matches exactly one, else as the model wrote
            it; it may not exist.
        arguments: The raw JSON text; it may be malformed.
    """

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A model's reasoning before its reply. Some providers refuse the next request without it.

    Attributes:
        model: LiteLLM name of the model; the reasoning is sent to no other.
        field: Name of the message field that held it, for example `reasoning_content`.
        text: The reasoning.
    """

    model: str
    field: str
    text: str


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """A message of the conversation, in the OpenAI chat format that LiteLLM uses."""

    role: Role
    content: str
    tool_calls: tuple[RequestedCall, ...] = ()
    tool_call_id: str | None = None
    reasoning: Reasoning | None = None


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """The model request of one step.

    Attributes:
        models: LiteLLM model names, the preferred first; the next is tried when one is unavailable, finds the
            conversation too long or refuses its content.
        messages: The conversation, oldest first.
        tools: Offered tools; empty when the model shall answer with text.
        temperature: Sampling temperature; None leaves the provider's default.
        max_tokens: Cap of the reply in tokens; None leaves the provider's default.
        times: Time limits of a reply by model; one without an entry has the default ones.
    """

    models: tuple[str, ...]
    messages: tuple[ChatMessage, ...]
    tools: tuple[ToolSpec, ...] = ()
    temperature: float | None = None
    max_tokens: int | None = None
    times: Mapping[str, ReplyTimes] = field(default_factory=dict)

    def times_of(self, model: str) -> ReplyTimes:
        """Returns the time limits of a model's reply."""
        return self.times.get(model) or ReplyTimes()


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One call to a model, for the usage records.

    Attributes:
        model: The LiteLLM name that was called.
        tokens: The tokens of prompt and reply.
        duration_ms: Milliseconds from the request to the last token.
        failed: Error code when the call brought no usable reply and its tokens are wasted; else None.
        estimated: How the tokens were counted where the provider did not; None for its own counts.
        provider: LiteLLM's name of the provider; None where it is not known.
    """

    model: str
    tokens: TokenCounts
    duration_ms: int
    failed: str | None = None
    estimated: Estimate | None = None
    provider: str | None = None


@dataclass(frozen=True, slots=True)
class ModelReply:
    """A usable reply: text, tool calls, or both.

    Attributes:
        text: The text: the answer, or remarks beside tool calls.
        tool_calls: The requested calls.
        calls: All calls that were made for it, failed ones first.
        finish: Why it ended; an answer whose finish is not `stop` is incomplete.
        reasoning: The reasoning before the reply, to be sent back with it.
    """

    text: str
    tool_calls: tuple[RequestedCall, ...]
    calls: tuple[ModelCall, ...]
    finish: Finish = "stop"
    reasoning: Reasoning | None = None


class ModelFailure(DomainError):
    """Raised when no usable reply came.

    Attributes:
        calls: The calls that were made; their tokens are recorded as wasted.
    """

    calls: tuple[ModelCall, ...] = ()


class ModelInterrupted(asyncio.CancelledError):
    """Raised when the call was cancelled meanwhile.

    Attributes:
        calls: The calls that were made, the cancelled one last; the provider may charge for them.
    """

    def __init__(self, calls: tuple[ModelCall, ...]) -> None:
        super().__init__()
        self.calls = calls


class ModelRefused(ModelFailure, Invalid):
    """Raised when the provider refused (400, 401, 403, 404, quota used up, no API at all): a retry does not help."""


class ModelLimited(ModelFailure, Limited):
    """Raised when the provider limits the rate (429); `retry_after` holds its `Retry-After` in seconds, if sent."""


class ModelUnavailable(ModelFailure, Unavailable):
    """Raised when the provider failed (5xx), timed out, or cannot be reached."""


class ModelReplyInvalid(ModelFailure, Invalid):
    """Raised when two replies in a row were unusable (code `model_reply_invalid`).

    `details["finish"]` is the `Finish` of the second: with `length` the limit of a reply is too low.
    """


class PromptBound(Protocol):
    """Estimates how many tokens the prompt of a request may have at most."""

    def __call__(self, request: ModelRequest) -> int:
        """Returns the tokens."""
        ...


class ChatModel(Protocol):
    """The protocol of a chat model."""

    async def complete(self, request: ModelRequest, on_text: Callable[[str], None]) -> ModelReply:
        """Requests a reply and streams its text; requests once more when the reply is empty or malformed.

        Args:
            request: The request.
            on_text: Called with each piece of text as it arrives; must not block.

        Returns:
            A usable reply.

        Raises:
            ModelRefused: The provider refused; a retry does not help.
            ModelLimited: Rate limited; see `retry_after`.
            ModelUnavailable: Every model of the list failed or timed out.
            ModelReplyInvalid: Two replies in a row were unusable.
            ModelInterrupted: The caller was cancelled meanwhile.
        """
        ...
