"""The one door to language models: no other module of the product imports LiteLLM."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, cast

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
from taskforce.core.interfaces.tools import ToolSpec
from taskforce.infrastructure.llm import offline_demo
from taskforce.infrastructure.llm.chat_format import estimate_input, wire_messages, wire_tools
from taskforce.infrastructure.llm.errors import StreamBrokenError, failure_of, nothing_answered
from taskforce.infrastructure.llm.model_selection import OFFLINE_MODEL, known_secrets, litellm_variables
from taskforce.infrastructure.llm.reply_stream import Chunk, ReplyStream

CANCELLED = "cancelled"
NUDGE = ChatMessage(
    "user",
    "[Your last reply was empty, or a tool call in it had no name or was cut off. "
    "Answer in words, or call one of the tools.]",
)

_BEFORE_IMPORT = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # keeps the import off the network
    "LITELLM_MODE": "PRODUCTION",  # else the import reads a .env file of the working directory
}
_NOISY = ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy", "openai", "httpx")
_PROVIDER = OFFLINE_MODEL.partition("/")[0]


class _Stream(Protocol):
    """What of LiteLLM's stream is used; `completion_stream` yields the provider's own chunks."""

    chunks: Sequence[object]
    completion_stream: object
    received_finish_reason: str | None
    intermittent_finish_reason: str | None

    def __aiter__(self) -> AsyncIterator[Chunk]: ...

    async def aclose(self) -> None: ...


class _LiteLLM(Protocol):
    """What of LiteLLM is used."""

    CustomLLM: type
    custom_provider_map: list[Mapping[str, object]]
    UnsupportedParamsError: type[Exception]
    suppress_debug_info: bool
    callbacks: list[object]

    async def acompletion(self, **options: object) -> _Stream | None: ...

    def validate_environment(self, model: str) -> Mapping[str, object]: ...

    async def close_litellm_async_clients(self) -> None: ...


class LiteLLMModel:
    """Fulfils `ChatModel` through LiteLLM. It never retries: whoever calls it owns that.

    Args:
        api_base: Base URL for every call; None leaves it to the provider's own variable (for example
            `OPENAI_BASE_URL`).
    """

    def __init__(self, api_base: str | None = None) -> None:
        self._api_base = api_base
        self._litellm: _LiteLLM | None = None

    async def prepare(self) -> None:
        """Does what the first call would wait for: importing LiteLLM takes seconds."""
        tool = ToolSpec("hello", "Offered so that what LiteLLM imports for tools is imported too.", {"type": "object"})
        request = ModelRequest((OFFLINE_MODEL,), (ChatMessage("user", "Hello"),), (tool,))
        await self.complete(request, lambda _: None)

    async def aclose(self) -> None:
        """Closes the connections that LiteLLM keeps open."""
        if self._litellm is not None:
            await self._litellm.close_litellm_async_clients()

    async def complete(self, request: ModelRequest, on_text: Callable[[str], None]) -> ModelReply:
        """Asks the first model that is available; see `ChatModel.complete`.

        Args:
            request: What to ask.
            on_text: Called with each piece of text. A model that breaks off in the middle is followed by the next of
                the list, whose words start anew.

        Returns:
            A usable reply.

        Raises:
            ModelRefused: The first model was refused; a fallback that is refused only counts as not available.
            ModelLimited: The first model is rate limited, and no other answered.
            ModelUnavailable: The first model failed, and no other answered.
            ModelReplyInvalid: A model gave two unusable replies in a row.
        """
        if self._litellm is None:
            self._litellm = await asyncio.to_thread(_load)
        attempt = _Attempt(self._litellm, self._api_base, request, on_text, [])
        failures: list[ModelFailure] = []
        for model in request.models:
            try:
                return await attempt.ask(model)
            except ModelFailure as failure:
                failures.append(failure)
                if isinstance(failure, ModelReplyInvalid) or isinstance(failures[0], ModelRefused):
                    break
        raise _given_up(failures, attempt.calls)


def _given_up(failures: Sequence[ModelFailure], calls: Sequence[ModelCall]) -> ModelFailure:
    """The first failure speaks for all, but for a reply that ended the search, and for the shortest wait."""
    if not failures:
        return ModelRefused("model_not_named", "No model is named: set TASKFORCE_MODEL or the agent's model.")
    unusable = isinstance(failures[-1], ModelReplyInvalid)
    failure = failures[-1] if unusable else failures[0]
    waits = [each.retry_after for each in failures if each.retry_after is not None]
    if waits and all(isinstance(each, ModelLimited) for each in failures):
        failure.retry_after = min(waits)
    failure.calls = tuple(calls)
    return failure


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One `complete`: the calls that it makes are kept whatever becomes of them."""

    litellm: _LiteLLM
    api_base: str | None
    request: ModelRequest
    on_text: Callable[[str], None]
    calls: list[ModelCall]

    async def ask(self, model: str) -> ModelReply:
        """Asks one model, and once more when its reply cannot be used."""
        messages = self.request.messages
        for asked in (messages, (*messages, NUDGE)):
            reply = await self._call(model, asked)
            if reply.usable:
                return ModelReply(reply.text, reply.tool_calls, tuple(self.calls))
        text = f"{model} replied twice with nothing that can be used (no words, no sound tool call): try another model."
        raise ModelReplyInvalid("model_reply_invalid", text, details={"model": model})

    async def _call(self, model: str, messages: Sequence[ChatMessage]) -> ReplyStream:
        reply, started, failure = ReplyStream(self.on_text), time.monotonic(), None
        try:
            async with asyncio.timeout(self.request.timeout_seconds):
                await self._stream(model, messages, reply)
            failure = _refused_content(model, reply)
        except asyncio.CancelledError:
            # What came so far is charged, and nobody tells how much before a first word: the prompt was sent.
            self._record(model, messages, reply, CANCELLED, started, charged=True)
            raise ModelInterrupted(tuple(self.calls)) from None
        except Exception as error:  # noqa: BLE001  whatever a provider's code raises is a failure of the model
            failure = self._failure(error, model, reply)
        # A provider that failed before its first word is taken to have charged nothing.
        charged = failure is None or reply.begun
        self._record(model, messages, reply, failure.code if failure else None, started, charged=charged)
        if failure is not None:
            raise failure
        return reply

    async def _stream(self, model: str, messages: Sequence[ChatMessage], reply: ReplyStream) -> None:
        """Leaves the stream at the finish reason: going on makes LiteLLM build the reply again, twice, for its logs."""
        stream = await self._open(self._options(model, messages))
        try:
            async for chunk in stream:
                reply.add(chunk)
                if reply.finish_reason and isinstance(stream.completion_stream, AsyncIterator):
                    break
            if stream.received_finish_reason is None and stream.intermittent_finish_reason is None:
                raise StreamBrokenError
            reply.count(stream.chunks)
            await _drain(stream.completion_stream, reply)
        finally:
            await stream.aclose()

    def _failure(self, error: Exception, model: str, reply: ReplyStream) -> ModelFailure:
        missing: object = ()
        if not reply.begun and not isinstance(error, TimeoutError | StreamBrokenError) and nothing_answered(error):
            missing = self.litellm.validate_environment(model).get("missing_keys")
        keys = [str(name) for name in missing] if isinstance(missing, list) else []
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
    ) -> None:
        estimated = estimate_input(messages, self.request.tools) if charged and not reply.input_tokens else 0
        call = ModelCall(
            model=model,
            input_tokens=reply.input_tokens or estimated,
            output_tokens=reply.output_tokens or reply.estimate_output(),
            cached_tokens=reply.cached_tokens,
            duration_ms=round((time.monotonic() - started) * 1000),
            failed=failed or (None if reply.usable else "model_reply_invalid"),
        )
        self.calls.append(call)

    async def _open(self, options: Mapping[str, object]) -> _Stream:
        """An option that a model does not know, such as a temperature, is left out.

        Only then: with `drop_params` LiteLLM sends again what was answered by 422, and returns None after that.
        """
        try:
            stream = await self.litellm.acompletion(**options)
        except self.litellm.UnsupportedParamsError:
            stream = await self.litellm.acompletion(**options, drop_params=True)
        if stream is None:
            raise StreamBrokenError
        return stream

    def _options(self, model: str, messages: Sequence[ChatMessage]) -> dict[str, object]:
        request = self.request
        optional: dict[str, object] = {
            "tools": wire_tools(request.tools) or None,
            "temperature": request.temperature,
            "max_tokens": request.max_tokens,
            "api_base": self.api_base,
        }
        return {
            "model": model,
            "messages": wire_messages(messages),
            "stream": True,
            "stream_options": {"include_usage": True},
            "num_retries": 0,
            "max_retries": 0,
            "timeout": request.timeout_seconds,
            **{name: value for name, value in optional.items() if value is not None},
        }


