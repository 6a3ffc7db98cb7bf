"""HTTP clients for the calls that LiteLLM makes itself.

LiteLLM splits streams into lines at U+2028, U+2029 and U+0085 as well, which are ordinary characters of a JSON text: a
reply with one of them broke. Before it reads, they are put as the escapes that mean the same.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import httpx

if TYPE_CHECKING:
    from taskforce.infrastructure.llm.litellm_library import LiteLLM

PROVIDERS = frozenset({"anthropic", "gemini", "vertex_ai"})
"""Providers that take a client and split lines; Bedrock and the offline model split none."""

_ESCAPES = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))
_BEGINNINGS = (b"\xe2\x80", b"\xe2", b"\xc2")


class LineSafeClients:
    """Provides HTTP clients to LiteLLM, one for each event loop.

    Args:
        litellm: The library.
    """

    def __init__(self, litellm: "LiteLLM") -> None:
        self._litellm = litellm
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, object] = WeakKeyDictionary()

    def client_of(self, model: str) -> object:
        """Returns the client for a model.

        Args:
            model: Its LiteLLM name.

        Returns:
            LiteLLM's handler with our filter, or None where LiteLLM's own will do.
        """
        provider = self._litellm.get_llm_provider(model, api_base=None)[1] if "/" in model else ""
        if provider not in PROVIDERS:
            return None
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            hooks: dict[str, list[Callable[..., object]]] = {"request": [_ask_plain], "response": [_escape]}
            handlers = self._litellm.llms.custom_httpx.http_handler
            self._clients[loop] = handlers.AsyncHTTPHandler(event_hooks=hooks)
        return self._clients[loop]


async def _ask_plain(request: httpx.Request) -> None:
    request.headers["accept-encoding"] = "identity"


async def _escape(response: httpx.Response) -> None:
    plain = response.headers.get("content-encoding", "identity") == "identity"
    if plain and response.headers.get("content-type", "").startswith("text/event-stream"):
        response.stream = EscapedSeparators(response.stream)


class EscapedSeparators(httpx.AsyncByteStream):
    """Wraps a body of events; line separators beyond CR and LF become JSON escapes.

    Args:
        stream: The body.
    """

    def __init__(self, stream: object) -> None:
        if not isinstance(stream, httpx.AsyncByteStream):
            raise TypeError("the response of an asynchronous client has an asynchronous stream")
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        held = b""
        async for piece in self._stream:
            whole = held + piece
            held = next((begun for begun in _BEGINNINGS if whole.endswith(begun)), b"")
            whole = whole[: len(whole) - len(held)]
            for separator, escape in _ESCAPES:
                whole = whole.replace(separator, escape)
            yield whole
        if held:
            yield held

    async def aclose(self) -> None:
        """Closes the body."""
        await self._stream.aclose()
