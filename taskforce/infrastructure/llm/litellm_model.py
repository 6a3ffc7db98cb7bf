"""Access to language models; no other module of the product imports LiteLLM."""

import asyncio
import gc
import importlib
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import cast

import httpx

from taskforce.core.interfaces.llm import (
    ChatMessage,
    ModelFailure,
    ModelRefused,
    ModelReply,
    ModelReplyInvalid,
    ModelRequest,
)
from taskforce.core.interfaces.tools import ToolSpec
from taskforce.core.interfaces.tracing import NO_TRACING, Tracer
from taskforce.infrastructure.llm import offline_demo
from taskforce.infrastructure.llm.chat_endpoint import ChatEndpoints
from taskforce.infrastructure.llm.errors import ANOTHER_MODEL_MAY
from taskforce.infrastructure.llm.litellm_clients import BoundedClients
from taskforce.infrastructure.llm.litellm_library import LiteLLM
from taskforce.infrastructure.llm.model_calls import ModelCalls, ModelTransport, given_up
from taskforce.infrastructure.llm.model_selection import OFFLINE_MODEL, litellm_variables
from taskforce.infrastructure.llm.openai_wire import CONNECT_SECONDS, OpenAIWire
from taskforce.infrastructure.llm.providers import Providers
from taskforce.infrastructure.llm.refused_options import RefusedOptions
from taskforce.infrastructure.llm.reply_limits import DEFAULT_LIMITS, ReplyLimits
from taskforce.infrastructure.llm.token_estimate import TokenCounter

_BEFORE_IMPORT = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else the import fetches a price list
    "REPEATED_STREAMING_CHUNK_LIMIT": "1000000000",  # else a hundred equal chunks, as in a table, end a reply
    "LITELLM_MODE": "PRODUCTION",  # else the import reads a .env file of the working directory
}
_AT_THE_FIRST_FAILURE = ("litellm.proxy.guardrails.exception_utils", "fastapi.exceptions")
"""What LiteLLM imports within the first call that fails, which would hold the event loop for a quarter second."""
_NOISY = ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy", "openai", "httpx")
_PROVIDER = OFFLINE_MODEL.partition("/")[0]


class LiteLLMModel:
    """Implements `ChatModel`: LiteLLM knows the providers, and calls those that have a wire format of their own.

    It never retries a failed call: the caller does.

    Args:
        api_base: Base URL for every call; None leaves it to the provider's own variable (for example
            `OPENAI_BASE_URL`).
        limits: The bounds of a reply.
        tracer: Traces the calls.
    """

    def __init__(
        self, api_base: str | None = None, limits: ReplyLimits = DEFAULT_LIMITS, tracer: Tracer = NO_TRACING
    ) -> None:
        self._tracer = tracer
        self._api_base = api_base
        self._limits = limits
        self._opened: Future[ModelTransport] | None = None
        self._opening = threading.Lock()

    async def prepare(self) -> None:
        """Imports LiteLLM ahead of the first call: the import takes seconds."""
        tool = ToolSpec("hello", "Offered so that what LiteLLM imports for tools is imported too.", {"type": "object"})
        request = ModelRequest((OFFLINE_MODEL,), (ChatMessage("user", "Hello"),), (tool,))
        await self.complete(request, lambda _: None)

    async def open(self) -> ModelTransport:
        """Imports LiteLLM if necessary, and returns what calls are made with; a cancelled caller ends no import."""
        opened = self._once_opened()
        return opened.result() if opened.done() else await asyncio.shield(asyncio.wrap_future(opened))

    def _once_opened(self) -> "Future[ModelTransport]":
        # Calls that come while LiteLLM is imported would open one each, and all but the last leave connections open.
        with self._opening:
            if self._opened is None or (self._opened.done() and self._opened.exception() is not None):
                # A thread of its own: those of the loop are few, and all calls that wait would take one each.
                executor = ThreadPoolExecutor(1, "litellm")
                self._opened = executor.submit(self._open)
                executor.shutdown(wait=False)
            return self._opened

    async def aclose(self) -> None:
        """Closes idle connections."""
        if self._opened is not None:
            transport = await self.open()
            await transport.wire.aclose()
            await transport.clients.aclose()

    async def complete(self, request: ModelRequest, on_text: Callable[[str], None]) -> ModelReply:
        """Calls the first model that is available; see `ChatModel.complete`.

        Args:
            request: The request.
            on_text: Called with each piece of text. When a model breaks off in the middle, the text of the next one
                starts anew.

        Returns:
            A usable reply.

        Raises:
            ModelRefused: The first model was refused; a fallback that is refused only counts as not available. Where
                the conversation is too long for it, or its content is refused, the fallbacks are asked first.
            ModelLimited: The first model is rate limited, and no other answered.
            ModelUnavailable: The first model failed, and no other answered.
            ModelReplyInvalid: A model gave two unusable replies in a row.
        """
        calls = ModelCalls(await self.open(), request, on_text)
        failures: list[ModelFailure] = []
        for model in request.models:
            try:
                return await calls.ask(model)
            except ModelFailure as failure:
                failures.append(failure)
                if isinstance(failure, ModelReplyInvalid) or _is_final(failures[0]):
                    break
        raise given_up(failures, calls.calls)

    def _open(self) -> ModelTransport:
        litellm = _load()
        # Makes httpx import its transport here, in a thread, and not within the first call.
        _open_client(litellm)
        return ModelTransport(
            litellm=litellm,
            endpoints=ChatEndpoints(litellm, self._api_base),
            wire=OpenAIWire(lambda: _open_client(litellm), self._limits),
            refused=RefusedOptions(),
            tokens=TokenCounter(litellm.encoding.encode_ordinary),
            providers=Providers(litellm),
            limits=self._limits,
            api_base=self._api_base,
            clients=BoundedClients.install(litellm),
            too_long=litellm.litellm_core_utils.exception_mapping_utils.ExceptionCheckers.is_error_str_context_window_exceeded,
            tracer=self._tracer,
        )


def _is_final(failure: ModelFailure) -> bool:
    return isinstance(failure, ModelRefused) and failure.code not in ANOTHER_MODEL_MAY


def _open_client(litellm: LiteLLM) -> httpx.AsyncClient:
    """Opens an HTTP client without read timeout (the reply's reader bounds time), with LiteLLM's certificates."""
    return httpx.AsyncClient(
        timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
        # Not limited here: the worker's number of activities bounds the calls, and a queue for connections would look
        # like a slow model.
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=15.0),
        verify=litellm.llms.custom_httpx.http_handler.get_ssl_configuration(),
    )


def _load() -> LiteLLM:
    """Imports LiteLLM without network, telemetry, callbacks or log noise, and registers the offline model."""
    for name, value in {**_BEFORE_IMPORT, **litellm_variables(os.environ)}.items():
        os.environ.setdefault(name, value)
    collects = gc.isenabled()
    # It would walk what is imported again and again: a third of the import's time, and nothing else runs meanwhile.
    gc.disable()
    try:
        # The variables above must be set before: LiteLLM reads them while it is imported.
        import litellm as imported

        for name in _AT_THE_FIRST_FAILURE:
            with suppress(ImportError):
                importlib.import_module(name)
    finally:
        if collects:
            gc.enable()

    litellm = cast("LiteLLM", imported)
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
    """Wraps the offline model as one of LiteLLM's custom providers."""
    for chunk in offline_demo.stream(messages, optional_params.get("tools")):
        yield chunk
        # As with a real provider, other tasks run between two chunks.
        await asyncio.sleep(0)
