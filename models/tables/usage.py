"""The table of usage records."""

from datetime import datetime

import sqlalchemy as sa
from sqlmodel import SQLModel

from models.tables.columns import TIME, UUID, column, key, maybe


class UsageRow(SQLModel, table=True):
    """A usage record of one model call or tool call; append-only, unique by its key.

    `part` counts the model calls within one attempt: a fallback or a second asking is a call of its own.
    """

    __tablename__ = "usage_records"

    tenant_id: str = key()
    run_id: str = key(UUID)
    step: int = key(sa.Integer)
    call: int = key(sa.Integer)
    attempt: int = key(sa.Integer)
    part: int = key(sa.Integer)
    user_id: str = column()
    agent_id: str = column()
    model: str | None = maybe()
    tool: str | None = maybe()
    input_tokens: int = column(sa.BigInteger)
    output_tokens: int = column(sa.BigInteger)
    cached_tokens: int = column(sa.BigInteger)
    error_code: str | None = maybe()
    duration_ms: int = column(sa.Integer)
    at: datetime = column(TIME)
