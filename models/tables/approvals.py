"""Requests for approval and the decisions on them."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import SQLModel

from models.tables.columns import TIME, UUID, column, key, maybe


class ApprovalRow(SQLModel, table=True):
    """A request with the terms that it began with."""

    __tablename__ = "approvals"

    tenant_id: str = key()
    request_id: str = key(UUID)
    run_id: str | None = maybe(UUID)
    step: int = column(sa.Integer)
    call: int = column(sa.Integer)
    request_type: str = column()
    resource_type: str = column()
    resource_id: str = column()
    requester_id: str = column()
    title: str = column()
    payload: dict[str, Any] = column(JSONB)
    content_hash: str = column()
    terms: dict[str, Any] = column(JSONB)
    status: str = column()
    reason: str | None = maybe()
    opened_at: datetime = column(TIME)
    closed_at: datetime | None = maybe(TIME)
    begun_at: datetime | None = maybe(TIME)


class ApprovalDecisionRow(SQLModel, table=True):
    """One person's word; append-only, a person decides once."""

    __tablename__ = "approval_decisions"

    tenant_id: str = key()
    request_id: str = key(UUID)
    approver_id: str = key()
    verdict: str = column()
    comment: str = column()
    channel: str = column()
    at: datetime = column(TIME)
