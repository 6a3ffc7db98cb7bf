"""The Temporal UI behind a check: it has no sign-in, and answers by itself to any name and to rebound ones."""

import random
import socket
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from cli.stack.ports import require_free

_HOST = "127.0.0.1"
_OWN_NAMES = frozenset({_HOST, "localhost", "::1"})
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
# RFC 9110, 7.6.1: they are about one connection. The length is that of the body as it is sent on.
_OF_CONNECTION = frozenset(
    {"connection", "host", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
_STOP_SECONDS = 5.0


def hidden_address() -> str:
    """Chooses a loopback address for the unchecked UI.

    On Linux the whole of 127.0.0.0/8 is loopback: a page that looks for the UI past the check would have to try 2^24
    addresses with each port. Elsewhere there is one address, and only the port is unknown.
    """
    if sys.platform != "linux":
        return _HOST
    chance = random.SystemRandom()
    return f"127.{chance.randint(1, 254)}.{chance.randint(0, 255)}.{chance.randint(1, 254)}"


def refusal(hosts: list[str], origin: str | None) -> str | None:
    """Says why a request is refused; None when it is not.

    Args:
        hosts: The values of its Host headers.
        origin: The value of its Origin header, which browsers send with every form and script of another site.
    """
    # A name that was bound anew to 127.0.0.1 (DNS rebinding) still stands in Host.
    if len(hosts) != 1 or _name(hosts[0]) not in _OWN_NAMES:
        return "This is the Temporal UI of a local stack: it answers as 127.0.0.1 and localhost only."
    if origin is not None and origin.lower() not in {f"{scheme}://{hosts[0].lower()}" for scheme in ("http", "https")}:
        return "Another site has sent this request; the Temporal UI takes those of its own pages only."
    return None


def _name(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


class CheckedUI:
    """Serves the Temporal UI on a known port to this machine's own pages, from a thread of this process.

    Args:
        port: Where it listens, on 127.0.0.1.
        upstream: Base URL of the UI itself.
    """

    def __init__(self, port: int, upstream: str) -> None:
        self._port = port
        self._upstream = httpx.URL(upstream)
        # A proxy that the person has set would be asked for this machine.
        self._client = httpx.AsyncClient(timeout=70, trust_env=False)
        routes = [Route("/{path:path}", self._answer, methods=_METHODS)]
        app = Starlette(routes=routes, lifespan=self._lifespan)
        config = uvicorn.Config(
            app, log_config=None, access_log=False, ws="none", server_header=False, timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listens, and returns at once.

        Raises:
            Conflict: `port_taken`.
        """
        require_free(self._port, "TEMPORAL_UI_PORT")
        listening = socket.create_server((_HOST, self._port))
        self._thread = threading.Thread(target=self._server.run, args=([listening],), name="temporal-ui", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends it; requests under way have a second."""
        self._server.should_exit = True
        if self._thread:
            self._thread.join(_STOP_SECONDS)

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        async with self._client:
            yield

    async def _answer(self, request: Request) -> Response:
        if (why := refusal(request.headers.getlist("host"), request.headers.get("origin"))) is not None:
            return PlainTextResponse(f"{why}\n", 403)
        try:
            return await self._forward(request)
        except httpx.HTTPError:
            return PlainTextResponse("The Temporal UI does not answer; see logs/temporal.log.\n", 502)

    async def _forward(self, request: Request) -> Response:
        # Raw: the ids of workflows hold encoded slashes.
        path = request.scope["raw_path"] + (b"?" + request.scope["query_string"] if request.url.query else b"")
        target = self._upstream.copy_with(raw_path=path)
        headers = [(name, value) for name, value in request.headers.raw if name.decode() not in _OF_CONNECTION]
        asked = self._client.build_request(
            request.method, target, headers=headers, content=await request.body() or None
        )
        answer = await self._client.send(asked, stream=True)
        given = StreamingResponse(answer.aiter_raw(), answer.status_code, background=BackgroundTask(answer.aclose))
        # As they came: a cookie may be set twice, and the body is sent on as it is encoded.
        given.raw_headers = [
            (name.lower(), value) for name, value in answer.headers.raw if name.decode().lower() not in _OF_CONNECTION
        ]
        return given
