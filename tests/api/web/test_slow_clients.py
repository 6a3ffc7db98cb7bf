"""The gateway and clients that are slow, silent, or take more than they give."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from api.composition import GatewayContext
from api.web.connections import Connections
from api.web.limits import HttpLimits
from api.web.middleware import MAX_BODY
from api.web.protocol import GatewayConfig
from tests.api.gateway import Gateway, execute, serving
from tests.api.web.sockets import Socket, connected, until

EXECUTE = b"POST /api/v1/agents/execute HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
HEALTH = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.fixture(scope="module")
async def own(gateway_parts: GatewayContext) -> AsyncIterator[Gateway]:
    """A gateway of these tests alone, with the patience that every deployment has."""
    async with serving(replace(gateway_parts, closing=asyncio.Event())) as running:
        yield running


@pytest.fixture
async def client(own: Gateway) -> AsyncIterator[Socket]:
    async with connected(own.url) as one:
        yield one


@pytest.fixture
def credential(own: Gateway, tenant: str) -> bytes:
    return f"authorization: Bearer {own.token(tenant, 'olga', ['operator'])}\r\n".encode()


def connections(gateway: Gateway) -> Connections:
    assert isinstance(gateway.server.config, GatewayConfig)
    return gateway.server.config.connections


@contextmanager
def impatient(gateway: Gateway) -> Iterator[None]:
    """Shortens what the gateway waits for a header or a body, from when its client has done all that it is to do."""
    held = connections(gateway)
    before = held.limits
    held.limits = replace(before, header_seconds=0.2, body_seconds=0.2)
    try:
        yield
    finally:
        held.limits = before


async def test_who_says_nothing_is_hung_up_on(own: Gateway) -> None:
    with impatient(own):
        async with connected(own.url) as client:
            assert await client.end() == b""


async def test_who_sends_only_blank_lines_is_hung_up_on(own: Gateway) -> None:
    with impatient(own):
        async with connected(own.url) as client:
            client.writer.write(b"\r\n\r\n")
            assert await client.end() == b""


async def test_a_header_byte_by_byte_takes_too_long(own: Gateway, client: Socket) -> None:
    await client.send(HEALTH)
    assert (await client.answer()).status == 200
    header = HEALTH[:-2] + b"x-filler: " + b"x" * 10_000
    with impatient(own):
        assert await client.drip(header) < len(header)
        assert (await client.last_answer()).code == "request_timeout"


async def test_a_header_that_stops_takes_too_long_also_after_a_request(own: Gateway, client: Socket) -> None:
    await client.send(HEALTH)
    assert (await client.answer()).status == 200
    with impatient(own):
        await client.send(HEALTH[:-2])
        assert (await client.last_answer()).code == "request_timeout"


async def test_who_asks_nothing_more_is_hung_up_on(gateway_parts: GatewayContext) -> None:
    parts = replace(gateway_parts, closing=asyncio.Event())
    async with serving(parts, HttpLimits(idle_seconds=1)) as brief, connected(brief.url) as client:
        await client.send(HEALTH + b"\r\n")
        assert (await client.answer()).status == 200
        assert await client.end() == b""


async def test_a_body_without_a_credential_is_not_waited_for(client: Socket) -> None:
    await client.send(EXECUTE + b"content-length: 1000000\r\n\r\n{")
    assert (await client.last_answer()).code == "token_missing"


@pytest.mark.parametrize("framing", [b"content-length: 1000\r\n\r\n{", b"transfer-encoding: chunked\r\n\r\n5\r\n{"])
async def test_a_body_that_stops_takes_too_long(
    own: Gateway, client: Socket, credential: bytes, framing: bytes
) -> None:
    with impatient(own):
        await client.send(EXECUTE + credential + framing)
        assert (await client.last_answer()).code == "request_timeout"


async def test_a_body_byte_by_byte_takes_too_long(own: Gateway, client: Socket, credential: bytes) -> None:
    with impatient(own):
        await client.send(EXECUTE + credential + b"content-length: 10000\r\n\r\n")
        assert await client.drip(b'{"mission": "' + b"x" * 9_000) < 9_000
        assert (await client.last_answer()).code == "request_timeout"


async def test_a_body_that_breaks_off_does_nothing(own: Gateway, credential: bytes, tenant: str) -> None:
    async with own.clients() as client_for:
        olga = client_for(tenant, "olga", ["operator"])
        run = (await execute(olga))["links"]["self"]
        with capture_logs() as logged:
            async with connected(own.url) as client:
                await client.send(
                    f"POST {run}/pause HTTP/1.1\r\nhost: x\r\n".encode() + credential + b"content-length: 9\r\n\r\n{"
                )
            await until(lambda: [one for one in logged if one.get("path") == f"{run}/pause"])
        (line,) = [one for one in logged if one.get("path") == f"{run}/pause"]
        assert line["status"] is None


async def test_bodies_without_a_credential_are_not_held(own: Gateway) -> None:
    held = connections(own)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(own.url)) for _ in range(40)]
        for client in clients:
            client.writer.write(EXECUTE + f"content-length: {MAX_BODY}\r\n\r\n".encode() + b" " * (MAX_BODY - 1))
        for client in clients:
            assert (await client.answer()).code == "token_missing"
        # They have sent on, each up to the last byte; what comes after the answer is thrown away.
        assert held.held == 0


async def test_a_body_is_asked_for_only_once_its_sender_is_known(own: Gateway, credential: bytes) -> None:
    body = b'{"mission": "Say hello.", "model": "openai/scripted"}'
    header = EXECUTE + f"expect: 100-continue\r\ncontent-length: {len(body)}\r\n".encode()
    async with connected(own.url) as client:
        await client.send(header + credential + b"\r\n")
        assert (await client.answer()).status == 100
        await client.send(body)
        assert (await client.answer()).status == 202
    async with connected(own.url) as client:
        await client.send(header + b"\r\n")
        assert (await client.last_answer()).code == "token_missing"
