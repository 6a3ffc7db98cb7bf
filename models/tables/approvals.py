"""Tables of approvals: requests, decisions, edits, history and delegations."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import SQLModel

from models.tables.columns import TEXTS, TIME, UUID, column, key, maybe


class ApprovalRow(SQLModel, table=True):
    """A request with the terms that it was opened with, and its status."""

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
    definition_id: str | None = maybe()
    description: str = column()
    current_hash: str = column()
    edited: dict[str, Any] | None = maybe(JSONB)
    for_run: bool = column(sa.Boolean)
    roles: list[str] = column(TEXTS)
    people: list[str] = column(TEXTS)
    acted: int = column(sa.Integer)
    started_at: datetime | None = maybe(TIME)
    key_id: str | None = maybe(UUID)
    sweep_at: datetime = column(TIME)


class ApprovalReaderRow(SQLModel, table=True):
    """Whom a request concerns; kept by a trigger. `reader` is `requester:<id>`, `user:<id>` or `role:<role>`."""

    __tablename__ = "approval_readers"

    tenant_id: str = key()
    reader: str = key()
    status: str = key()
    opened_at: datetime = key(TIME)
    request_id: str = key(UUID)
    request_type: str = column()
    requester_id: str = column()


class ApprovalDecisionRow(SQLModel, table=True):
    """A decision; append-only, an approver decides once on the same content."""

    __tablename__ = "approval_decisions"

    tenant_id: str = key()
    request_id: str = key(UUID)
    approver_id: str = key()
    content_hash: str = key()
    verdict: str = column()
    comment: str = column()
    channel: str = column()
    at: datetime = column(TIME)
    on_behalf_of: str | None = maybe()
    key_id: str | None = maybe(UUID)
    party: list[str] | None = maybe(TEXTS)
    sponsors: list[str] | None = maybe(TEXTS)


class ApprovalEditRow(SQLModel, table=True):
    """An approver's edit of the content; append-only, it takes effect once it is approved."""

    __tablename__ = "approval_edits"

    tenant_id: str = key()
    request_id: str = key(UUID)
    content_hash: str = key()
    author_id: str = column()
    payload: dict[str, Any] = column(JSONB)
    at: datetime = column(TIME)


class ApprovalHappeningRow(SQLModel, table=True):
    """An entry of a request's history; append-only, its name makes it unique."""

    __tablename__ = "approval_happenings"

    tenant_id: str = key()
    request_id: str = key(UUID)
    happening: str = key()
    kind: str = column()
    actor_id: str = column()
    comment: str = column()
    data: dict[str, Any] = column(JSONB)
    at: datetime = column(TIME)


class ApprovalDelegationRow(SQLModel, table=True):
    """A delegation: a user who decides in another's place for a period."""

    __tablename__ = "approval_delegations"

    tenant_id: str = key()
    user_id: str = key()
    delegate_id: str = column()
    since: datetime = column(TIME)
    until: datetime = column(TIME)
