"""A client that sends whatever bytes it likes, and a server with a small application of its own."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp

from api.web.connections import Connections
from api.web.limits import HttpLimits
from api.web.protocol import GatewayConfig
from api.web.server import GatewayServer

PATIENCE = 60
"""Seconds after which a test gives up; what is tested takes a fraction of one."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        assert self.headers["content-type"] == "application/problem+json", self
        problem: dict[str, Any] = json.loads(self.body)
        assert problem["status"] == self.status
        assert problem["request_id"] == self.headers["x-request-id"]
        return str(problem["code"])


class Socket:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def drip(self, data: bytes) -> int:
        """Sends byte by byte, until the server ends it.

        Returns:
            How many bytes were sent.
        """
        for sent in range(len(data)):
            if self.reader.at_eof() or self.writer.transport.is_closing() or self.reader._buffer:  # type: ignore[attr-defined]
                return sent
            self.writer.write(data[sent : sent + 1])
            await asyncio.sleep(0.01)
        return len(data)

    async def answer(self) -> Answer:
        """Reads one answer, which has a length."""
        async with asyncio.timeout(PATIENCE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status, *lines = head.rstrip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return Answer(int(status.split()[1]), headers, body)

    async def last_answer(self) -> Answer:
        """Reads one answer, and sees the connection closed."""
        answer = await self.answer()
        assert answer.headers["connection"] == "close"
        assert await self.end() == b""
        return answer

    async def end(self) -> bytes:
        """Reads until the server closes the connection."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Socket]:
    host, port = url.removeprefix("http://").split(":")
    one = Socket(*await asyncio.open_connection(host, int(port)))
    try:
        yield one
    finally:
        one.writer.transport.abort()


@dataclass(frozen=True, slots=True)
class Server:
    url: str
    connections: Connections


@asynccontextmanager
async def listening(app: ASGIApp, limits: HttpLimits) -> AsyncIterator[Server]:
    """A server as the gateway has it, with another application."""
    server = GatewayServer(app, asyncio.Event(), host="127.0.0.1", port=0, signals=False, limits=limits)
    assert isinstance(server.config, GatewayConfig)
    task = asyncio.create_task(server.serve())
    while not server.started and not task.done():  # noqa: ASYNC110 - the server has no event for it
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Server(f"http://127.0.0.1:{port}", server.config.connections)
    finally:
        server.should_exit = True
        await task


async def until(condition: Any) -> None:
    """Waits for something that must come true."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - anything
            await asyncio.sleep(0.01)
