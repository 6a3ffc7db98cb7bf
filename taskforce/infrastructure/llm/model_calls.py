"""Calls of one `complete`: its models in turn, with a usage record of every call, whatever its outcome."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field

import httpx

from taskforce.core.interfaces.llm import (
    ChatMessage,
    ModelCall,
    ModelFailure,
    ModelInterrupted,
    ModelLimited,
    ModelRefused,
    ModelReply,
    ModelReplyInvalid,
    ModelRequest,
)
from taskforce.core.interfaces.tracing import NO_TRACING, Tracer
from taskforce.infrastructure.llm.call_spans import CANCELLED, traced_call
from taskforce.infrastructure.llm.chat_endpoint import ChatEndpoints, require_sound_key
from taskforce.infrastructure.llm.chat_format import wire_messages, wire_tools
from taskforce.infrastructure.llm.errors import (
    CONTENT_REFUSED,
    PAID_IN_VAIN,
    failure_of,
    nothing_answered,
    refusal_code,
)
from taskforce.infrastructure.llm.litellm_clients import REPLY_BODIES, BoundedClients, ReplyBodies
from taskforce.infrastructure.llm.litellm_library import Json, LiteLLM, LiteLLMStream
from taskforce.infrastructure.llm.model_selection import key_variable, known_secrets
from taskforce.infrastructure.llm.openai_wire import OpenAIWire, WireRequest
from taskforce.infrastructure.llm.provider_errors import (
    NotAnApiError,
    ProviderError,
    ReplyTooLongError,
    StreamBrokenError,
)
from taskforce.infrastructure.llm.providers import Providers
from taskforce.infrastructure.llm.refused_options import (
    MOST_ASKED,
    REASONING_REQUIRED,
    UNSTREAMED,
    RefusedOptions,
    refused_option,
    without,
)
from taskforce.infrastructure.llm.reply_limits import ReplyLimits
from taskforce.infrastructure.llm.reply_stream import BROKEN, ReplyStream
from taskforce.infrastructure.llm.reply_timer import ReplyLateError, ReplyTimer
from taskforce.infrastructure.llm.token_estimate import TokenCounter, request_texts

REPLY_INVALID = "model_reply_invalid"
NUDGE = ChatMessage(
    "user",
    "[Your last reply was empty, or a tool call in it had no name or was cut off. "
    "Answer in words, or call one of the tools.]",
)
_TOLD = (
    TimeoutError,
    ReplyLateError,
    StreamBrokenError,
    NotAnApiError,
    ReplyTooLongError,
    httpx.HTTPError,
    ModelFailure,
)
"""Failures that say what they are: no key is missing then."""

COUNTS_SECONDS = 2.0
"""Seconds to wait for token counts once the reply is complete."""


@dataclass(frozen=True, slots=True)
class ModelTransport:
    """Holds what calls are made with; one for a process.

    Attributes:
        litellm: The library.
        endpoints: Requests for models that speak the OpenAI wire format.
        wire: The client of that format.
        refused: The options that models are known to refuse.
        tokens: Counts tokens where a provider does not.
        providers: Names the providers of models.
        limits: The bounds of a reply.
        api_base: Base URL for every model, or None.
        clients: The HTTP clients of LiteLLM's calls.
        too_long: Whether LiteLLM reads a refusal's text as one of a conversation that is too long.
        tracer: Traces the calls.
    """

    litellm: LiteLLM
    endpoints: ChatEndpoints
    wire: OpenAIWire
    refused: RefusedOptions
    tokens: TokenCounter
    providers: Providers
    limits: ReplyLimits
    api_base: str | None
    clients: BoundedClients
    too_long: Callable[[str], bool]
    tracer: Tracer = NO_TRACING


@dataclass(frozen=True, slots=True)
class ModelCalls:
    """Makes the calls of one `complete`.

    Attributes:
        transport: What the calls are made with.
        asked: The request.
        on_text: Called with each piece of text.
        calls: The calls that were made, for the usage records.
    """

    transport: ModelTransport
    asked: ModelRequest
    on_text: Callable[[str], None]
    calls: list[ModelCall] = field(default_factory=list)

    async def ask(self, model: str) -> ModelReply:
        """Calls one model, and once more when its reply is unusable.

        Args:
            model: Its LiteLLM name.

        Returns:
            A usable reply.

        Raises:
            ModelFailure: There is none.
        """
        messages = self.asked.messages
        finish = "stop"
        for asked in (messages, (*messages, NUDGE)):
            reply = await self._call(model, asked)
            if reply.usable:
                reasoning = reply.reasoning(model)
                return ModelReply(reply.text, reply.tool_calls, tuple(self.calls), reply.finish, reasoning)
            finish = reply.finish
        raise self._unusable(model, finish)

    def _unusable(self, model: str, finish: str) -> ModelFailure:
        details = {"model": model, "finish": finish}
        if finish == "length":
            cap = self.asked.max_tokens
            limit = f"max_tokens, {cap}" if cap else "the provider's own"
            text = (
                f"{model} twice used up the limit of a reply's tokens ({limit}) before it had said anything that can "
                "be used, by thinking or within a tool call: raise the limit (max_tokens), or let it think less."
            )
        else:
            text = f"{model} replied twice with nothing that can be used (no words, no sound tool call): try another."
        return ModelReplyInvalid(REPLY_INVALID, text, details=details)

    async def _call(self, model: str, messages: Sequence[ChatMessage]) -> ReplyStream:
        """Calls again without an optional parameter that the model refuses."""
        until = asyncio.get_running_loop().time() + self.asked.times_of(model).reply_seconds
        offered = tuple(tool.name for tool in self.asked.tools)
        for left in reversed(range(MOST_ASKED)):
            timer = ReplyTimer(self.asked.times_of(model), until)
            reply = ReplyStream(self.on_text, offered, self.transport.limits, timer.token)
            with traced_call(self.transport.tracer, model, self.asked, reply, self.calls, messages=messages):
                option = await self._try(model, messages, reply, timer, adapts=left > 0)
            if option is None:
                return reply
            self.transport.refused.add(model, option)
        raise AssertionError("the last one does not adapt")

    def _streams(self, model: str) -> bool:
        return self.transport.refused.streams(model) and self.transport.endpoints.streams(model)

    async def _try(
        self, model: str, messages: Sequence[ChatMessage], reply: ReplyStream, timer: ReplyTimer, *, adapts: bool
    ) -> str | None:
        """Makes one call. Returns the option that the model refuses, or None when the reply is complete."""
        started, body = time.monotonic(), Json()
        failure: ModelFailure | None
        option, cut_off, hung_up = None, False, False
        try:
            timer.whole_only = not self._streams(model)
            async with timer.running():
                await self._read(model, messages, reply, body)
            if reply.is_whole:
                self.transport.refused.add(model, UNSTREAMED)
            failure = _refused_content(model, reply)
        except asyncio.CancelledError:
            # Providers charge a cancelled call, the prompt at least, and report no counts: estimate them.
            self._record(model, messages, reply, CANCELLED, started, charged=True, cut_off=True)
            raise ModelInterrupted(tuple(self.calls)) from None
        except Exception as error:  # noqa: BLE001  whatever a provider's code raises is a failure of the model
            option = self._refused_option(error, body) if adapts and not reply.begun else None
            cut_off, hung_up = True, isinstance(error, ReplyLateError)
            failure = self._failure(error, model, reply)
        # A provider that failed before its first chunk is assumed to have charged nothing; one that was too slow for us
        # has had its work, as one that was cancelled.
        charged = failure is None or reply.begun or hung_up
        code = failure.code if failure else None
        self._record(model, messages, reply, code, started, charged=charged, cut_off=cut_off)
        if failure is not None and option is None:
            raise failure
        return option

    async def _read(self, model: str, messages: Sequence[ChatMessage], reply: ReplyStream, body: Json) -> None:
        """Sends the request, keeps its members in `body`, and reads the reply."""
        refused = self.transport.refused.of(model)
        rendered = wire_messages(
            messages,
            offered=reply.offered,
            model=model,
            refused=refused,
            fill_reasoning=REASONING_REQUIRED in refused,
        )
        options = self._options(refused)
        request = self.transport.endpoints.request(model, rendered, options, refused)
        if request is not None:
            body |= request.body
            await self._read_wire(request, reply)
        else:
            body |= {**options, "messages": rendered}
            await self._read_litellm(model, body, reply)

    def _options(self, refused: frozenset[str]) -> Json:
        optional: Json = {
            "tools": wire_tools(self.asked.tools) or None,
            "temperature": self.asked.temperature,
            "max_tokens": self.asked.max_tokens,
            "stream_options": {"include_usage": True},
        }
        return without({name: value for name, value in optional.items() if value is not None}, refused)

    async def _read_wire(self, request: WireRequest, reply: ReplyStream) -> None:
        async with aclosing(self.transport.wire.chunks(request)) as chunks:
            async for chunk in chunks:
                reply.add(chunk)
                if reply.finish_reason or reply.is_cut:
                    break
            else:
                raise StreamBrokenError
            if reply.finish_reason in BROKEN:
                raise StreamBrokenError
            if not reply.is_cut:
                await _read_counts(chunks, reply.add)

    async def _read_litellm(self, model: str, options: Json, reply: ReplyStream) -> None:
        """Reads LiteLLM's stream up to the finish reason: beyond it, LiteLLM builds the reply twice more, for logs."""
        bodies = ReplyBodies(self.transport.limits)
        REPLY_BODIES.set(bodies)
        self.transport.clients.use()
        try:
            async with aclosing(await self._open(model, options)) as stream:
                await _read_stream(stream, bodies, reply)
        except Exception:
            if bodies.failure is None:
                raise
            # LiteLLM may have made something else of it, such as a failure of the server.
            raise bodies.failure from None
        finally:
            await bodies.aclose()

    async def _open(self, model: str, options: Json) -> LiteLLMStream:
        """Opens LiteLLM's stream, without the options that LiteLLM knows a model not to take, such as a temperature.

        Only then: with `drop_params` LiteLLM sends again what was answered by 422, and returns None after that.
        """
        call = {**options, **self._settings(model)}
        try:
            stream = await self.transport.litellm.acompletion(**call)
        except self.transport.litellm.UnsupportedParamsError:
            stream = await self.transport.litellm.acompletion(**call, drop_params=True)
        if stream is None:
            raise StreamBrokenError
        return stream

    def _settings(self, model: str) -> Json:
        timeout = self.asked.times_of(model).reply_seconds
        settings: Json = {"model": model, "stream": True, "num_retries": 0, "max_retries": 0, "timeout": timeout}
        key = os.environ.get(key_variable(model), "")
        require_sound_key(model, key.strip())
        # LiteLLM would read the variable itself, with the line break that a file has left at its end.
        if key != key.strip():
            settings["api_key"] = key.strip()
        if self.transport.api_base is not None:
            settings["api_base"] = self.transport.api_base
        return settings

    def _refused_option(self, error: Exception, body: Mapping[str, object]) -> str | None:
        if refusal_code(error) is not None or self._is_too_long(error):
            return None
        return refused_option(error, body)

    def _is_too_long(self, error: Exception) -> bool:
        return (
            isinstance(error, ProviderError)
            and error.status_code in (400, 413, 422)
            and self.transport.too_long(error.message)
        )

    def _failure(self, error: Exception, model: str, reply: ReplyStream) -> ModelFailure:
        if self._is_too_long(error):
            error = ProviderError(400, {"code": "context_length_exceeded"}, {}, "")
        missing: object = ()
        reported = isinstance(error, _TOLD)
        if not reported and not reply.begun and nothing_answered(error):
            missing = self.transport.litellm.validate_environment(model).get("missing_keys")
        keys = [str(name) for name in missing] if isinstance(missing, list) else []
        # `validate_environment` lists Azure's API version too, which has a default and is no key.
        keys = [name for name in keys if not name.endswith("_API_VERSION")]
        return failure_of(error, model, missing_keys=keys, secrets=known_secrets(os.environ))

    def _record(
        self,
        model: str,
        messages: Sequence[ChatMessage],
        reply: ReplyStream,
        failed: str | None,
        started: float,
        *,
        charged: bool,
        cut_off: bool,
    ) -> None:
        asked = request_texts(messages, self.asked.tools) if charged else ()
        tokens, estimated = self.transport.tokens.complete(reply.tokens, asked, reply.texts())
        # What a provider counts before the end is not all of it.
        is_part = reply.is_cut or (cut_off and not (reply.finish_reason and reply.tokens.output))
        call = ModelCall(
            model=model,
            tokens=tokens,
            duration_ms=round((time.monotonic() - started) * 1000),
            failed=failed or (None if reply.usable else REPLY_INVALID),
            estimated="cut_off" if is_part and tokens.total else "tokenizer" if estimated else None,
            provider=self.transport.providers.of(model),
        )
        self.calls.append(call)


