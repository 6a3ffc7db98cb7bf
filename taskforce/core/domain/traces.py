"""W3C trace context (https://www.w3.org/TR/trace-context/), and the names of the product's own span attributes."""

import hashlib
import json
import re

TENANT = "taskforce.tenant.id"
RUN = "taskforce.run.id"
DELIVERY = "taskforce.delivery.id"
USER = "user.id"
"""Of OpenTelemetry's conventions."""

HEADER = "_tracer-data"
"""The Temporal header of the span from which a workflow or an activity follows, as Temporal's SDKs name it."""
CAUSE_HEADER = "_tracer-link"
"""That of the request that made a workflow call an activity, such as a person's decision days later."""

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def is_traceparent(text: str) -> bool:
    """Tells whether a text is a `traceparent` of the version 00, to which later ones are compatible."""
    return _TRACEPARENT.fullmatch(text) is not None


def derived_traceparent(name: str) -> str:
    """Derives the parent of spans that nobody has given one, so that all of one name are in one trace.

    Args:
        name: The name, for example a workflow id.
    """
    digest = hashlib.sha256(f"taskforce/trace:{name}".encode()).hexdigest()
    return f"00-{digest[:32]}-{digest[32:48]}-01"


def header_of(traceparent: str) -> bytes:
    """Returns the header of a `traceparent`: JSON, and nothing else, for headers stand in histories."""
    return json.dumps({"traceparent": traceparent}).encode()


def traceparent_in(header: bytes) -> str | None:
    """Returns the `traceparent` of a header; None where it holds none."""
    try:
        carried = json.loads(header)
    except ValueError:
        return None
    found = carried.get("traceparent") if isinstance(carried, dict) else None
    return found if isinstance(found, str) and is_traceparent(found) else None
