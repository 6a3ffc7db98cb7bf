"""Client of the OpenAI wire format: one request, and a reply as an event stream, a JSON document, or an error."""

import asyncio
import json
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import httpx

from taskforce.infrastructure.llm.provider_errors import (
    MOST_QUOTED,
    NotAnApiError,
    ProviderError,
    Quoted,
    ReplyTooLongError,
    StreamBrokenError,
    error_in,
    is_of_api,
    message_of,
    not_an_api,
    parsed,
    require_address,
    shown_url,
    status_of,
)
from taskforce.infrastructure.llm.reply_limits import ReplyLimits
from taskforce.infrastructure.llm.sse import EventStream, EventTooLongError, ServerEvent

DONE: Mapping[str, object] = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
"""Chunk for `[DONE]`, which completes a reply that has no finish reason yet."""

CONNECT_SECONDS = 20.0
MOST_REDIRECTS = 4
YIELD_BYTES = 65_536
"""Bytes after which the event loop runs other tasks, even where more is ready to be read."""

_SERVER_FAILED = 500
_NOT_ANSWERED = 300
_REFUSED = 400
# These repeat the POST with its body; after the others a client would send a GET (RFC 9110, section 15.4).
_SENT_ON = (307, 308)
_NO_SUCH_PLACE = (404, 405)
_STREAM_BEGINS = (b"data:", b"event:", b"id:", b"retry:", b":")
_INFLATED_AT_ONCE = 65_536
# 32 + MAX_WBITS: zlib tells the headers of gzip and of zlib apart by itself.
_ZLIB = {"gzip": 47, "deflate": 47, "x-gzip": 47}


@dataclass(frozen=True, slots=True)
class WireRequest:
    """Describes a request to a chat completions endpoint.

    Attributes:
        url: The URL of the endpoint.
        headers: Names and values, the key among them.
        body: The JSON body.
    """

    url: str
    headers: Mapping[str, str]
    body: Mapping[str, object]


class OpenAIWire:
    """Sends requests and reads replies.

    Args:
        open_client: Makes the HTTP client; called once in each event loop.
        limits: The bounds of a reply.
    """

    def __init__(self, open_client: Callable[[], httpx.AsyncClient], limits: ReplyLimits) -> None:
        self._open_client = open_client
        self._limits = limits
        self._client: httpx.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def aclose(self) -> None:
        """Closes idle connections."""
        client, self._client = self._client, None
        if client is not None and self._loop is asyncio.get_running_loop():
            await client.aclose()

    async def chunks(self, request: WireRequest) -> AsyncGenerator[Mapping[str, object], None]:
        """Sends a request and yields the reply; closing the iterator early closes the connection.

        Args:
            request: The request.

        Yields:
            The chunks of the reply as the server sent them, and `DONE` where it said so. A reply that is one document
            is one chunk, with a `message` in the place of a `delta`, and `DONE`.

        Raises:
            ProviderError: The provider refuses or failed.
            NotAnApiError: What answers is no such API.
            ReplyTooLongError: The reply is one document, and longer than any that is read.
            StreamBrokenError: The stream holds what cannot be read.
            httpx.HTTPError: Nothing answered, or the connection broke.
        """
        require_address(request.url)
        client, content = self._clients(), _content(request.body)
        # A server that compresses may hold back pieces of the stream until its buffer is full.
        headers = {"accept": "application/json, text/event-stream", "accept-encoding": "identity", **request.headers}
        async with aclosing(await _send(client, request.url, content, headers)) as response:
            body = Body(response.aiter_raw(), response.headers, self._limits.wire_bytes)
            if response.status_code >= _NOT_ANSWERED:
                raise await self._refusal(response, body)
            head = await body.head()
            # By the first bytes, not by `Content-Type`: servers send JSON as an event stream, and the other way round.
            if head.startswith((b"{", b"[")):
                async for chunk in _documents(await body.whole(self._limits.document_bytes, head), response):
                    yield chunk
                yield DONE
            elif head and not head.startswith(_STREAM_BEGINS):
                raise not_an_api(response, head)
            stream = _EventChunks(response, self._limits.event_bytes)
            piece = head if head.startswith(_STREAM_BEGINS) else b""
            idle = 0
            while piece:
                idle += len(piece)
                for chunk in stream.of(piece):
                    idle = 0
                    yield chunk
                # Comments and empty events keep a connection alive for ever without adding to the reply.
                if idle > self._limits.idle_bytes:
                    raise StreamBrokenError
                piece = await body.read()
            for chunk in stream.rest():
                yield chunk

    def _clients(self) -> httpx.AsyncClient:
        """Returns the client of the running event loop, to which connections belong."""
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            self._client, self._loop = self._open_client(), loop
        return self._client

    async def _refusal(self, response: httpx.Response, body: "Body") -> Exception:
        status = response.status_code
        if status < _REFUSED:
            return NotAnApiError("it redirects to {}", shown_url(response.headers.get("location", "")))
        said = await body.beginning(self._limits.error_bytes)
        document = parsed(said)
        error = error_in(document, anything=True)
        # A web server's own 404 means a wrong base URL, an API's an unknown model: people need to be told which.
        if status in _NO_SUCH_PLACE and not is_of_api(document):
            return not_an_api(response, said)
        if error is None:
            text = " ".join(said.decode("utf-8", "replace").split())[:MOST_QUOTED]
            return ProviderError(status, {}, response.headers, text)
        return ProviderError(status, error, response.headers, message_of(error))


