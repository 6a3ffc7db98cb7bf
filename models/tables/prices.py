"""The table of tenants' prices."""

from datetime import datetime
from typing import Any

from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import SQLModel

from models.tables.columns import TIME, UUID, column, key, maybe


class PriceRow(SQLModel, table=True):
    """A price that a tenant has set.

    `amounts` are for one token or one unit; `unit` is that in which they are shown.
    """

    __tablename__ = "model_prices"

    tenant_id: str = key()
    price_id: str = key(UUID)
    resource: str = column()
    name: str = column()
    currency: str = column()
    unit: str = column()
    amounts: dict[str, Any] = column(JSONB)
    valid_from: datetime = column(TIME)
    valid_until: datetime | None = maybe(TIME)
    notes: str = column()
    created_by: str = column()
    created_at: datetime = column(TIME)
