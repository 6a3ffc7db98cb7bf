"""Messages of the `WebhookDelivery` workflow and its activities."""

from typing import Literal

from models.messages.frame import Message

DeliveryState = Literal["queued", "pending", "delivered", "failed", "stopped"]


class DeliveryInput(Message):
    """Names a delivery; what is sent and where is a row."""

    tenant_id: str
    delivery_id: str


class DeliveryTry(DeliveryInput):
    """Asks for one attempt, counted from 1."""

    number: int


class DeliveryOutcome(Message):
    """What came of an attempt; `wait_seconds` until the next one is left out when there is none."""

    status: DeliveryState
    wait_seconds: float | None = None
    summary: str = ""