class Body:
    """Reads the bytes of a response as they arrive; unrequested compression is decoded, within the byte limit.

    Args:
        raw: The bytes as they come from the connection.
        headers: Response headers.
        most: Bytes that are read.
    """

    def __init__(self, raw: AsyncIterator[bytes], headers: Mapping[str, str], most: int) -> None:
        encoding = headers.get("content-encoding", "").strip().lower()
        if encoding not in (*_ZLIB, "identity", ""):
            raise NotAnApiError("it answers in the encoding {!r}, for which it was not asked", Quoted(encoding, 80))
        self._inflate = zlib.decompressobj(_ZLIB[encoding]) if encoding in _ZLIB else None
        self._raw = raw
        self._left = most
        self._packed = b""
        self._since = 0

    async def read(self) -> bytes:
        """Reads the next piece; empty at the end.

        Raises:
            StreamBrokenError: The body is longer than any reply, or not compressed as it says.
        """
        piece = await self._next()
        self._left -= len(piece)
        self._since += len(piece)
        if self._left < 0:
            raise StreamBrokenError
        if self._since >= YIELD_BYTES:
            self._since = 0
            await asyncio.sleep(0)
        return piece

    async def _next(self) -> bytes:
        while True:
            raw = self._packed or await anext(self._raw, b"")
            if self._inflate is None or not raw:
                return raw
            try:
                piece = self._inflate.decompress(raw, _INFLATED_AT_ONCE)
            except zlib.error:
                raise StreamBrokenError from None
            self._packed = self._inflate.unconsumed_tail
            if piece:
                return piece

    async def head(self) -> bytes:
        """Reads the beginning, as far as it takes to tell the format."""
        head = b""
        while piece := await self.read():
            head = (head + piece).lstrip(b" \t\r\n\xef\xbb\xbf")
            if len(head) >= len("event:") or b"\n" in head or head.startswith((b"{", b"[", b"<")):
                break
        return head

    async def whole(self, most: int, head: bytes) -> bytes:
        """Reads to the end.

        Args:
            most: Bytes that it may have.
            head: What was read of it.

        Raises:
            ReplyTooLongError: It has more.
        """
        body = await self.beginning(most + 1, head)
        if len(body) > most:
            raise ReplyTooLongError(most)
        return body

    async def beginning(self, most: int, head: bytes = b"") -> bytes:
        """Reads to the end, or to a bound."""
        body = bytearray(head)
        while len(body) < most and (piece := await self.read()):
            body += piece
        return bytes(body[:most])


