"""HTTP clients for the calls that LiteLLM makes itself: one place bounds what they read, whatever the provider.

LiteLLM takes its clients from a cache of its own. Ours stands in the place of it, and gives every provider the same
client, whose responses have the bounds of `ReplyLimits`. LiteLLM has none: a line without end is kept whole, as is a
document, and events without words are dropped within. Pieces are so small that others get their turns between them.

LiteLLM also splits streams into lines at U+2028, U+2029 and U+0085, which are ordinary characters of a JSON text: a
reply with one of them broke. Before it reads, they are put as the escapes that mean the same.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast
from weakref import WeakKeyDictionary

import httpx

from taskforce.infrastructure.llm.openai_wire import Body
from taskforce.infrastructure.llm.provider_errors import NotAnApiError, ReplyTooLongError, StreamBrokenError
from taskforce.infrastructure.llm.reply_limits import DEFAULT_LIMITS, ReplyLimits

if TYPE_CHECKING:
    from taskforce.infrastructure.llm.litellm_library import AsyncHandler, ClientCache, LiteLLM

_ESCAPES = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))
_BEGINNINGS = (b"\xe2\x80", b"\xe2", b"\xc2")
_NOT_ANSWERED = 300

_DOCUMENT = "application/json"
_BINARY = "application/vnd.amazon.eventstream"
"""Bedrock's events, whose lengths stand before them; a byte that would end a line means nothing in them."""

_BLOCKING_SECONDS = 600.0

PIECE_BYTES = 4_096
"""Bytes that LiteLLM gets at once: it goes through all lines of a piece before the event loop runs other tasks."""


@dataclass(slots=True)
class ReplyBodies:
    """Holds the bodies of the responses to one call.

    Attributes:
        limits: How much of them is read.
        idle: Bytes that came since the last chunk of the reply.
        failure: Why a body was not read to its end; LiteLLM hands on another error in its place.
        opened: The bodies.
    """

    limits: ReplyLimits = DEFAULT_LIMITS
    idle: int = 0
    failure: Exception | None = None
    opened: "list[BoundedBody]" = field(default_factory=list)

    def fail(self, failure: Exception) -> Exception:
        """Returns a failure, and keeps it."""
        self.failure = failure
        return failure

    async def aclose(self) -> None:
        """Closes them: LiteLLM leaves one open whose reading failed."""
        for body in self.opened:
            await body.aclose()


REPLY_BODIES: ContextVar[ReplyBodies | None] = ContextVar("REPLY_BODIES", default=None)
"""Those of the call that is made; its reader sets `idle` to 0 with each chunk, of which a body knows nothing."""


class BoundedClients:
    """Stands in the place of LiteLLM's cache of clients, and gives out clients whose responses are bounded.

    All but the HTTP clients, such as those of OpenAI's library, stays in LiteLLM's cache.

    Args:
        litellm: The library.
    """

    def __init__(self, litellm: "LiteLLM") -> None:
        self._litellm = litellm
        self._cache = cast("ClientCache", litellm.in_memory_llm_clients_cache)
        # Connections belong to the event loop that opened them.
        self._handlers: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncHandler] = WeakKeyDictionary()
        self._blocking: object = None

    @classmethod
    def install(cls, litellm: "LiteLLM") -> "BoundedClients":
        """Returns those of the process, and puts them in place the first time."""
        there = litellm.in_memory_llm_clients_cache
        # Ours must not wrap itself when a second `LiteLLMModel` is opened.
        clients = there if isinstance(there, cls) else cls(litellm)
        litellm.in_memory_llm_clients_cache = clients
        return clients

    def __getattr__(self, name: str) -> object:
        return getattr(self._cache, name)

    def get_cache(self, key: str, **options: object) -> object:
        """Returns a client, as LiteLLM's cache does.

        Args:
            key: LiteLLM's name of the client.
            **options: Of LiteLLM's cache.
        """
        if key.startswith("async_httpx_client"):
            return self._handler()
        if key.startswith("httpx_client"):
            return self._blocking_handler()
        return self._cache.get_cache(key, **options)

    def use(self) -> None:
        """Makes OpenAI's library, which LiteLLM calls for some providers, take the client of this event loop."""
        self._litellm.aclient_session = self._handler().client

    async def aclose(self) -> None:
        """Closes idle connections of this event loop; clients open anew when they are needed."""
        await self._litellm.close_litellm_async_clients()
        self._cache.flush_cache()
        handler = self._handlers.pop(asyncio.get_running_loop(), None)
        if handler is not None:
            await handler.close()

    def _handler(self) -> "AsyncHandler":
        loop = asyncio.get_running_loop()
        if loop not in self._handlers:
            hooks: dict[str, list[Callable[..., object]]] = {"request": [_ask_plain], "response": [_bound]}
            handlers = self._litellm.llms.custom_httpx.http_handler
            self._handlers[loop] = handlers.AsyncHTTPHandler(event_hooks=hooks)
        return self._handlers[loop]

    def _blocking_handler(self) -> object:
        """Returns the client of the few providers that LiteLLM asks in a thread."""
        if self._blocking is None:
            handlers = self._litellm.llms.custom_httpx.http_handler
            client = httpx.Client(
                event_hooks={"request": [_ask_plainly], "response": [_bound_blocking]},
                follow_redirects=True,
                timeout=_BLOCKING_SECONDS,
                verify=handlers.get_ssl_configuration(),
            )
            self._blocking = handlers.HTTPHandler(client=client)
        return self._blocking


