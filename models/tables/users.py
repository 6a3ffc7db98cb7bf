"""The table of users: people and service accounts."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import SQLModel

from models.tables.columns import TEXTS, TIME, column, key, maybe


class UserRow(SQLModel, table=True):
    """A user: local grants, and the claims of the last token."""

    __tablename__ = "users"

    tenant_id: str = key()
    user_id: str = key()
    username: str = column()
    email: str | None = maybe()
    active: bool = column(sa.Boolean)
    granted_roles: list[str] = column(TEXTS)
    claimed_roles: list[str] = column(TEXTS)
    claims_seen_at: datetime | None = maybe(TIME)
    claims_issued_at: datetime | None = maybe(TIME)
    attributes: dict[str, Any] = column(JSONB)
    created_at: datetime = column(TIME)
    updated_at: datetime = column(TIME)
    kind: str = column()
    lent_roles: dict[str, Any] = column(JSONB)
