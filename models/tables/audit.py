"""The audit log."""

from datetime import datetime
from typing import Any

from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import SQLModel

from models.tables.columns import TIME, UUID, column, key, maybe


class AuditRow(SQLModel, table=True):
    """Who did, or tried, what; append-only."""

    __tablename__ = "audit_events"

    tenant_id: str = key()
    audit_id: str = key(UUID)
    actor_id: str = column()
    on_behalf_of: str | None = maybe()
    channel: str = column()
    action: str = column()
    resource_type: str = column()
    resource_id: str = column()
    outcome: str = column()
    reason: str | None = maybe()
    request_id: str | None = maybe()
    details: dict[str, Any] = column(JSONB)
    at: datetime = column(TIME)
