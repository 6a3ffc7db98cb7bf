"""A delivery of an event to a webhook: its attempts, waits and final status."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from taskforce.core.domain.ids import is_id
from taskforce.core.domain.retry_after import retry_after
from taskforce.core.domain.webhooks.endpoint import TEST_EVENT
from taskforce.core.domain.webhooks.signatures import WebhookMessage

# The schedule that Standard Webhooks 1.0.0 gives as its example.
WAITS = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
"""Waits after the first attempt, the second and so on; there are ten attempts at most."""
ATTEMPT_SECONDS = 15.0
KEPT_BYTES = 1_024
"""Bytes of a response's body that are stored, for the diagnosis of a refusal."""
MAX_REASON = 500

_SUCCESS = range(200, 300)
_REDIRECTION = range(300, 400)
_GONE = 410


class DeliveryStatus(StrEnum):
    """The status of a delivery."""

    QUEUED = "queued"
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def is_final(self) -> bool:
        """Returns whether no further attempt is made."""
        return self not in OPEN


OPEN = frozenset({DeliveryStatus.QUEUED, DeliveryStatus.PENDING})


@dataclass(frozen=True, slots=True)
class Answered:
    """The response to an attempt.

    Attributes:
        http_status: HTTP status of the response; None without one.
        headers: Headers of the response, names in lower case.
        excerpt: Beginning of the response's body.
        reason: Why there was no response; None when there was one.
    """

    http_status: int | None
    headers: Mapping[str, str]
    excerpt: str = ""
    reason: str | None = None

    @property
    def succeeded(self) -> bool:
        """Returns whether the receiver accepted the delivery (2xx)."""
        return self.http_status in _SUCCESS

    @property
    def gone(self) -> bool:
        """Returns whether the receiver wants no more deliveries (410 Gone)."""
        return self.http_status == _GONE

    @property
    def error(self) -> str | None:
        """Returns the error for the delivery log; None after a success."""
        if self.http_status is None:
            return (self.reason or "There was no answer.")[:MAX_REASON]
        if self.succeeded:
            return None
        if self.http_status in _REDIRECTION:
            return f"The receiver answered {self.http_status}; redirects are not followed."
        return f"The receiver answered {self.http_status}."


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt of a delivery.

    Attributes:
        number: Number of the attempt, from 1.
        at: Time of its start, UTC.
        http_status: HTTP status of the response; None without one.
        error: The error; None after a success.
        excerpt: Beginning of the response's body.
        duration_ms: Duration in milliseconds.
    """

    number: int
    at: datetime
    http_status: int | None
    error: str | None
    excerpt: str
    duration_ms: int


@dataclass(frozen=True, slots=True)
class DeliveryState:
    """The state of a delivery after an attempt.

    Attributes:
        status: The status.
        next_attempt_at: Time of the next attempt, UTC; None without one.
    """

    status: DeliveryStatus
    next_attempt_at: datetime | None = None

    def wait(self, now: datetime) -> timedelta | None:
        """Returns the time until the next attempt; None without one."""
        return None if self.next_attempt_at is None else max(self.next_attempt_at - now, timedelta())


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery of an event to a webhook.

    Attributes:
        delivery_id: The delivery's id.
        webhook_id: The webhook.
        what: The event.
        created_at: Time at which it was queued, UTC.
        state: Its state.
        attempts: Its attempts, oldest first.
        redelivery_of: The delivery that it repeats; None for a first one.
        finished_at: Time of its end, UTC; None while it is open.
    """

    delivery_id: str
    webhook_id: str
    what: WebhookMessage
    created_at: datetime
    state: DeliveryState = DeliveryState(DeliveryStatus.QUEUED)
    attempts: tuple[Attempt, ...] = ()
    redelivery_of: str | None = None
    finished_at: datetime | None = None

    def after(self, number: int, answered: Answered, now: datetime) -> DeliveryState:
        """Returns the state after an attempt.

        Args:
            number: Number of the attempt, from 1.
            answered: The response.
            now: The time, UTC.
        """
        if answered.succeeded:
            return DeliveryState(DeliveryStatus.DELIVERED)
        # A test is sent while somebody watches for its result, so it is not retried for days.
        waits = () if self.what.event == TEST_EVENT else WAITS
        if answered.gone or number > len(waits):
            return DeliveryState(DeliveryStatus.FAILED)
        # A receiver may ask for a longer wait, never for a shorter one.
        asked = timedelta(seconds=retry_after(answered.headers, now) or 0)
        return DeliveryState(DeliveryStatus.PENDING, now + max(waits[number - 1], asked))


def workflow_id(tenant_id: str, delivery_id: str) -> str:
    """Returns the Temporal workflow id of a delivery."""
    return f"{tenant_id}:delivery:{delivery_id}"


def delivery_of(workflow: str) -> tuple[str, str] | None:
    """Parses a workflow id of `workflow_id` into (tenant id, delivery id); None for any other."""
    tenant_id, _, delivery_id = workflow.partition(":delivery:")
    return (tenant_id, delivery_id) if tenant_id and ":" not in tenant_id and is_id(delivery_id) else None
