"""Tables of requests' downloadable results, stored in pieces."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import SQLModel

from models.tables.columns import TIME, UUID, column, key, maybe


class RequestResultRow(SQLModel, table=True):
    """A request's result, with its progress and the time until which it is kept."""

    __tablename__ = "request_results"

    tenant_id: str = key()
    request_id: str = key(UUID)
    media_type: str = column()
    file_name: str = column()
    begun_at: datetime = column(TIME)
    kept_until: datetime = column(TIME)
    state: dict[str, Any] = column(JSONB)
    pieces: int = column(sa.Integer)
    size: int = column(sa.BigInteger)
    finished_at: datetime | None = maybe(TIME)


class RequestResultPieceRow(SQLModel, table=True):
    """A piece of a result, numbered from 1."""

    __tablename__ = "request_result_pieces"

    tenant_id: str = key()
    request_id: str = key(UUID)
    number: int = key(sa.Integer)
    content: bytes = column(sa.LargeBinary)