class _EventChunks:
    """Yields the chunks in a body of events."""

    def __init__(self, response: httpx.Response, longest: int) -> None:
        self._response = response
        self._stream = EventStream(longest)

    def of(self, piece: bytes) -> Iterator[Mapping[str, object]]:
        try:
            for event in self._stream.feed(piece):
                yield from _of_event(event, self._response)
        except EventTooLongError:
            raise StreamBrokenError from None

    def rest(self) -> Iterator[Mapping[str, object]]:
        for event in self._stream.end():
            yield from _of_event(event, self._response)


async def _send(client: httpx.AsyncClient, url: str, content: bytes, headers: Mapping[str, str]) -> httpx.Response:
    """Follows redirects of the same request to the same host only: the key goes to no other one."""
    left = MOST_REDIRECTS
    while True:
        request = client.build_request("POST", url, content=content, headers=dict(headers))
        response = await client.send(request, stream=True)
        onward = urljoin(url, response.headers.get("location", ""))
        if response.status_code not in _SENT_ON or not left or not _is_same_host(url, onward):
            return response
        await response.aclose()
        url, left = onward, left - 1


def _is_same_host(url: str, other: str) -> bool:
    here, there = urlsplit(url), urlsplit(other)
    # From http to https is allowed; the other way the key would be readable on the wire.
    return here.hostname == there.hostname and (there.scheme == "https" or here[:2] == there[:2])


def _content(body: Mapping[str, object]) -> bytes:
    # Half a surrogate pair, as a model may write it, cannot be encoded and becomes a question mark.
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


async def _documents(whole: bytes, response: httpx.Response) -> AsyncIterator[Mapping[str, object]]:
    """Yields a JSON document, or one per line."""
    document = parsed(whole)
    if document is not None:
        yield _chunk(document, response, _REFUSED)
        return
    # Looked through before the first chunk is yielded, so that a page with a line of JSON in it is no reply.
    async for line in _lines(whole):
        if isinstance(line, dict) and "choices" in line:
            break
    else:
        raise StreamBrokenError
    async for line in _lines(whole):
        yield _chunk(line, response, _REFUSED)


async def _lines(whole: bytes) -> AsyncIterator[object]:
    """Yields what each line holds, with turns for others in between."""
    begin, since = 0, 0
    while begin < len(whole):
        end = whole.find(b"\n", begin)
        end = len(whole) if end < 0 else end
        if line := whole[begin:end].strip():
            yield parsed(line)
        since += end + 1 - begin
        begin = end + 1
        if since >= YIELD_BYTES:
            since = 0
            await asyncio.sleep(0)


def _of_event(event: ServerEvent, response: httpx.Response) -> Iterator[Mapping[str, object]]:
    data = event.data.strip()
    if data == b"[DONE]":
        yield DONE
        return
    document = parsed(data)
    # The standard makes one text of several data lines; some servers send a chunk in each.
    documents = [document] if document is not None else [parsed(line) for line in data.split(b"\n")]
    for one in documents:
        failed = event.type == "error" and isinstance(one, dict) and "error" not in one
        yield _chunk({"error": one} if failed else one, response, _SERVER_FAILED)


def _chunk(document: object, response: httpx.Response, meant: int) -> Mapping[str, object]:
    """Requires that a document is a chunk or a reply.

    Args:
        document: What was read.
        response: The response.
        meant: The status that an error means which does not say so itself.
    """
    error = error_in(document, anything=meant == _REFUSED)
    if error is not None:
        raise ProviderError(status_of(error, meant), error, response.headers, message_of(error))
    if not isinstance(document, dict):
        raise StreamBrokenError
    if "choices" not in document and meant == _REFUSED:
        raise not_an_api(response, _content(document))
    return document
