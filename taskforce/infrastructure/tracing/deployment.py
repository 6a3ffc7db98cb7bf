"""Tracing of a deployment's process, by OpenTelemetry's environment variables.

Without an exporter nothing of OpenTelemetry is imported, and nothing is measured.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from taskforce.core.domain.errors import Invalid
from taskforce.core.interfaces.tracing import NO_TRACING, Tracer
from taskforce.infrastructure.llm.model_selection import known_secrets

CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_EXPORTER = "OTEL_TRACES_EXPORTER"
_HTTP = "http/protobuf"
_WITH_CONTENT = frozenset({"true", "1", "span_only", "span_and_event"})


def is_traced(environ: Mapping[str, str]) -> bool:
    """Tells whether the environment asks for traces: by an endpoint of OTLP, or by naming the exporter.

    Args:
        environ: The process's environment.

    Raises:
        Invalid: `bad_setting`: an exporter or a protocol that the product does not have.
    """
    exporter = _said(environ, _EXPORTER)
    if _said(environ, "OTEL_SDK_DISABLED") == "true" or exporter == "none":
        return False
    if exporter not in {"", "otlp"}:
        raise Invalid("bad_setting", f"{_EXPORTER} must be otlp or none.")
    if exporter != "otlp" and not any(_said(environ, name) for name in _ENDPOINTS):
        return False
    protocol = next((said for name in _PROTOCOLS if (said := _said(environ, name))), _HTTP)
    if protocol != _HTTP:
        names = " and ".join(_PROTOCOLS)
        raise Invalid("bad_setting", f"Traces are sent by {_HTTP} (port 4318 as a rule): unset {names}, or say so.")
    return True


def records_content(environ: Mapping[str, str]) -> bool:
    """Tells whether spans may hold conversations, arguments and results.

    Args:
        environ: The process's environment.
    """
    return _said(environ, CONTENT) in _WITH_CONTENT


@contextmanager
def traced_as_deployed(service: str, environ: Mapping[str, str]) -> Iterator[Tracer]:
    """Yields the process's tracer; when the block ends, sends what is left.

    Args:
        service: `service.name` of the spans, unless the environment says another.
        environ: The process's environment.

    Raises:
        Invalid: `bad_setting`.
    """
    if not is_traced(environ):
        yield NO_TRACING
        return
    # Only here: the import takes a quarter second, and as many megabytes as the rest of a small process.
    from taskforce.infrastructure.tracing.export import exported
    from taskforce.infrastructure.tracing.open_telemetry import OpenTelemetryTracer

    with exported(service) as provider:
        yield OpenTelemetryTracer(provider, content=records_content(environ), secrets=known_secrets(environ))


def _said(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name, "").strip().lower()
