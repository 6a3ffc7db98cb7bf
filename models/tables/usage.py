"""The table of usage records."""

from datetime import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import SQLModel

from models.tables.columns import TIME, UUID, column, key, maybe


class UsageRow(SQLModel, table=True):
    """A usage record of one effect, by its `kind`; append-only but for `rolled_up`, unique by its key.

    `part` counts the records within one attempt: a fallback or a second asking is a call of its own, and a tool may use
    an embedding model. The record of kind `run` is of step 0. `input_tokens` and `output_tokens` hold all tokens; the
    other counts are of those among them. `estimated` says how tokens were counted where the provider did not. A model
    call without `cost` has no known price. Records of before a column have none.
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
    kind: str = column()
    session_id: str | None = maybe()
    agent_version: str | None = maybe()
    provider: str | None = maybe()
    department: str | None = maybe()
    cost_center: str | None = maybe()
    tags: dict[str, Any] = column(JSONB)
    cache_write_tokens: int = column(sa.BigInteger)
    reasoning_tokens: int = column(sa.BigInteger)
    audio_input_tokens: int = column(sa.BigInteger)
    audio_output_tokens: int = column(sa.BigInteger)
    estimated: str | None = maybe()
    cost: Decimal | None = maybe(sa.Numeric)
    currency: str | None = maybe()
    price_source: str | None = maybe()
    rolled_up: bool = column(sa.Boolean)
