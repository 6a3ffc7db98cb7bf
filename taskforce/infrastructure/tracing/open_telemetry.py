"""The tracer over OpenTelemetry's SDK."""

import asyncio
from collections.abc import Mapping, Sequence
from contextvars import Token
from types import TracebackType

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags

from taskforce.core.domain.errors import DomainError
from taskforce.core.domain.redaction import redact
from taskforce.core.domain.traces import is_traceparent
from taskforce.core.interfaces.tracing import Attributes, Span, SpanKind, SpanStart, Tracer

CANCELLED = "cancelled"

_ERROR = "error.type"
_KINDS: Mapping[SpanKind, trace.SpanKind] = {kind: trace.SpanKind[kind.name] for kind in SpanKind}


class OpenTelemetryTracer(Tracer):
    """Starts OpenTelemetry's spans.

    Its provider is nobody else's: what other libraries would trace by themselves, texts of conversations among it, is
    not sent.

    Args:
        provider: Makes spans, and sends them.
        content: Whether spans may hold conversations.
        secrets: Values that no span may hold.
    """

    on = True

    def __init__(self, provider: TracerProvider, *, content: bool = False, secrets: Sequence[str] = ()) -> None:
        self.content = content
        self._tracer = provider.get_tracer("taskforce")
        self._secrets = tuple(secrets)

    @property
    def recording(self) -> bool:
        """Tells whether a span of this task is in progress and recorded."""
        return trace.get_current_span().is_recording()

    def span(self, start: SpanStart, *, parent: str | None = None, links: Sequence[str] = ()) -> "_OpenSpan":
        """Starts a span; see `Tracer.span`."""
        around = None if parent is None else _remote(parent)
        followed = [Link(found) for one in links if (found := _span_context(one)) is not None]
        return _OpenSpan(
            self._tracer.start_span(
                start.name, around, _KINDS[start.kind], start.attributes, links=followed, record_exception=False
            )
        )

    def current(self) -> str | None:
        """Returns the `traceparent` of the current span."""
        current = trace.get_current_span().get_span_context()
        if not current.is_valid:
            return None
        return f"00-{current.trace_id:032x}-{current.span_id:016x}-{current.trace_flags:02x}"

    def log_fields(self) -> Mapping[str, str]:
        """Returns `trace_id` and `span_id` of the current span."""
        current = trace.get_current_span().get_span_context()
        if not current.is_valid:
            return {}
        return {"trace_id": f"{current.trace_id:032x}", "span_id": f"{current.span_id:016x}"}

    def harmless(self, text: str) -> str:
        """Returns a text without secrets."""
        return redact(text, self._secrets)


class _OpenSpan(Span):
    __slots__ = ("_failed", "_span", "_token")

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self._token: Token[Context] | None = None
        self._failed = False

    def set(self, attributes: Attributes) -> None:
        # The SDK warns of each change of an ended span.
        if self._span.is_recording():
            self._span.set_attributes(attributes)

    def rename(self, name: str) -> None:
        if self._span.is_recording():
            self._span.update_name(name)

    def fail(self, error_type: str) -> None:
        if not self._span.is_recording():
            return
        self._failed = True
        self._span.set_attribute(_ERROR, error_type)
        self._span.set_status(Status(StatusCode.ERROR))

    def end(self) -> None:
        if self._span.is_recording():
            self._span.end()

    def __enter__(self) -> Span:
        self._token = contexts.attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, asyncio.CancelledError):
            # An end that somebody asked for is no error.
            self.set({_ERROR: CANCELLED})
        elif error is not None and not self._failed:
            self.fail(error.code if isinstance(error, DomainError) else type(error).__name__)
        self.end()
        if self._token is not None:
            contexts.detach(self._token)


def _remote(traceparent: str) -> Context:
    """Returns a context with another process's span, or one without any where the text is none."""
    found = _span_context(traceparent)
    return Context() if found is None else trace.set_span_in_context(NonRecordingSpan(found), Context())


def _span_context(traceparent: str) -> SpanContext | None:
    if not is_traceparent(traceparent):
        return None
    _, trace_id, span_id, flags = traceparent.split("-")
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
