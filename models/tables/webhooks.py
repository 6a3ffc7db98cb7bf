"""Tables of webhooks and their deliveries."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import SQLModel

from models.tables.columns import TEXTS, TIME, UUID, column, key, maybe


class WebhookRow(SQLModel, table=True):
    """A webhook of a tenant; its secrets are encrypted."""

    __tablename__ = "webhooks"

    tenant_id: str = key()
    webhook_id: str = key(UUID)
    url: str = column()
    format: str = column()
    events: list[str] | None = maybe(TEXTS)
    definition_id: str | None = maybe()
    enabled: bool = column(sa.Boolean)
    disabled_by: str | None = maybe()
    description: str = column()
    secret: bytes = column(sa.LargeBinary)
    previous_secret: bytes | None = maybe(sa.LargeBinary)
    previous_until: datetime | None = maybe(TIME)
    created_by: str = column()
    created_at: datetime = column(TIME)
    updated_at: datetime = column(TIME)


class WebhookDeliveryRow(SQLModel, table=True):
    """A delivery of an event to a webhook.

    It references no webhook row, for it outlives the webhook, and webhooks of the profile have no row.
    """

    __tablename__ = "webhook_deliveries"

    tenant_id: str = key()
    delivery_id: str = key(UUID)
    webhook_id: str = column(UUID)
    event_id: str = column(UUID)
    event: str = column()
    subject: dict[str, Any] = column(JSONB)
    at: datetime = column(TIME)
    created_at: datetime = column(TIME)
    status: str = column()
    next_attempt_at: datetime | None = maybe(TIME)
    finished_at: datetime | None = maybe(TIME)
    redelivery_of: str | None = maybe(UUID)
    sweep_at: datetime = column(TIME)


class WebhookAttemptRow(SQLModel, table=True):
    """An attempt of a delivery; append-only."""

    __tablename__ = "webhook_attempts"

    tenant_id: str = key()
    delivery_id: str = key(UUID)
    number: int = key(sa.Integer)
    at: datetime = column(TIME)
    http_status: int | None = maybe(sa.Integer)
    error: str | None = maybe()
    excerpt: str = column()
    duration_ms: int = column(sa.Integer)
