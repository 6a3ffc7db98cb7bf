"""What the server takes as HTTP/1.1, and what it refuses before any application sees it."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from api.web.connections import ACCEPTED
from api.web.limits import DEFAULTS, HttpLimits
from tests.api.web.sockets import Server, Socket, connected, listening, until

LIMITS = HttpLimits(connections=5, pending_bytes=1_000_000_000)
GET = b"GET / HTTP/1.1\r\nhost: x\r\n"
CREDENTIAL = b"authorization: Bearer x\r\n"
POST = b"POST / HTTP/1.1\r\nhost: x\r\n"
CHUNKED = POST + b"transfer-encoding: chunked\r\n"
PIECE = b"x" * 65_536
DOCUMENT = "x" * 12_000_000
"""More than a kernel buffers of an answer that nobody reads."""


class Echo:
    """Answers with what it got, streams without end, or waits; accepts every credential."""

    def __init__(self) -> None:
        self.sent = 0
        self.streaming = 0
        self.documents = 0
        self.go_on = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if "authorization" in request.headers:
            scope["state"][ACCEPTED]()
        if request.url.path == "/endless":
            await self._stream(receive, send)
        elif request.url.path == "/early":
            await PlainTextResponse("early")(scope, receive, send)
        elif request.url.path == "/document":
            await PlainTextResponse(DOCUMENT)(scope, receive, send)
            self.documents += 1
        else:
            if request.url.path == "/wait":
                await self.go_on.wait()
            got = {"path": request.url.path, "headers": dict(request.headers), "body": (await request.body()).decode()}
            await JSONResponse(got)(scope, receive, send)

    async def _stream(self, receive: Receive, send: Send) -> None:
        self.streaming += 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        gone = asyncio.ensure_future(self._left(receive))
        while not gone.done():
            await send({"type": "http.response.body", "body": PIECE, "more_body": True})
            self.sent += len(PIECE)
            await asyncio.sleep(0)
        self.streaming -= 1

    async def _left(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass


@pytest.fixture
async def echo() -> Echo:
    return Echo()


@pytest.fixture
async def server(echo: Echo) -> AsyncIterator[Server]:
    async with listening(echo, LIMITS) as running:
        yield running


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Socket]:
    async with connected(server.url) as one:
        yield one


@pytest.mark.parametrize(
    "request_",
    [
        GET + b"x-long: " + b"x" * 70_000 + b"\r\n\r\n",
        GET + b"x-endless: " + b"x" * 200_000,
        GET + b"x" * 200_000,
        GET + b"".join(b"x-%d: y\r\n" % number for number in range(5_000)) + b"\r\n",
        GET + b"a: b\r\n" * 101 + b"\r\n",
    ],
    ids=["70 kB", "endless value", "endless name", "5,000 headers", "101 headers"],
)
async def test_headers_that_are_too_large_or_too_many(client: Socket, request_: bytes) -> None:
    await client.send(request_)
    answer = await client.last_answer()
    assert (answer.status, answer.code) == (431, "headers_too_large")


async def test_as_many_headers_and_bytes_as_are_allowed(client: Socket) -> None:
    await client.send(GET + b"a: b\r\n" * 99 + b"\r\n")
    assert (await client.answer()).status == 200
    await client.send(GET + b"a: " + b"x" * 32_000 + b"\r\n\r\n")
    assert (await client.answer()).status == 200


async def test_a_target_that_is_too_long(client: Socket) -> None:
    await client.send(b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n")
    answer = await client.last_answer()
    assert (answer.status, answer.code) == (414, "target_too_long")


@pytest.mark.parametrize(
    "request_",
    [
        CHUNKED + b"content-length: 4\r\n\r\n0\r\n\r\n",
        POST + b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{} ",
        POST + b"content-length: 2\r\ncontent-length: 2\r\n\r\n{}",
        POST + b"content-length: 2, 2\r\n\r\n{}",
        POST + b"content-length: +2\r\n\r\n{}",
        POST + b"content-length: 0x2\r\n\r\n{}",
        POST + b"content-length: -1\r\n\r\n",
        POST + b"content-length: 99999999999999999999999\r\n\r\n",
        POST + b"content-length : 2\r\n\r\n{}",
        CHUNKED + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.0\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        CHUNKED + b"\r\n0x2\r\n{}\r\n0\r\n\r\n",
        CHUNKED + b"\r\n-2\r\n{}\r\n0\r\n\r\n",
        CHUNKED + b"\r\n2\n{}\r\n0\r\n\r\n",
        CHUNKED + b"\r\n2\r\n{}0\r\n\r\n",
        CHUNKED + b"\r\nfffffffffffffffff\r\n",
        CHUNKED + b"\r\n2;" + b"x" * 100_000,
        CHUNKED + b"\r\n" + b"1;xxxxxxxxxxxxxxxx\r\ny\r\n" * 10_000,
        CHUNKED + b"\r\n0\r\n" + b"x-trailer: y\r\n" * 10_000 + b"\r\n",
        GET + b"a: b\r\n c\r\n\r\n",
        GET + b"a: b\r\n\tc\r\n\r\n",
        GET + b"a: b\rc: d\r\n\r\n",
        GET + b"a: b\nc: d\r\n\r\n",
        GET + b"a: b\x00c\r\n\r\n",
        GET + b"a b: c\r\n\r\n",
        GET + b": c\r\n\r\n",
        GET + b"host: y\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.0\r\nhost: x\r\nhost: y\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET http://x:y:z/ HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET / HTTP/11.1\r\nhost: x\r\n\r\n",
        b"NONSENSE / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"CONNECT x:443 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00" * 100,
    ],
)  # fmt: skip
async def test_a_request_that_others_may_read_as_another(client: Socket, request_: bytes) -> None:
    await client.send(request_ + GET + b"\r\n")
    answer = await client.last_answer()
    assert (answer.status, answer.code) in {(400, "request_malformed"), (505, "http_version_unsupported")}


@pytest.mark.parametrize("coding", [b"gzip, chunked", b"xchunked"])
async def test_a_transfer_coding_that_is_not_ours(client: Socket, coding: bytes) -> None:
    await client.send(POST + b"transfer-encoding: " + coding + b"\r\n\r\n0\r\n\r\n")
    answer = await client.last_answer()
    assert (answer.status, answer.code) == (501, "transfer_coding_unsupported")


async def test_a_chunked_body_is_read_whole_and_its_trailer_is_no_header(client: Socket) -> None:
    await client.send(CHUNKED + b"\r\n2;name=value\r\nab\r\n1\r\nc\r\n0\r\nx-forwarded-for: 10.0.0.1\r\n\r\n")
    got = json.loads((await client.answer()).body)
    assert got["body"] == "abc"
    assert "x-forwarded-for" not in got["headers"]


async def test_a_body_in_chunks_of_one_byte(client: Socket) -> None:
    await client.send(CHUNKED + b"\r\n" + b"1\r\nx\r\n" * 100_000 + b"0\r\n\r\n")
    assert json.loads((await client.answer()).body)["body"] == "x" * 100_000


async def test_http_1_0_is_answered_once(client: Socket) -> None:
    await client.send(b"POST / HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\nab" + GET + b"\r\n")
    answer = await client.last_answer()
    assert (answer.status, json.loads(answer.body)["body"]) == (200, "ab")


async def test_an_upgrade_that_we_do_not_know_is_answered_as_what_it_is(client: Socket) -> None:
    upgrade = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n"
    await client.send(POST + upgrade + b"content-length: 2\r\n\r\nab" + GET + b"\r\n")
    answer = await client.last_answer()
    assert (answer.status, json.loads(answer.body)["body"]) == (200, "ab")


async def test_requests_sent_together_are_answered_in_their_order(client: Socket) -> None:
    await client.send(GET + CREDENTIAL + b"\r\n")
    assert (await client.answer()).status == 200
    paths = [f"/{number}" for number in range(10)]
    await client.send(b"".join(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode() for path in paths))
    assert [json.loads((await client.answer()).body)["path"] for _ in paths] == paths
    await client.send(GET + b"\r\n")
    assert (await client.answer()).status == 200


@pytest.mark.parametrize(("credential", "most"), [(b"", 2), (CREDENTIAL, LIMITS.pipelined + 1)])
async def test_of_too_many_requests_sent_together_some_are_answered(
    client: Socket, credential: bytes, most: int
) -> None:
    await client.send(GET + credential + b"\r\n")
    assert (await client.answer()).status == 200
    await client.send((GET + b"\r\n") * 1_000)
    whole = await client.end()
    answers = whole.count(b"HTTP/1.1 200 OK")
    assert 0 < answers <= most
    assert whole.endswith(b"}")


async def test_what_comes_before_a_malformed_request_is_answered(server: Server, echo: Echo, client: Socket) -> None:
    await client.send(b"GET /wait HTTP/1.1\r\nhost: x\r\n" + CREDENTIAL + b"\r\n")
    await until(lambda: server.connections.pending == 0)
    await client.send(GET + b"\r\n" + b"nonsense\r\n\r\n")
    await until(lambda: server.connections.held == 0)
    echo.go_on.set()
    assert json.loads((await client.answer()).body)["path"] == "/wait"
    assert json.loads((await client.last_answer()).body)["path"] == "/"


async def test_an_answer_before_the_body_reaches_its_client_and_ends_the_connection(client: Socket) -> None:
    await client.send(b"POST /early HTTP/1.1\r\nhost: x\r\ncontent-length: 5000000\r\n\r\n" + b"x" * 1_000_000)
    assert (await client.last_answer()).body == b"early"


async def test_who_never_reads_is_hung_up_on_and_holds_little(echo: Echo) -> None:
    limits = HttpLimits(stall_seconds=0.4)
    async with listening(echo, limits) as server, connected(server.url) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await client.send(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n")
        await until(lambda: echo.streaming == 1)
        await until(lambda: echo.streaming == 0)
        # What fits into the kernel's buffers, and one buffer of ours.
        assert echo.sent < 50_000_000
        assert len(server.connections) == 0


async def test_a_stream_ends_with_its_client_though_another_request_waits_behind_it(server: Server, echo: Echo) -> None:
    async with connected(server.url) as client:
        await client.send(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n" + GET + b"\r\n")
        await until(lambda: echo.sent > 0)
    await until(lambda: echo.streaming == 0)


async def test_unfinished_headers_hold_no_more_than_their_bound(echo: Echo) -> None:
    async with listening(echo, HttpLimits(pending_bytes=100_000)) as server, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(server.url)) for _ in range(20)]
        with capture_logs() as logged:
            for client in clients:
                await client.send(GET + b"x-filler: " + b"x" * 30_000)
                assert server.connections.held <= 100_000
            await until(lambda: sum(one["event"] == "http.evicted" for one in logged) >= 17)
        async with connected(server.url) as client:
            await client.send(GET + b"\r\n")
            assert (await client.answer()).status == 200


async def test_silent_connections_give_way_and_working_ones_do_not(server: Server, echo: Echo) -> None:
    async with AsyncExitStack() as stack:
        silent = [await stack.enter_async_context(connected(server.url)) for _ in range(LIMITS.connections)]
        await until(lambda: len(server.connections) == LIMITS.connections)
        at_work = []
        for gone in silent:
            client = await stack.enter_async_context(connected(server.url))
            await client.send(b"GET /wait HTTP/1.1\r\nhost: x\r\n" + CREDENTIAL + b"\r\n")
            assert await gone.end() == b""
            at_work.append(client)
        # The last of them may not have been read yet.
        await until(lambda: server.connections.pending == 0)
        async with connected(server.url) as late:
            answer = await late.last_answer()
            assert (answer.status, answer.code) == (503, "connections_exhausted")
        echo.go_on.set()
        for client in at_work:
            assert (await client.answer()).status == 200


async def ask_without_reading(stack: AsyncExitStack, server: Server, path: str) -> Socket:
    client = await stack.enter_async_context(connected(server.url))
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    await client.send(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode() * 2)
    return client


async def test_strangers_who_do_not_read_their_answers_give_way(server: Server, echo: Echo) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(LIMITS.connections):
            await ask_without_reading(stack, server, "/document")
        await until(lambda: len(server.connections) == LIMITS.connections)
        await until(lambda: echo.documents == LIMITS.connections)
        assert server.connections.held > 0
        assert server.connections.pending == LIMITS.connections
        async with connected(server.url) as client:
            await client.send(GET + b"\r\n")
            assert (await client.answer()).status == 200


async def test_so_do_strangers_whose_requests_are_in_progress(server: Server, echo: Echo) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(LIMITS.connections):
            await ask_without_reading(stack, server, "/wait")
        await until(lambda: len(server.connections) == LIMITS.connections)
        async with connected(server.url) as client:
            await client.send(GET + b"\r\n")
            assert (await client.answer()).status == 200
    echo.go_on.set()


async def test_answers_that_strangers_do_not_read_hold_no_more_than_their_bound(echo: Echo) -> None:
    most = len(DOCUMENT)
    async with listening(echo, replace(DEFAULTS, pending_bytes=most)) as server, AsyncExitStack() as stack:
        with capture_logs() as logged:
            for _ in range(10):
                await ask_without_reading(stack, server, "/document")
                assert server.connections.held <= most
            await until(lambda: any(one["event"] == "http.evicted" for one in logged))
        assert server.connections.held <= most


async def test_answers_that_were_read_are_not_counted_any_more(echo: Echo) -> None:
    async with listening(echo, replace(DEFAULTS, pending_bytes=2 * len(DOCUMENT))) as server, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(server.url)) for _ in range(5)]
        for client in clients:
            await client.send(b"GET /document HTTP/1.1\r\nhost: x\r\n\r\n")
            assert len((await client.answer()).body) == len(DOCUMENT)
        for client in clients:
            await client.send(GET + b"\r\n")
            assert (await client.answer()).status == 200


async def test_what_an_accepted_caller_does_not_read_is_not_counted(server: Server, echo: Echo) -> None:
    async with connected(server.url) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await client.send(b"GET /document HTTP/1.1\r\nhost: x\r\n" + CREDENTIAL + b"\r\n")
        await until(lambda: echo.documents == 1)
        assert server.connections.held == 0


async def test_the_deadline_of_a_body_begins_when_its_sender_is_accepted() -> None:
    authenticated = asyncio.Event()

    async def slow_to_accept(scope: Scope, receive: Receive, send: Send) -> None:
        await authenticated.wait()
        await PlainTextResponse(await Request(scope, receive).body())(scope, receive, send)

    limits = HttpLimits(body_seconds=0.1)
    async with listening(slow_to_accept, limits) as server, connected(server.url) as client:
        await client.send(POST + b"expect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        asyncio.get_running_loop().call_later(2 * limits.body_seconds, authenticated.set)
        assert (await client.answer()).status == 100
        assert (await client.last_answer()).code == "request_timeout"
