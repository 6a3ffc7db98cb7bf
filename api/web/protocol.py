"""Protocol of one HTTP connection: Uvicorn's, with bounds of time and size, and strict framing."""

import asyncio
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, cast

import httptools
import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from api.web import wire
from api.web.connections import ACCEPTED, Connections
from api.web.limits import HttpLimits
from api.web.transport import LingeringTransport
from taskforce.core.domain.ids import new_id

if TYPE_CHECKING:
    from uvicorn._types import (
        ASGI3Application,
        ASGIReceiveCallable,
        ASGIReceiveEvent,
        ASGISendCallable,
        ASGISendEvent,
        Scope,
    )
    from uvicorn.server import ServerState

# Bounds what is parsed at once, and so the error in counting where one request ends and the next begins.
_SLICE = 16_384
# A chunk of one byte has five bytes of framing around it; more framing than that is no honest body.
_FRAMING_PER_BYTE = 8

# Requests that wait behind another one whose caller has shown no accepted credential on this connection.
_PIPELINED_BY_STRANGERS = 1

# `http2-settings` comes with an upgrade to HTTP/2 (RFC 7540, section 3.2.1).
_OF_UPGRADES = frozenset({b"upgrade", b"connection", b"http2-settings"})

_log = structlog.get_logger(__name__)


class GatewayConfig(uvicorn.Config):
    """Configures Uvicorn with the gateway's protocol and limits.

    Args:
        app: The application.
        limits: The limits of one client, and of all together.
        options: Further options of Uvicorn.
    """

    def __init__(self, app: ASGIApp, limits: HttpLimits, **options: Any) -> None:  # noqa: ANN401 - Uvicorn's
        super().__init__(app, http=GatewayProtocol, ws="none", timeout_keep_alive=limits.idle_seconds, **options)
        self.connections = Connections(limits)


class _Phase(Enum):
    """Names what the protocol expects of the client next."""

    REQUEST = auto()
    HEADER = auto()
    BODY = auto()


class _Refused(Exception):
    """Stops the parser; the protocol holds the problem to answer."""


