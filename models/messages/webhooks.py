"""Messages of the `WebhookDelivery` workflow and its activities."""

from typing import Literal

from models.messages.frame import Message

DeliveryState = Literal["queued", "pending", "delivered", "failed", "stopped"]


class DeliveryInput(Message):
    """A reference to a delivery; its data is rows."""

    tenant_id: str
    delivery_id: str


class DeliveryTry(DeliveryInput):
    """The input of `attempt_delivery`: the number of the attempt, from 1."""

    number: int


class DeliveryOutcome(Message):
    """The result of an attempt; `wait_seconds` until the next one is None without one."""

    status: DeliveryState
    wait_seconds: float | None = None
    summary: str = ""
