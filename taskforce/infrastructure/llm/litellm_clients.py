"""HTTP clients for the calls that LiteLLM makes itself.

LiteLLM splits streams into lines at U+2028, U+2029 and U+0085 as well, which are ordinary characters of a JSON text: a
reply with one of them broke. Before it reads, they are put as the escapes that mean the same.

Nor does it bound what it reads: a line without end is kept whole, and events without words are dropped within. So what
reaches it has the bounds of `ReplyLimits`, in pieces so small that others get their turns between them.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import httpx

from taskforce.infrastructure.llm.openai_wire import Body
from taskforce.infrastructure.llm.provider_errors import StreamBrokenError
from taskforce.infrastructure.llm.reply_limits import ReplyLimits

if TYPE_CHECKING:
    from taskforce.infrastructure.llm.litellm_library import LiteLLM

PROVIDERS = frozenset({"anthropic", "gemini", "vertex_ai"})
"""Providers that take a client and split lines; Bedrock and the offline model split none."""

_ESCAPES = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))
_BEGINNINGS = (b"\xe2\x80", b"\xe2", b"\xc2")
_NOT_ANSWERED = 300

PIECE_BYTES = 4_096
"""Bytes that LiteLLM gets at once: it goes through all lines of a piece before the event loop runs other tasks."""


@dataclass(slots=True)
class ReplyBodies:
    """Holds the bodies of the responses to one call.

    Attributes:
        idle: Bytes that came since the last chunk of the reply.
        opened: The bodies.
    """

    idle: int = 0
    opened: "list[BoundedBody]" = field(default_factory=list)

    async def aclose(self) -> None:
        """Closes them: LiteLLM leaves one open whose reading failed."""
        for body in self.opened:
            await body.aclose()


REPLY_BODIES: ContextVar[ReplyBodies | None] = ContextVar("REPLY_BODIES", default=None)
"""Those of the call that is made; its reader sets `idle` to 0 with each chunk, of which a body knows nothing."""


class LineSafeClients:
    """Provides HTTP clients to LiteLLM, one for each event loop.

    Args:
        litellm: The library.
        limits: How much of a reply is read.
    """

    def __init__(self, litellm: "LiteLLM", limits: ReplyLimits) -> None:
        self._litellm = litellm
        self._limits = limits
        # Connections belong to the event loop that opened them.
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
            hooks: dict[str, list[Callable[..., object]]] = {"request": [_ask_plain], "response": [self._bound]}
            handlers = self._litellm.llms.custom_httpx.http_handler
            self._clients[loop] = handlers.AsyncHTTPHandler(event_hooks=hooks)
        return self._clients[loop]

    async def _bound(self, response: httpx.Response) -> None:
        """Puts bounds on a response, whatever its type says; one that is compressed arrives as what it holds."""
        response.stream = BoundedBody(response, self._limits, REPLY_BODIES.get() or ReplyBodies())
        # `Body` decompresses; httpx would do it once more.
        response.headers.pop("content-encoding", None)
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            response.stream = EscapedSeparators(response.stream)


async def _ask_plain(request: httpx.Request) -> None:
    request.headers["accept-encoding"] = "identity"


class BoundedBody(httpx.AsyncByteStream):
    """Wraps the body of a response: bounds it, and hands it on in small pieces, with turns for others in between.

    Of a refusal only the beginning is handed on.

    Args:
        response: The response.
        limits: How much of it is read.
        call: The bodies of the call.

    Raises:
        NotAnApiError: The body is in an encoding that is not known.
        StreamBrokenError: While it is read: the body, one line of it, or what brings no chunk is longer than any
            reply's.
    """

    def __init__(self, response: httpx.Response, limits: ReplyLimits, call: ReplyBodies) -> None:
        self._stream = _asynchronous(response.stream)
        self._body = Body(aiter(self._stream), response.headers, limits.wire_bytes)
        self._refusal_left = limits.error_bytes if response.status_code >= _NOT_ANSWERED else None
        self._limits = limits
        self._call = call
        call.opened.append(self)
        self._line = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while whole := await self._body.read():
            for begin in range(0, len(whole), PIECE_BYTES):
                piece = whole[begin : begin + PIECE_BYTES]
                if self._refusal_left is None:
                    self._require_bounded(piece)
                else:
                    piece = piece[: self._refusal_left]
                    self._refusal_left -= len(piece)
                yield piece
                if self._refusal_left == 0:
                    return
                await asyncio.sleep(0)

    def _require_bounded(self, piece: bytes) -> None:
        ended = max(piece.rfind(b"\n"), piece.rfind(b"\r"))
        self._line = self._line + len(piece) if ended < 0 else len(piece) - ended - 1
        self._call.idle += len(piece)
        if self._line > self._limits.event_bytes or self._call.idle > self._limits.idle_bytes:
            raise StreamBrokenError

    async def aclose(self) -> None:
        """Closes the body."""
        await self._stream.aclose()


class EscapedSeparators(httpx.AsyncByteStream):
    """Wraps a body of events; line separators beyond CR and LF become JSON escapes.

    Args:
        stream: The body.
    """

    def __init__(self, stream: object) -> None:
        self._stream = _asynchronous(stream)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        held = b""
        async for piece in self._stream:
            whole = held + piece
            # A separator may come in two pieces.
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


def _asynchronous(stream: object) -> httpx.AsyncByteStream:
    if not isinstance(stream, httpx.AsyncByteStream):
        raise TypeError("the response of an asynchronous client has an asynchronous stream")
    return stream