async def _ask_plain(request: httpx.Request) -> None:
    _ask_plainly(request)


def _ask_plainly(request: httpx.Request) -> None:
    request.headers["accept-encoding"] = "identity"


async def _bound(response: httpx.Response) -> None:
    """Puts bounds on a response, whatever its type says; one that is compressed arrives as what it holds."""
    response.stream = BoundedBody(response, REPLY_BODIES.get() or ReplyBodies())
    # Otherwise httpx would decode a second time what `BoundedBody` has decoded.
    response.headers.pop("content-encoding", None)
    if _kind(response) == "text/event-stream":
        response.stream = EscapedSeparators(response.stream)


def _bound_blocking(response: httpx.Response) -> None:
    response.stream = BoundedBlockingBody(response, REPLY_BODIES.get() or ReplyBodies())


def _kind(response: httpx.Response) -> str:
    return str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()


class BoundedBody(httpx.AsyncByteStream):
    """Wraps the body of a response: bounds it, and hands it on in small pieces, with turns for others in between.

    Of a refusal only the beginning is handed on.

    Args:
        response: The response.
        call: The bodies of the call.

    Raises:
        NotAnApiError: The body is in an encoding that is not known.
        ReplyTooLongError: While it is read: it is a document longer than any reply's.
        StreamBrokenError: While it is read: the body, one line of it, or what brings no chunk is longer than any
            reply's.
    """

    def __init__(self, response: httpx.Response, call: ReplyBodies) -> None:
        limits = call.limits
        self._stream = _asynchronous(response.stream)
        self._body = Body(aiter(self._stream), response.headers, limits.wire_bytes)
        self._refusal_left = limits.error_bytes if response.status_code >= _NOT_ANSWERED else None
        self._limits = limits
        self._call = call
        self._is_document = _kind(response) == _DOCUMENT
        self._has_lines = _kind(response) not in (_DOCUMENT, _BINARY)
        self._most_idle = limits.document_bytes if self._is_document else limits.idle_bytes
        call.opened.append(self)
        self._line = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while whole := await self._next():
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

    async def _next(self) -> bytes:
        try:
            return await self._body.read()
        except StreamBrokenError as error:
            raise self._call.fail(error) from None

    def _require_bounded(self, piece: bytes) -> None:
        if self._has_lines:
            ended = max(piece.rfind(b"\n"), piece.rfind(b"\r"))
            self._line = self._line + len(piece) if ended < 0 else len(piece) - ended - 1
        self._call.idle += len(piece)
        if self._line > self._limits.event_bytes or self._call.idle > self._most_idle:
            too_long = ReplyTooLongError(self._most_idle) if self._is_document else StreamBrokenError()
            raise self._call.fail(too_long)

    async def aclose(self) -> None:
        """Closes the body."""
        await self._stream.aclose()


class BoundedBlockingBody(httpx.SyncByteStream):
    """Wraps the body of a response that a thread reads, and bounds its bytes.

    Args:
        response: The response.
        call: The bodies of the call.

    Raises:
        NotAnApiError: The body is compressed, for which it was not asked.
        StreamBrokenError: While it is read: it is longer than any reply's.
    """

    def __init__(self, response: httpx.Response, call: ReplyBodies) -> None:
        if not isinstance(response.stream, httpx.SyncByteStream):
            raise TypeError("the response of a blocking client has a blocking stream")
        if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise call.fail(NotAnApiError("it answers in an encoding for which it was not asked"))
        self._stream = response.stream
        self._call = call

    def __iter__(self) -> Iterator[bytes]:
        left = self._call.limits.document_bytes
        for piece in self._stream:
            left -= len(piece)
            if left < 0:
                raise self._call.fail(StreamBrokenError())
            yield piece

    def close(self) -> None:
        """Closes the body."""
        self._stream.close()


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