def given_up(failures: Sequence[ModelFailure], calls: Sequence[ModelCall]) -> ModelFailure:
    """Selects the failure to report when every model failed.

    Args:
        failures: One a model, in their order.
        calls: The calls that were made.

    Returns:
        A reply that ended the search; else one that was paid for whole in vain, and would be again; else the first that
        may pass, where the first model's own will not for this conversation; else the first. Its wait is the shortest.
    """
    if not failures:
        return ModelRefused("model_not_named", "No model is named: set TASKFORCE_MODEL or the agent's model.")
    passing = [one for one in failures if not isinstance(one, ModelRefused)]
    unusable = failures[-1:] if isinstance(failures[-1], ModelReplyInvalid) else []
    in_vain = [one for one in failures if one.code in PAID_IN_VAIN]
    failure = (unusable or in_vain or passing or failures)[0]
    waits = [each.retry_after for each in failures if each.retry_after is not None]
    if waits and all(isinstance(each, ModelLimited) for each in passing):
        failure.retry_after = min(waits)
    failure.calls = tuple(calls)
    return failure


def _refused_content(model: str, reply: ReplyStream) -> ModelFailure | None:
    if reply.finish != "content_filter" or reply.usable:
        return None
    text = f"The provider of {model} refuses this content."
    return ModelRefused(CONTENT_REFUSED, text, details={"model": model})


async def _read_stream(stream: LiteLLMStream, bodies: ReplyBodies, reply: ReplyStream) -> None:
    async for chunk in stream:
        bodies.idle = 0
        reply.add(chunk)
        if reply.is_cut or (reply.finish_reason and isinstance(stream.completion_stream, AsyncIterator)):
            break
    if reply.is_cut:
        return
    if stream.received_finish_reason is None and stream.intermittent_finish_reason is None:
        raise StreamBrokenError
    reply.count(stream.chunks)
    if isinstance(stream.completion_stream, AsyncIterator):
        await _read_counts(stream.completion_stream, lambda chunk: reply.count((chunk,)))


async def _read_counts(chunks: AsyncIterator[object], take: Callable[[object], None]) -> None:
    """Reads token counts after the finish reason; without them they are estimated, so a late break costs nothing."""
    with suppress(Exception):
        async with asyncio.timeout(COUNTS_SECONDS):
            async for chunk in chunks:
                take(chunk)
