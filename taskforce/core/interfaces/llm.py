"""The shape of a conversation with a model, and the protocol that `infrastructure/llm` fulfils."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from taskforce.core.domain.errors import DomainError, Invalid, Limited, Unavailable
from taskforce.core.interfaces.tools import ToolSpec

Role = Literal["system", "user", "assistant", "tool"]
Finish = Literal["stop", "length", "content_filter"]
"""Why a reply ended: the model was done, a limit of its length cut it off, or the provider's filter did."""


@dataclass(frozen=True, slots=True)
class RequestedCall:
    """One tool call as the model asked for it.

    Attributes:
        id: The model's own name for the call; ties the observation to it.
        name: The tool's name: one that was offered where the model's spelling leads to one alone, else as the model
            wrote it; it may not exist.
        arguments: The raw JSON text; it may be malformed.
    """

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What a model wrote before its reply, in a field of its own. Some providers refuse the next request without it.

    Attributes:
        model: The LiteLLM name of the model; no other is sent it.
        field: The field of the message that held it, for example `reasoning_content`.
        text: The reasoning.
    """

    model: str
    field: str
    text: str


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of the conversation, in the OpenAI chat vocabulary that LiteLLM speaks."""

    role: Role
    content: str
    tool_calls: tuple[RequestedCall, ...] = ()
    tool_call_id: str | None = None
    reasoning: Reasoning | None = None


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """What one step asks of a model.

    Attributes:
        models: LiteLLM model names, the preferred first; the rest are tried in order when one is unavailable, finds
            the conversation too long or refuses its content.
        messages: The conversation, oldest first.
        tools: Tools offered; empty when the model shall answer in words.
        temperature: Sampling temperature; None leaves the provider's default.
        max_tokens: Cap of the reply in tokens; None leaves the provider's default.
        timeout_seconds: Time for one call to one model.
    """

    models: tuple[str, ...]
    messages: tuple[ChatMessage, ...]
    tools: tuple[ToolSpec, ...] = ()
    temperature: float | None = None
    max_tokens: int | None = None
    timeout_seconds: float = 120.0


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One call that was made to a model, for the usage records.

    Attributes:
        model: The LiteLLM name that was called.
        input_tokens: Tokens of the prompt, cached ones included.
        output_tokens: Tokens of the reply.
        cached_tokens: Those input tokens that the provider served from its cache.
        duration_ms: Milliseconds from request to last token.
        failed: The error's code when the call brought no usable reply: its tokens are wasted.
    """

    model: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    duration_ms: int
    failed: str | None = None


@dataclass(frozen=True, slots=True)
class ModelReply:
    """A usable reply: words, tool calls, or both.

    Attributes:
        text: The model's words; its thought when it also calls tools, its answer when it does not.
        tool_calls: The calls it asks for.
        calls: Every call made to get here, failed ones first, the one that replied last.
        finish: Why it ended; an answer whose finish is not `stop` is not complete.
        reasoning: What the model wrote before the reply, to be sent back with it.
    """

    text: str
    tool_calls: tuple[RequestedCall, ...]
    calls: tuple[ModelCall, ...]
    finish: Finish = "stop"
    reasoning: Reasoning | None = None


class ModelFailure(DomainError):
    """No usable reply came.

    Attributes:
        calls: The calls that were made before giving up; their tokens are recorded as wasted.
    """

    calls: tuple[ModelCall, ...] = ()


class ModelInterrupted(asyncio.CancelledError):
    """The call was cancelled while the model worked.

    Attributes:
        calls: The calls that were made, that which was cancelled last; the provider may charge for them.
    """

    def __init__(self, calls: tuple[ModelCall, ...]) -> None:
        super().__init__()
        self.calls = calls


class ModelRefused(ModelFailure, Invalid):
    """The provider refused (400, 401, 403, 404, a quota that is used up, no API at all): retrying will not help."""


class ModelLimited(ModelFailure, Limited):
    """The provider limits our rate (429); `retry_after` holds its `Retry-After` in seconds where it sent one."""


class ModelUnavailable(ModelFailure, Unavailable):
    """The provider failed (5xx), timed out, or cannot be reached."""


class ModelReplyInvalid(ModelFailure, Invalid):
    """The model replied twice with nothing that can be used (code `model_reply_invalid`).

    `details["finish"]` is the `Finish` of the second: with `length` the limit of a reply is too low.
    """


class ChatModel(Protocol):
    """Asks a model and streams its words."""

    async def complete(self, request: ModelRequest, on_text: Callable[[str], None]) -> ModelReply:
        """Makes the call; asks once more when the reply is empty or malformed.

        Args:
            request: What to ask.
            on_text: Called with each piece of text as it arrives; must return at once.

        Returns:
            A usable reply.

        Raises:
            ModelRefused: The provider refused; not worth retrying.
            ModelLimited: Rate limited; see `retry_after`.
            ModelUnavailable: Every model of the list failed or timed out.
            ModelReplyInvalid: Two replies in a row were unusable.
            ModelInterrupted: The caller was cancelled meanwhile.
        """
        ...
