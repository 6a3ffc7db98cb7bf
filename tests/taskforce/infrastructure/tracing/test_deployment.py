"""Tracing is on where OpenTelemetry's variables say so, and costs nothing elsewhere."""

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from taskforce.core.domain.errors import Invalid
from taskforce.core.interfaces.tracing import NO_TRACING, SpanStart
from taskforce.infrastructure.config.settings import REPOSITORY
from taskforce.infrastructure.tracing.deployment import is_traced, records_content, traced_as_deployed
from tests.fixtures.otlp_receiver import receiving_spans

URL = "http://127.0.0.1:4318"


@pytest.mark.parametrize(
    ("environ", "on"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": URL}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{URL}/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": URL, "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": URL, "OTEL_SDK_DISABLED": " TRUE"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": URL, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, True),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, False),
        ({"OTEL_SERVICE_NAME": "x", "OTEL_TRACES_SAMPLER": "always_on"}, False),
    ],
)
def test_an_endpoint_or_the_exporters_name_turns_it_on(environ: dict[str, str], on: bool) -> None:
    assert is_traced(environ) is on


@pytest.mark.parametrize(
    "environ",
    [
        {"OTEL_TRACES_EXPORTER": "zipkin"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": URL, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
        {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"},
    ],
)
def test_what_the_product_cannot_do_is_refused(environ: dict[str, str]) -> None:
    with pytest.raises(Invalid, match=r"must be|by http/protobuf") as refused:
        is_traced(environ)
    assert refused.value.code == "bad_setting"


@pytest.mark.parametrize(("said", "on"), [("", False), ("false", False), ("event_only", False), ("True", True)])
def test_content_is_recorded_only_where_it_is_asked_for(said: str, on: bool) -> None:
    assert records_content({"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": said}) is on
    assert not records_content({})


def test_without_an_exporter_nothing_of_the_sdk_is_imported() -> None:
    asked = (
        "import sys, os, worker, api.__main__\n"
        "from taskforce.infrastructure.tracing.deployment import traced_as_deployed\n"
        "with traced_as_deployed('x', {}):\n"
        "    print([name for name in sys.modules if name.startswith('opentelemetry.sdk')])"
    )
    told = subprocess.run(
        [sys.executable, "-c", asked], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=120
    )
    assert told.stdout.strip() == "[]"


def test_off_means_that_nothing_is_done() -> None:
    with traced_as_deployed("x", {}) as tracer:
        assert tracer is NO_TRACING
        with tracer.span(SpanStart("a")):
            assert (tracer.recording, tracer.current(), tracer.log_fields()) == (False, None, {})


def test_what_is_left_is_sent_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving_spans() as collector:
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_RESOURCE_ATTRIBUTES": "team=a"}
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        with traced_as_deployed("taskforce-test", environ) as tracer, tracer.span(SpanStart("a")):
            assert tracer.recording
        [span] = collector.spans
    assert (span.service, span.name, span.parent_id) == ("taskforce-test", "a", "")
    assert b"team" in collector.bodies[0]


def test_a_service_name_of_the_environment_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving_spans() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "theirs")
        with traced_as_deployed("ours", {"OTEL_TRACES_EXPORTER": "otlp"}) as tracer, tracer.span(SpanStart("a")):
            pass
        assert [span.service for span in collector.spans] == ["theirs"]


def test_a_collector_that_never_answers_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, released = threading.Event(), threading.Event()

    class Silent(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.set()
            released.wait()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Silent)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr("taskforce.infrastructure.tracing.export.LAST_SECONDS", 0.2)
    with traced_as_deployed("x", {"OTEL_TRACES_EXPORTER": "otlp"}) as tracer, tracer.span(SpanStart("a")):
        pass
    # Only now, after the end: the collector has still not answered.
    assert asked.wait(30)
    released.set()
    server.shutdown()
    server.server_close()
