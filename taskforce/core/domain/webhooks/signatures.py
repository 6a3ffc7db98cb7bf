"""Bodies and signatures of deliveries.

`standard` is Standard Webhooks 1.0.0. The body is `{"type", "timestamp", "data"}`; the headers are `webhook-id`,
`webhook-timestamp` (Unix seconds of the attempt) and `webhook-signature`: `v1,` and base64 of HMAC-SHA256 over
`<id>.<timestamp>.<body>`, one for each secret in use, with spaces between.

`guide` is section 9.2 of the enterprise guide. The body is `{"event", "timestamp", "payload", "signature"}`, where the
signature is `sha256=` and the hexadecimal HMAC-SHA256 over the canonical JSON of the rest: keys sorted by code point,
no spaces, UTF-8 without escapes that JSON does not demand. While a secret is rotated the body's signature is by the new
one, and the header `webhook-signature` holds both.

The timestamp in a body is the time of the event: every attempt sends the same body.
"""

import base64
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from taskforce.core.domain.webhooks.endpoint import WebhookFormat, key_of

Json = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class WebhookMessage:
    """An event.

    Attributes:
        event_id: Id of the event; the same for every attempt, receiver and redelivery.
        event: Type of the event, one of `EVENTS` or `TEST_EVENT`.
        subject: Payload, plain JSON.
        at: Time of the event, UTC.
    """

    event_id: str
    event: str
    subject: Json
    at: datetime


@dataclass(frozen=True, slots=True)
class Signed:
    """The body of a delivery with its signature headers."""

    body: bytes
    headers: Mapping[str, str]


def signed(message: WebhookMessage, format_: WebhookFormat, secrets: Sequence[str], now: datetime) -> Signed:
    """Serializes and signs one attempt.

    Args:
        message: The event.
        format_: The webhook's format.
        secrets: The secrets in use, the current one first.
        now: The time of the attempt, UTC.
    """
    keys = [key_of(secret, format_) for secret in secrets]
    seconds = str(int(now.timestamp()))
    if format_ is WebhookFormat.STANDARD:
        happened = _written(message.at, "milliseconds")
        body = canonical({"type": message.event, "timestamp": happened, "data": message.subject})
        signatures = [standard_signature(key, message.event_id, seconds, body) for key in keys]
    else:
        rest = {"event": message.event, "timestamp": _written(message.at, "seconds"), "payload": message.subject}
        signatures = [guide_signature(key, rest) for key in keys]
        # The body keeps the guide's order of keys; only the signature is computed over sorted keys.
        body = json.dumps({**rest, "signature": signatures[0]}, ensure_ascii=False, allow_nan=False).encode()
    headers = {
        "content-type": "application/json",
        "webhook-id": message.event_id,
        "webhook-timestamp": seconds,
        "webhook-signature": " ".join(signatures),
    }
    return Signed(body, headers)


def standard_signature(key: bytes, event_id: str, seconds: str, body: bytes) -> str:
    """Computes the `v1` signature of Standard Webhooks."""
    digest = hmac.digest(key, f"{event_id}.{seconds}.".encode() + body, "sha256")
    return f"v1,{base64.b64encode(digest).decode()}"


def guide_signature(key: bytes, rest: Json) -> str:
    """Computes the guide's signature over the body without its `signature`."""
    return f"sha256={hmac.digest(key, canonical(rest), 'sha256').hex()}"


def canonical(value: Json) -> bytes:
    """Serializes JSON in the canonical form that is signed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _written(at: datetime, precision: str) -> str:
    return at.astimezone(UTC).isoformat(timespec=precision).replace("+00:00", "Z")
