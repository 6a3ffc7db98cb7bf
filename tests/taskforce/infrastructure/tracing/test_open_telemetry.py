"""Spans as the SDK makes them: parents, links, errors without texts, and trees that are sent whole."""

import asyncio

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import StatusCode

from taskforce.core.domain.errors import Conflict
from taskforce.core.interfaces.tracing import SpanKind, SpanStart
from taskforce.infrastructure.tracing.open_telemetry import OpenTelemetryTracer
from taskforce.infrastructure.tracing.span_trees import MOST, SpanTrees

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
REMOTE = f"00-{TRACE}-{PARENT}-01"


class Sent:
    """A tracer, and what it has sent."""

    def __init__(self, *, unsampled: bool = False) -> None:
        self._memory = InMemorySpanExporter()
        provider = TracerProvider(sampler=ParentBased(ALWAYS_OFF)) if unsampled else TracerProvider()
        provider.add_span_processor(SpanTrees(SimpleSpanProcessor(self._memory)))
        self.tracer = OpenTelemetryTracer(provider, secrets=["hunter2-hunter2"])

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._memory.get_finished_spans()

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.spans]


@pytest.fixture
def sent() -> Sent:
    return Sent()


def test_a_remote_parent_a_link_and_what_is_within(sent: Sent) -> None:
    tracer = sent.tracer
    with tracer.span(SpanStart("a", SpanKind.CONSUMER, {"n": 1}), parent=REMOTE, links=(REMOTE, "nonsense")) as span:
        span.set({"more": ("x", "y")})
        assert str(tracer.current()).startswith(f"00-{TRACE}-")
        assert tracer.log_fields()["trace_id"] == TRACE
        with tracer.span(SpanStart("b")):
            pass
    inner, outer = sent.spans
    assert outer.parent is not None
    assert outer.context is not None
    assert f"{outer.parent.span_id:016x}" == PARENT
    assert [f"{link.context.trace_id:032x}" for link in outer.links] == [TRACE]
    assert dict(outer.attributes or {}) == {"n": 1, "more": ("x", "y")}
    assert inner.parent == outer.context
    assert tracer.current() is None


@pytest.mark.parametrize("parent", ["", "nonsense", f"00-{'0' * 32}-{PARENT}-01", f"ff-{TRACE}-{PARENT}-01"])
def test_no_parent_begins_a_trace_also_within_another(sent: Sent, parent: str) -> None:
    with sent.tracer.span(SpanStart("a")), sent.tracer.span(SpanStart("b"), parent=parent):
        pass
    assert [span.parent for span in sent.spans] == [None, None]


@pytest.mark.parametrize(
    ("error", "told"),
    [(Conflict("run_finished", "canary"), "run_finished"), (ValueError("canary"), "ValueError")],
)
def test_an_error_is_a_code_without_its_text(sent: Sent, error: Exception, told: str) -> None:
    with pytest.raises(type(error)), sent.tracer.span(SpanStart("a")):
        raise error
    [span] = sent.spans
    assert (span.status.status_code, dict(span.attributes or {})) == (StatusCode.ERROR, {"error.type": told})
    assert "canary" not in span.to_json()
    assert span.events == ()


def test_what_the_caller_says_of_a_failure_stands(sent: Sent) -> None:
    def limited() -> None:
        with sent.tracer.span(SpanStart("a")) as span:
            span.fail("model_limited")
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        limited()
    assert dict(sent.spans[0].attributes or {}) == {"error.type": "model_limited"}


def test_a_cancellation_is_no_error(sent: Sent) -> None:
    with pytest.raises(asyncio.CancelledError), sent.tracer.span(SpanStart("a")):
        raise asyncio.CancelledError
    [span] = sent.spans
    assert (span.status.status_code, dict(span.attributes or {})) == (StatusCode.UNSET, {"error.type": "cancelled"})


def test_a_span_that_ended_early_records_nothing_more(sent: Sent, caplog: pytest.LogCaptureFixture) -> None:
    with sent.tracer.span(SpanStart("a")) as span:
        span.end()
        assert not sent.tracer.recording
        span.set({"late": True})
        span.rename("b")
        span.fail("late")
    assert (sent.names, dict(sent.spans[0].attributes or {}), caplog.records) == (["a"], {}, [])


def test_a_trace_that_is_not_sampled_is_handed_on_as_such() -> None:
    sent = Sent(unsampled=True)
    with sent.tracer.span(SpanStart("a")):
        assert int(str(sent.tracer.current())[-2:], 16) & 1 == 0
        assert not sent.tracer.recording
    with sent.tracer.span(SpanStart("b"), parent=REMOTE.removesuffix("01") + "00"):
        assert str(sent.tracer.current()).startswith(f"00-{TRACE}-")
    assert sent.names == []


def test_a_tree_is_sent_when_its_first_span_has_ended(sent: Sent) -> None:
    with sent.tracer.span(SpanStart("root"), parent=REMOTE):
        with sent.tracer.span(SpanStart("child")), sent.tracer.span(SpanStart("grandchild")):
            pass
        assert sent.names == []
    assert sent.names == ["grandchild", "child", "root"]


def test_a_tree_that_outlives_its_first_span_is_sent_as_it_ends(sent: Sent) -> None:
    with sent.tracer.span(SpanStart("root")) as root, sent.tracer.span(SpanStart("child")):
        root.end()
        assert sent.names == ["root"]
    assert sent.names == ["root", "child"]


def test_what_is_held_is_bounded(sent: Sent) -> None:
    with sent.tracer.span(SpanStart("root")):
        for _ in range(MOST):
            with sent.tracer.span(SpanStart("child")):
                pass
        assert len(sent.names) == MOST


def test_texts_are_redacted(sent: Sent) -> None:
    assert sent.tracer.harmless("a hunter2-hunter2 b") == "a *** b"
