"""ASGI middleware of every request: request id, access log, limits of the body, response headers."""

import re
import time
from collections.abc import Iterable

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.auth.caller import context_of
from api.auth.guard import admit
from api.web import problems
from api.web.json_body import check_body
from api.web.tracing import parent_of, request_span, responded
from taskforce.core.domain.errors import DomainError
from taskforce.core.domain.ids import new_id
from taskforce.core.interfaces.tracing import NO_SPAN, NO_TRACING, Span, Tracer
from taskforce.infrastructure.logging import bind, forget

MAX_BODY = 1_048_576
REQUEST_ID = "x-request-id"

YAML_KINDS = frozenset({"application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml"})

_TAKES_YAML = "/import"
_ACCEPTED_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
# Probes come every few seconds, and would be most of the log.
_SILENT = frozenset({"/health", "/ready", "/metrics"})
# They load scripts, which the policy of all other answers forbids.
_PAGES = frozenset({"/docs", "/redoc", "/docs/oauth2-redirect"})
_HEADERS = (
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-store"),
)
_NOTHING_ACTIVE = "default-src 'none'; frame-ancestors 'none'"

_log = structlog.get_logger(__name__)


class RequestContext:
    """Assigns the request id, logs the request, adds the common headers, and answers unexpected exceptions.

    Args:
        app: The next application.
        tracer: Traces requests.
    """

    def __init__(self, app: ASGIApp, tracer: Tracer = NO_TRACING) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(scope, send, _request_id(scope))
        # The task of a pipelined request inherits the context of the one before: drop what that one has bound.
        forget()
        bind(request_id=answer.request_id)
        scope.setdefault("state", {})["request_id"] = answer.request_id
        if not self._tracer.on or scope["path"] in _SILENT:
            await self._serve(scope, receive, answer)
            return
        with self._tracer.span(request_span(scope, self._tracer), parent=parent_of(scope)) as span:
            answer.span = span
            await self._serve(scope, receive, answer)

    async def _serve(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        try:
            await self._app(scope, receive, answer)
        except Exception as error:  # whatever was raised, the caller gets a problem document (RFC 9457)
            _log.error("http.failed", method=scope["method"], path=scope["path"], exc_info=error)
            # A response under way cannot be replaced; raising makes the server close the connection, so that it shows
            # as broken.
            if answer.status is not None:
                raise
            await problems.unexpected(answer.request_id)(scope, receive, answer)
        finally:
            answer.log()


class BodyGuard:
    """Reads a body before the route does, and requires an authenticated caller, a bounded size and strict JSON.

    A body is read only after the caller's credential is accepted, so that nobody else makes the process hold or parse
    one.

    Args:
        app: The next application.
        most: The largest body, in bytes.
    """

    def __init__(self, app: ASGIApp, most: int = MAX_BODY) -> None:
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request, or refuses its body."""
        if scope["type"] != "http" or not _announces_body(scope) or scope["path"] in _SILENT:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            body = await self._accepted(request)
        except ClientDisconnect:
            return
        except DomainError as error:
            await (await problems.answer_failure(request, error))(scope, receive, send)
        else:
            if isinstance(body, Response):
                await body(scope, receive, send)
            else:
                await self._app(scope, _replay(body, receive), send)

    async def _accepted(self, request: Request) -> bytes | Response:
        """Returns the body, or the response that refuses it."""
        request_id = problems.request_id_of(request)
        # By the header alone: no credential is looked up for a body that would be refused anyway.
        if _announces_more(request.headers, self._most):
            return problems.too_large(self._most, request_id)
        await admit(request, context_of(request))
        body = await self._read(request)
        if body is None:
            return problems.too_large(self._most, request_id)
        if body and not _is_json(request.headers) and not _is_yaml(request.headers, request.scope):
            return problems.unsupported(request_id)
        # YAML is read, as strictly, by the few routes that take it.
        if body and _is_json(request.headers):
            await check_body(body)
        return body

    async def _read(self, request: Request) -> bytes | None:
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > self._most:
                return None
        return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay


class _Answer:
    """Sends the response of one request: adds the common headers, keeps the status, and writes the log line."""

    def __init__(self, scope: Scope, send: Send, request_id: str) -> None:
        self.request_id = request_id
        self.status: int | None = None
        self.span: Span = NO_SPAN
        self._scope = scope
        self._send = send
        self._began = time.perf_counter()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers[REQUEST_ID] = self.request_id
            for name, value in self._additions():
                # What a route has set itself goes first.
                headers.setdefault(name, value)
            if self.span is not NO_SPAN:
                responded(self.span, self._scope, message)
        await self._send(message)

    def log(self) -> None:
        """Writes the request's log line, except for health checks, which would drown the others."""
        path = self._scope["path"]
        if path not in _SILENT:
            spent = round((time.perf_counter() - self._began) * 1_000, 1)
            _log.info("http.request", method=self._scope["method"], path=path, status=self.status, duration_ms=spent)

    def _additions(self) -> Iterable[tuple[str, str]]:
        yield from _HEADERS
        yield from self._scope.get("state", {}).get("rate_headers", {}).items()
        if self._scope["path"] not in _PAGES:
            yield "content-security-policy", _NOTHING_ACTIVE


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get(REQUEST_ID, "")
    # It goes into logs and answers: only what can do no harm there is taken over.
    return given if _ACCEPTED_ID.fullmatch(given) else new_id()


def _announces_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


def _announces_more(headers: Headers, most: int) -> bool:
    length = headers.get("content-length", "0")
    # `int` refuses thousands of digits. The parser takes no longer length, and reading stops at the limit anyway.
    return length.isascii() and length.isdigit() and len(length) < 20 and int(length) > most  # noqa: PLR2004


def _is_yaml(headers: Headers, scope: Scope) -> bool:
    return scope["path"].endswith(_TAKES_YAML) and _kind(headers) in YAML_KINDS


def _is_json(headers: Headers) -> bool:
    kind = _kind(headers)
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


def _kind(headers: Headers) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()