def _refused_content(model: str, reply: ReplyStream) -> ModelFailure | None:
    if reply.finish_reason != "content_filter" or reply.usable:
        return None
    return ModelRefused(
        "model_content_refused", f"The provider of {model} refuses this content.", details={"model": model}
    )


async def _drain(source: object, reply: ReplyStream) -> None:
    """Token counts come after the finish reason; without them they are estimated, so a late break costs nothing."""
    if isinstance(source, AsyncIterator):
        with suppress(Exception):
            async for chunk in source:
                reply.count((chunk,))


def _load() -> _LiteLLM:
    """Imports LiteLLM without network, telemetry, callbacks or noise, and gives it the offline model."""
    for name, value in {**_BEFORE_IMPORT, **litellm_variables(os.environ)}.items():
        os.environ.setdefault(name, value)
    import litellm as imported

    litellm = cast("_LiteLLM", imported)
    litellm.suppress_debug_info = True
    litellm.callbacks = []
    for noisy in _NOISY:
        logging.getLogger(noisy).setLevel(logging.CRITICAL if noisy.startswith("LiteLLM") else logging.WARNING)
    if not any(item["provider"] == _PROVIDER for item in litellm.custom_provider_map):
        handler = type("OfflineDemo", (litellm.CustomLLM,), {"astreaming": _offline_stream})()
        litellm.custom_provider_map.append({"provider": _PROVIDER, "custom_handler": handler})
    return litellm


async def _offline_stream(
    _: object, *, messages: Sequence[Mapping[str, object]], optional_params: Mapping[str, object], **__: object
) -> AsyncIterator[Mapping[str, object]]:
    """The offline model in the shape of LiteLLM's custom providers."""
    for chunk in offline_demo.stream(messages, optional_params.get("tools")):
        yield chunk
        await asyncio.sleep(0)
