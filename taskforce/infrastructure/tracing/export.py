"""Export of spans by OTLP over HTTP; addresses, sampling and limits are OpenTelemetry's environment variables."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from taskforce.core.domain.errors import Invalid
from taskforce.infrastructure.tracing.span_trees import SpanTrees

LAST_SECONDS = 5
"""Seconds at most that the end of a process waits for the last spans; a collector that is away must not hold it up."""


@contextmanager
def exported(service: str) -> Iterator[TracerProvider]:
    """Yields what makes tracers; spans are sent in batches by a thread of its own.

    Args:
        service: `service.name`, unless the environment says another.

    Raises:
        Invalid: `bad_setting`: a variable makes no sense to OpenTelemetry.
    """
    try:
        batches = BatchSpanProcessor(OTLPSpanExporter())
    except ValueError as error:
        raise Invalid("bad_setting", f"A variable OTEL_* cannot be used: {error}") from None
    provider = TracerProvider(resource=_resource(service), shutdown_on_exit=False)
    provider.add_span_processor(SpanTrees(batches))
    try:
        yield provider
    finally:
        ending = threading.Thread(target=provider.shutdown, daemon=True)
        ending.start()
        ending.join(LAST_SECONDS)


def _resource(service: str) -> Resource:
    ours = {SERVICE_NAME: service, SERVICE_INSTANCE_ID: f"{socket.gethostname()}:{os.getpid()}"}
    # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES go first.
    return Resource.create(ours).merge(OTELResourceDetector().detect())
