"""The table of first answers to idempotency keys."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import SQLModel

from models.tables.columns import TIME, column, key


class StoredAnswerRow(SQLModel, table=True):
    """The first answer to a key; append-only."""

    __tablename__ = "stored_answers"

    tenant_id: str = key()
    user_id: str = key()
    route: str = key()
    idempotency_key: str = key()
    body_hash: str = column()
    status: int = column(sa.Integer)
    body: dict[str, Any] = column(JSONB)
    at: datetime = column(TIME)
