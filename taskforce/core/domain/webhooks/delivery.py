"""A delivery of an event to a webhook: when it is tried, when tried again, and when given up."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from taskforce.core.domain.ids import is_id
from taskforce.core.domain.retry_after import retry_after
from taskforce.core.domain.webhooks.endpoint import TEST_EVENT
from taskforce.core.domain.webhooks.signatures import Happened

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
"""How long the next attempt is waited for after the first, the second and so on; after the tenth there is none."""
ATTEMPT_SECONDS = 15.0
KEPT_BYTES = 1_024
"""Of an answer's body, for whoever has to find out what a receiver did not like."""
MAX_REASON = 500

_SUCCESS = range(200, 300)
_REDIRECTION = range(300, 400)
_GONE = 410


class DeliveryStatus(StrEnum):
    """Where a delivery stands."""

    QUEUED = "queued"
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def is_final(self) -> bool:
        """Whether nothing more will be sent."""
        return self not in OPEN


OPEN = frozenset({DeliveryStatus.QUEUED, DeliveryStatus.PENDING})


@dataclass(frozen=True, slots=True)
class Answered:
    """What an attempt brought.

    Attributes:
        http_status: The receiver's answer; None when there was none.
        headers: The answer's headers, names in lower case.
        excerpt: The beginning of its body.
        reason: Why there was no answer.
    """

    http_status: int | None
    headers: Mapping[str, str]
    excerpt: str = ""
    reason: str | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the receiver has taken it."""
        return self.http_status in _SUCCESS

    @property
    def gone(self) -> bool:
        """Whether the receiver wants no more deliveries at all."""
        return self.http_status == _GONE

    @property
    def error(self) -> str | None:
        """What was wrong, for the log of deliveries."""
        if self.http_status is None:
            return (self.reason or "There was no answer.")[:MAX_REASON]
        if self.succeeded:
            return None
        if self.http_status in _REDIRECTION:
            return f"The receiver answered {self.http_status}; redirects are not followed."
        return f"The receiver answered {self.http_status}."


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try, as it is kept.

    Attributes:
        number: From 1.
        at: When it began, UTC.
        http_status: The receiver's answer; None when there was none.
        error: What was wrong; None when nothing was.
        excerpt: The beginning of the answer's body.
        duration_ms: Milliseconds that it took.
    """

    number: int
    at: datetime
    http_status: int | None
    error: str | None
    excerpt: str
    duration_ms: int


@dataclass(frozen=True, slots=True)
class DeliveryState:
    """Where a delivery stands after an attempt.

    Attributes:
        status: Its status.
        next_attempt_at: When it is tried again, UTC; None when it is not.
    """

    status: DeliveryStatus
    next_attempt_at: datetime | None = None

    def wait(self, now: datetime) -> timedelta | None:
        """How long until the next attempt; None when there is none."""
        return None if self.next_attempt_at is None else max(self.next_attempt_at - now, timedelta())


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to one webhook.

    Attributes:
        delivery_id: Its id.
        webhook_id: Where it goes.
        what: The event.
        created_at: When it was queued, UTC.
        state: Where it stands.
        attempts: What was tried, oldest first.
        redelivery_of: The delivery of which somebody wanted another.
        finished_at: When it ended, UTC.
    """

    delivery_id: str
    webhook_id: str
    what: Happened
    created_at: datetime
    state: DeliveryState = DeliveryState(DeliveryStatus.QUEUED)
    attempts: tuple[Attempt, ...] = ()
    redelivery_of: str | None = None
    finished_at: datetime | None = None

    def after(self, number: int, answered: Answered, now: datetime) -> DeliveryState:
        """Where it stands after an attempt.

        Args:
            number: Which attempt it was, from 1.
            answered: What it brought.
            now: The time, UTC.
        """
        if answered.succeeded:
            return DeliveryState(DeliveryStatus.DELIVERED)
        waits = () if self.what.event == TEST_EVENT else WAITS
        if answered.gone or number > len(waits):
            return DeliveryState(DeliveryStatus.FAILED)
        asked = timedelta(seconds=retry_after(answered.headers, now) or 0)
        return DeliveryState(DeliveryStatus.PENDING, now + max(waits[number - 1], asked))


def workflow_id(tenant_id: str, delivery_id: str) -> str:
    """The Temporal workflow id of a delivery."""
    return f"{tenant_id}:delivery:{delivery_id}"


def delivery_of(workflow: str) -> tuple[str, str] | None:
    """(tenant, delivery) of a workflow id that `workflow_id` made, else None; a tenant's id holds no colon."""
    tenant_id, _, delivery_id = workflow.partition(":delivery:")
    return (tenant_id, delivery_id) if tenant_id and ":" not in tenant_id and is_id(delivery_id) else None
