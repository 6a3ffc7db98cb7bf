"""Spans of HTTP requests by OpenTelemetry's conventions.

Source: https://opentelemetry.io/docs/specs/semconv/http/http-spans/.
"""

from starlette.types import Message, Scope

from taskforce.core.domain.traces import is_traceparent
from taskforce.core.interfaces.tracing import Span, SpanKind, SpanStart, Tracer

PREFIXES = ("/api/v1", "/v1")
"""Where the routes are served."""

_SERVER_ERRORS = 500
_PATH_SHOWN = 500


def request_span(scope: Scope, tracer: Tracer) -> SpanStart:
    """Returns the span of a request; its route is known only once the request is routed.

    Args:
        scope: The request's scope.
        tracer: Redacts the path, which may be anything. The query is not recorded.
    """
    method, path = scope["method"], tracer.harmless(scope["path"][:_PATH_SHOWN])
    facts = {"http.request.method": method, "url.path": path, "url.scheme": scope["scheme"]}
    return SpanStart(method, SpanKind.SERVER, {**facts, "taskforce.request.id": scope["state"]["request_id"]})


def parent_of(scope: Scope) -> str:
    """Returns the caller's `traceparent`; empty where there is none, or more than one.

    Never the current span: the task of a pipelined request inherits that of the request before.
    """
    sent = [value for name, value in scope["headers"] if name == b"traceparent"]
    text = sent[0].decode("latin-1") if len(sent) == 1 else ""
    return text if is_traceparent(text) else ""


def routed(span: Span, scope: Scope) -> None:
    """Names a span by its request's route, where there is one."""
    template = getattr(scope.get("route"), "path", None)
    if isinstance(template, str):
        # A route does not know the prefix under which its router was included.
        prefix = next((one for one in PREFIXES if scope["path"].startswith(f"{one}/")), "")
        route = template if template.startswith(f"{prefix}/") and prefix else f"{prefix}{template}"
        span.rename(f"{scope['method']} {route}")
        span.set({"http.route": route})


def responded(span: Span, scope: Scope, message: Message) -> None:
    """Records the beginning of a response.

    A stream of events stays open for as long as somebody watches, and is no work: its span ends here.

    Args:
        span: The request's span.
        scope: The request's scope.
        message: The `http.response.start`.
    """
    routed(span, scope)
    status = message["status"]
    span.set({"http.response.status_code": status})
    if status >= _SERVER_ERRORS:
        span.fail(str(status))
    kinds = [value for name, value in message.get("headers", ()) if name.lower() == b"content-type"]
    if any(kind.startswith(b"text/event-stream") for kind in kinds):
        span.end()
