"""Spans of distributed traces, and the protocol that `infrastructure/tracing` implements with OpenTelemetry."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Protocol

Attribute = str | bool | int | float | tuple[str, ...]
Attributes = Mapping[str, Attribute]


class SpanKind(StrEnum):
    """The role of a span towards the one that called it, as OpenTelemetry has it."""

    INTERNAL = "internal"
    SERVER = "server"
    CLIENT = "client"
    PRODUCER = "producer"
    CONSUMER = "consumer"


@dataclass(frozen=True, slots=True)
class SpanStart:
    """The beginning of a span.

    Attributes:
        name: The name, of few different values.
        kind: The kind.
        attributes: Ids, names and counts; never a secret, an argument or a text of a conversation.
    """

    name: str
    kind: SpanKind = SpanKind.INTERNAL
    attributes: Attributes = field(default_factory=dict)


class Span(Protocol):
    """A span in progress."""

    def set(self, attributes: Attributes) -> None:
        """Adds attributes."""
        ...

    def rename(self, name: str) -> None:
        """Gives the span another name."""
        ...

    def fail(self, error_type: str) -> None:
        """Marks the span as failed.

        Args:
            error_type: A stable code or the name of a type; an error's text may hold content and is not recorded.
        """
        ...

    def end(self) -> None:
        """Ends the span before its block ends, as when what follows is only a wait."""
        ...


class Tracer(Protocol):
    """Starts spans.

    Attributes:
        on: Whether spans are started at all.
        content: Whether spans may hold texts of conversations, arguments and results.
    """

    on: bool
    content: bool

    @property
    def recording(self) -> bool:
        """Tells whether a span of this task is in progress and recorded."""
        ...

    def span(
        self, start: SpanStart, *, parent: str | None = None, links: Sequence[str] = ()
    ) -> AbstractContextManager[Span]:
        """Starts a span, which is the current one of this task while the block lasts.

        An error that leaves the block marks the span as failed, by its code or the name of its type.

        Args:
            start: The beginning.
            parent: The `traceparent` (W3C) of a span of another process; empty for none, which begins a trace; None
                for the current span, if there is one.
            links: The `traceparent`s of other spans that it follows from.
        """
        ...

    def current(self) -> str | None:
        """Returns the `traceparent` of the current span; None where there is none."""
        ...

    def log_fields(self) -> Mapping[str, str]:
        """Returns `trace_id` and `span_id` of the current span for a log line; empty where there is none."""
        ...

    def harmless(self, text: str) -> str:
        """Returns a text without secrets."""
        ...


class NoSpan(Span):
    """Does nothing."""

    def set(self, attributes: Attributes) -> None:
        """Does nothing."""

    def rename(self, name: str) -> None:
        """Does nothing."""

    def fail(self, error_type: str) -> None:
        """Does nothing."""

    def end(self) -> None:
        """Does nothing."""

    def __enter__(self) -> Span:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class NoTracing(Tracer):
    """Starts no spans."""

    on = False
    content = False
    recording = False

    def span(self, start: SpanStart, *, parent: str | None = None, links: Sequence[str] = ()) -> NoSpan:
        """Starts none."""
        del start, parent, links
        return NO_SPAN

    def current(self) -> str | None:
        """Returns None."""
        return None

    def log_fields(self) -> Mapping[str, str]:
        """Returns nothing."""
        return {}

    def harmless(self, text: str) -> str:
        """Returns the text, which goes nowhere."""
        return text


NO_SPAN = NoSpan()
NO_TRACING = NoTracing()
