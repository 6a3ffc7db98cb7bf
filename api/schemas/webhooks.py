"""Webhooks and their deliveries in requests and responses; a secret is in the response of its creation only."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt

from api.schemas.request_body import RequestBody
from taskforce.application.webhooks.endpoints import NewWebhook, WebhookChange, WebhookWithSecret
from taskforce.core.domain.webhooks.delivery import Attempt, Delivery, DeliveryStatus
from taskforce.core.domain.webhooks.endpoint import (
    LONGEST_OVERLAP,
    MAX_DEFINITION_ID,
    MAX_DESCRIPTION,
    DisabledBy,
    Webhook,
    WebhookEvent,
    WebhookFormat,
)

LONGEST_OVERLAP_HOURS = LONGEST_OVERLAP // timedelta(hours=1)

All = Literal["all"]
EventName = Annotated[WebhookEvent, Field(strict=False)]
Events = All | Annotated[list[EventName], Field(min_length=1, max_length=20)]
Url = Annotated[str, Field(min_length=1, max_length=2_000)]
Description = Annotated[str, Field(max_length=MAX_DESCRIPTION)]
Secret = Annotated[str, Field(min_length=1, max_length=200)]
DefinitionId = Annotated[str, Field(min_length=1, max_length=MAX_DEFINITION_ID, pattern=r"^[A-Za-z0-9._-]+$")]


class _Body(RequestBody):
    model_config = ConfigDict(hide_input_in_errors=True)


class WebhookIn(_Body):
    """A new webhook.

    Attributes:
        url: The receiver's URL; https outside development.
        events: `all`, or the events that are delivered.
        format: The format of deliveries: Standard Webhooks 1.0.0, or that of the guide's section 9.2. It cannot be
            changed.
        definition_id: The only approval definition whose requests are delivered; left out, any. It cannot be changed.
        enabled: Whether deliveries are made.
        description: A description for people.
        secret: A secret of your own: for `standard` `whsec_` and base64 of 24 to 64 bytes, for `guide` 24 to 128
            visible ASCII characters. Left out, one is generated.
    """

    url: Url
    events: Events = "all"
    format: Annotated[WebhookFormat, Field(strict=False)] = WebhookFormat.STANDARD
    definition_id: DefinitionId | None = None
    enabled: bool = True
    description: Description = ""
    secret: Annotated[Secret | None, Field(repr=False)] = None

    def wanted(self) -> NewWebhook:
        """Returns the webhook to create."""
        return NewWebhook(
            url=self.url,
            format=self.format,
            events=_named(self.events),
            definition_id=self.definition_id,
            enabled=self.enabled,
            description=self.description,
            secret=self.secret,
        )


class WebhookChangeIn(_Body):
    """Changes of a webhook; what is left out, or null, stays as it is.

    Attributes:
        url: The receiver's URL, also of deliveries that wait for another attempt.
        events: `all`, or the events that are delivered from now on.
        enabled: False stops deliveries, waiting ones included; true resumes with events from now on.
        description: A description for people.
    """

    url: Url | None = None
    events: Events | None = None
    enabled: bool | None = None
    description: Description | None = None

    def change(self) -> WebhookChange:
        """Returns the change to apply."""
        named = None if self.events is None else _named(self.events)
        return WebhookChange(
            url=self.url,
            events=named,
            all_events=self.events == "all",
            enabled=self.enabled,
            description=self.description,
        )


class RotationIn(_Body):
    """A rotation of a webhook's secret.

    Attributes:
        secret: A secret of your own, as in a new webhook; left out, one is generated.
        keep_old_hours: Hours for which deliveries are signed with the old secret too; 0 when it has leaked.
    """

    secret: Annotated[Secret | None, Field(repr=False)] = None
    keep_old_hours: Annotated[StrictInt, Field(ge=0, le=LONGEST_OVERLAP_HOURS)] = 24

    @property
    def overlap(self) -> timedelta:
        """Returns the time for which both secrets sign."""
        return timedelta(hours=self.keep_old_hours)


class WebhookOut(BaseModel):
    """A webhook.

    Attributes:
        disabled_by: Why it is disabled: by a `person`, or because the receiver answered 410 and is `gone`.
    """

    webhook_id: str
    url: str
    events: Events
    format: WebhookFormat
    definition_id: str | None
    enabled: bool
    disabled_by: DisabledBy | None
    description: str
    created_by: str
    created_at: datetime
    updated_at: datetime


class ShownWebhookOut(WebhookOut):
    """A webhook with its secret, which was just generated or set.

    Attributes:
        secret: The secret itself, in this response only.
        previous_secret_until: The time until which deliveries are signed with the previous secret too; null without
            one.
    """

    secret: Annotated[str, Field(repr=False)]
    previous_secret_until: datetime | None


class AttemptOut(BaseModel):
    """One attempt of a delivery.

    Attributes:
        http_status: The status of the receiver's response; null when there was none.
        error: The reason of the failure; null when there was none.
        excerpt: The first kilobyte of the response's body.
    """

    number: int
    at: datetime
    http_status: int | None
    error: str | None
    excerpt: str
    duration_ms: int


class DeliveryOut(BaseModel):
    """The delivery of one event to the webhook.

    Attributes:
        event_id: Sent as `webhook-id`; the same for every attempt and every redelivery.
        event: The type of the event.
        subject: The data of the event.
        happened_at: The time of the event.
        status: `queued`, `pending` between attempts, `delivered`, `failed` when it was given up, `stopped` when the
            webhook was disabled or deleted.
        next_attempt_at: The time of the next attempt; null when there is none.
        redelivery_of: The id of the delivery that this one repeats.
    """

    delivery_id: str
    webhook_id: str
    event_id: str
    event: str
    subject: Mapping[str, object]
    happened_at: datetime
    created_at: datetime
    status: DeliveryStatus
    attempts: list[AttemptOut]
    next_attempt_at: datetime | None
    finished_at: datetime | None
    redelivery_of: str | None


def webhook_out(webhook: Webhook) -> WebhookOut:
    """Renders a webhook."""
    return WebhookOut.model_construct(
        webhook_id=webhook.webhook_id,
        url=webhook.url,
        events="all" if webhook.events is None else [WebhookEvent(event) for event in webhook.events],
        format=webhook.format,
        definition_id=webhook.definition_id,
        enabled=webhook.enabled,
        disabled_by=webhook.disabled_by,
        description=webhook.description,
        created_by=webhook.created_by,
        created_at=webhook.created_at,
        updated_at=webhook.updated_at,
    )


def shown_out(shown: WebhookWithSecret) -> ShownWebhookOut:
    """Renders a webhook with its secret."""
    secrets = shown.secrets
    return ShownWebhookOut(
        **webhook_out(shown.webhook).model_dump(),
        secret=secrets.current,
        previous_secret_until=secrets.previous_until,
    )


def delivery_out(delivery: Delivery) -> DeliveryOut:
    """Renders a delivery."""
    return DeliveryOut.model_construct(
        delivery_id=delivery.delivery_id,
        webhook_id=delivery.webhook_id,
        event_id=delivery.what.event_id,
        event=delivery.what.event,
        subject=delivery.what.subject,
        happened_at=delivery.what.at,
        created_at=delivery.created_at,
        status=delivery.state.status,
        attempts=[_attempt(attempt) for attempt in delivery.attempts],
        next_attempt_at=delivery.state.next_attempt_at,
        finished_at=delivery.finished_at,
        redelivery_of=delivery.redelivery_of,
    )


def _attempt(attempt: Attempt) -> AttemptOut:
    return AttemptOut.model_construct(
        number=attempt.number,
        at=attempt.at,
        http_status=attempt.http_status,
        error=attempt.error,
        excerpt=attempt.excerpt,
        duration_ms=attempt.duration_ms,
    )


def _named(events: Events) -> tuple[str, ...] | None:
    return None if events == "all" else tuple(event.value for event in dict.fromkeys(events))
