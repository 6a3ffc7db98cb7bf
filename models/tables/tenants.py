"""The table of tenants, the only one that `Platform` may read across tenants."""

from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import SQLModel

from models.tables.columns import TIME, column, key, maybe


class TenantRow(SQLModel, table=True):
    """An organisation."""

    __tablename__ = "tenants"

    tenant_id: str = key()
    name: str = column()
    settings: dict[str, Any] = column(JSONB)
    created_at: datetime = column(TIME)
    status: str = column()
    metadata_: dict[str, Any] = column(JSONB, sa_column_kwargs={"name": "metadata"})
    updated_at: datetime = column(TIME)
    runs_until: datetime | None = maybe(TIME)
    metering_revision: int = column(sa.Integer)
    usage_whole_since: datetime | None = maybe(TIME)
    usage_zone: str | None = maybe()
    usage_days_since: date | None = maybe(sa.Date)