class GatewayProtocol(HttpToolsProtocol):
    """Reads requests within the limits, and a body only when the application asks for it.

    The application says when it has accepted the caller's credential (`ACCEPTED` in the request's state), and asks for
    a body only after that. Until then no body is read from the client, so that a caller without a credential occupies
    at most what came together with the header, and may be evicted also while a response is due or unread.

    Args:
        config: The configuration, with the limits and the connections that share them.
        server_state: Uvicorn's state of the server.
        app_state: Uvicorn's state of the application's lifespan.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: "ServerState",
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        assert isinstance(config, GatewayConfig)
        super().__init__(config, server_state, app_state, _loop)
        self._connections = config.connections
        self._application = self.app
        self._lingering: LingeringTransport
        self._running: RequestResponseCycle | None = None
        # Whether a request is in progress that eviction spares, because its caller is accepted.
        self._at_work = False
        # Whether a caller was accepted on this connection before.
        self._known = False
        # Whether what waits to be sent is the response to a caller who was not accepted.
        self._owes_stranger = False
        # Whether further bytes of the client are discarded.
        self._ended = False
        self._problem = wire.MALFORMED
        # State of the request that is being read.
        self._number = 0
        self._phase = _Phase.REQUEST
        self._header_size = self._header_fed = self._body_size = self._framing_size = 0
        # The deadline of the first header runs from the connection, for a client may never send a byte.
        self._timed = (1, _Phase.HEADER, False)
        self._deadline: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None

    @property
    def _limits(self) -> HttpLimits:
        return self._connections.limits

    # The connection.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Registers a connection and starts the deadline of its first header."""
        # A cast: uvloop's transport does not derive from `asyncio.Transport`.
        accepted = cast("asyncio.Transport", transport)
        self._lingering = LingeringTransport(accepted, self.loop, self._limits.stall_seconds)
        super().connection_made(self._lingering)
        if self._connections.opened(self):
            self._deadline = self.loop.call_later(self._limits.header_seconds, self._too_slow)
        else:
            self._answer(wire.NO_ROOM)

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends a connection; unlike Uvicorn, also disconnects the request in progress while others wait behind it."""
        self._ended = True
        self.pipeline.clear()
        self._disconnect()
        super().connection_lost(exc)
        self._lingering.lost()
        self._connections.closed(self)
        for timer in (self._deadline, self._stall):
            if timer is not None:
                timer.cancel()

    def eof_received(self) -> None:
        """Closes the connection: the client sends no more."""
        self._lingering.finish()

    @property
    def unsent(self) -> int:
        """Returns the bytes that wait to be sent to a caller who is not authenticated."""
        return self._lingering.get_write_buffer_size() if self._owes_stranger else 0

    def evict(self) -> None:
        """Closes the connection in favour of another one."""
        _log.info("http.evicted", client=self.client)
        self._ended = True
        self._disconnect()
        self._lingering.abort()

    def pause_writing(self) -> None:
        """Starts the stall deadline of a client that reads its response more slowly than it is made."""
        super().pause_writing()
        self._stall = self.loop.call_later(self._limits.stall_seconds, self._lingering.abort)

    def resume_writing(self) -> None:
        """Cancels the stall deadline and resumes the response."""
        if self._stall is not None:
            self._stall.cancel()
        super().resume_writing()

    # Reading.

    def data_received(self, data: bytes) -> None:
        """Parses received bytes, as far as they are within the limits."""
        try:
            for start in range(0, len(data), _SLICE):
                self._feed(data if len(data) <= _SLICE else data[start : start + _SLICE])
        except (httptools.HttpParserError, _Refused):
            self._refuse(self._problem)
        if self._ended:
            return
        if self._phase is _Phase.BODY and not self._at_work:
            self.flow.pause_reading()
        self._set_deadline()

    def _feed(self, data: bytes) -> None:
        if self._ended or self._lingering.is_closing():
            return
        if not self._at_work and not self._connections.hold(self, len(data)):
            return
        number, phase, body_size = self._number, self._phase, self._body_size
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade(data[upgrade.args[0] :])
            return
        if (self._number, self._phase) != (number, phase):
            return
        # All of the bytes belong to one header or to one body, so they count against the one limit.
        if phase is _Phase.HEADER:
            self._header_fed += len(data)
            self._check(self._header_fed <= self._limits.header_bytes, wire.HEADERS_TOO_LARGE)
        elif phase is _Phase.BODY:
            self._framing_size += len(data) - (self._body_size - body_size)
            most = self._limits.header_bytes + _FRAMING_PER_BYTE * self._body_size
            self._check(self._framing_size <= most, wire.MALFORMED)

    def on_message_begin(self) -> None:
        """Starts a request."""
        super().on_message_begin()
        self._unset_keepalive_if_required()
        self._number += 1
        self._phase = _Phase.HEADER
        self._header_size = self._header_fed = self._body_size = self._framing_size = 0

    def on_url(self, url: bytes) -> None:
        """Appends a part of the request target."""
        self._header_size += len(url)
        self._check(self._header_size <= self._limits.header_bytes, wire.TARGET_TOO_LONG)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Adds a header field; a trailer field is dropped, for it would count as one that came before the body."""
        if self._phase is not _Phase.HEADER:
            return
        self._header_size += len(name) + len(value) + len(b": \r\n")
        small = self._header_size <= self._limits.header_bytes and len(self.headers) < self._limits.headers
        self._check(small, wire.HEADERS_TOO_LARGE)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Starts the request, or queues it behind the one that is being answered."""
        version = self.parser.get_http_version()
        problem = wire.framing_problem(version, self.headers)
        self._check(problem is None, problem or wire.MALFORMED)
        most = self._limits.pipelined if self._known else _PIPELINED_BY_STRANGERS
        self._check(len(self.pipeline) < most, wire.MALFORMED)
        if self.parser.should_upgrade():
            # The parser stops at an upgrade; the request is parsed again without one, see _decline_upgrade.
            self._check(self.parser.get_method() != b"CONNECT", wire.MALFORMED)
            return
        # An HTTP/1.0 client does not know `100 Continue` (RFC 9110, section 10.1.1).
        self.expect_100_continue = self.expect_100_continue and version != "1.0"
        self.app = self._serve if wire.announces_body(self.headers) else self._application
        super().on_headers_complete()
        self._phase = _Phase.BODY

    def on_body(self, body: bytes) -> None:
        """Appends a part of the body."""
        self._body_size += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Ends the request."""
        if self.parser.should_upgrade():
            return
        self._phase = _Phase.REQUEST
        super().on_message_complete()

    def _decline_upgrade(self, rest: bytes) -> None:
        """Parses a request for another protocol again without its upgrade: the parser would read no body of it."""
        kept = [(name, value) for name, value in self.headers if name not in _OF_UPGRADES]
        head = [b"%b %b HTTP/1.1\r\n" % (self.parser.get_method(), self.url), b"connection: close\r\n"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(b"".join([*head, *(b"%b: %b\r\n" % header for header in kept), b"\r\n", rest]))

    # Responding.

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        self._unset_keepalive_if_required()
        self._running = cycle
        cycle.scope["state"][ACCEPTED] = self._begin_work
        self._connections.renew(self)
        super()._start_asgi_task(cycle, app)

    async def _serve(self, scope: "Scope", receive: "ASGIReceiveCallable", send: "ASGISendCallable") -> None:
        """Serves a request with a body; a response before the body was read to its end closes the connection."""
        cycle = self._running
        assert cycle is not None

        async def read() -> "ASGIReceiveEvent":
            self._begin_work()
            return await receive()

        async def answer(message: "ASGISendEvent") -> None:
            if cycle.more_body and message["type"] == "http.response.start":
                cycle.keep_alive = False
                self._lingering.unread = True
            await send(message)

        await self._application(scope, read, answer)

    def on_response_complete(self) -> None:
        """Goes on to the next request, and discards what of the body nobody has read."""
        assert self._running is not None
        self._running.body = bytearray()
        self._owes_stranger = not self._at_work
        # A stranger's next request, which waits already, stays counted.
        if self._at_work or not self.pipeline:
            self._connections.idle(self)
        self._at_work = False
        self._connections.owe(self)
        super().on_response_complete()

    def _begin_work(self) -> None:
        if not self._at_work:
            self._at_work = self._known = True
            self._connections.accepted(self)
            if not self._ended:
                self._set_deadline()

    # Refusing.

    def _check(self, passes: bool, problem: wire.WireProblem) -> None:
        if not passes:
            self._problem = problem
            raise _Refused

    def _set_deadline(self) -> None:
        # While the application authenticates the caller, or answers an earlier request, no body is read: the time that
        # this takes is not the client's.
        reads_body = self._phase is _Phase.BODY and self._at_work and self.cycle is self._running
        now = (self._number, self._phase, reads_body)
        if self._number == 0 or now == self._timed:
            return
        if self._deadline is not None:
            self._deadline.cancel()
        self._timed, self._deadline = now, None
        if self._phase is _Phase.HEADER:
            self._deadline = self.loop.call_later(self._limits.header_seconds, self._too_slow)
        elif reads_body:
            self._deadline = self.loop.call_later(self._limits.body_seconds, self._too_slow)

    def _too_slow(self) -> None:
        # Who has sent nothing waits for no answer.
        if self._number == 0:
            self._lingering.close()
        else:
            self._refuse(wire.TIMEOUT)

    def _refuse(self, problem: wire.WireProblem) -> None:
        """Answers a request that cannot be parsed on, or closes the connection after the responses still due."""
        self._ended = True
        running = self._running
        if running is None or running.response_complete:
            self._answer(problem)
        elif self.cycle is running and self._phase is _Phase.BODY:
            self._disconnect()
            # A problem document cannot follow a response that has begun; cut off, that one shows as broken.
            if running.response_started:
                self._lingering.abort()
            else:
                self._answer(problem)
        else:
            if self._phase is _Phase.BODY:
                # Uvicorn queues at the left, so this is the newest request, whose body is being read.
                self.pipeline.popleft()
            last = self.pipeline[0][0] if self.pipeline else running
            last.keep_alive = False
            self._lingering.unread = True

    def _answer(self, problem: wire.WireProblem) -> None:
        request_id = new_id()
        _log.info("http.refused", client=self.client, status=problem.status, code=problem.code, request_id=request_id)
        self._ended = True
        self._lingering.write(problem.encoded(request_id))
        # For want of room the connection goes at once: lingering, it would take the room of another.
        self._lingering.unread = problem is not wire.NO_ROOM
        self._lingering.close()

    def _disconnect(self) -> None:
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
