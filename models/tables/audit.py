"""Tables of the audit log and its hash chain."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import SQLModel

from models.tables.columns import TIME, UUID, column, key, maybe


class AuditRow(SQLModel, table=True):
    """An audit event; append-only."""

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
    key_id: str | None = maybe(UUID)


class AuditChainRow(SQLModel, table=True):
    """An event's position in the tenant's hash chain; append-only."""

    __tablename__ = "audit_chain"

    tenant_id: str = key()
    seq: int = key(sa.BigInteger)
    audit_id: str = column(UUID)
    hash: str = column()


class AuditUnsealedRow(SQLModel, table=True):
    """An event without a position in the chain yet; triggers of the database write these rows, and nothing else."""

    __tablename__ = "audit_unsealed"

    tenant_id: str = key()
    at: datetime = key(TIME)
    audit_id: str = key(UUID)


class AuditAnchorRow(SQLModel, table=True):
    """The anchor up to which retention has dropped earlier events; append-only."""

    __tablename__ = "audit_anchors"

    tenant_id: str = key()
    seq: int = key(sa.BigInteger)
    hash: str = column()
    at: datetime = column(TIME)
