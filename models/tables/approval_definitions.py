"""The table of approval definitions."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import SQLModel

from models.tables.columns import TIME, column, key


class ApprovalDefinitionRow(SQLModel, table=True):
    """An approval definition of a tenant; those of the profile are not stored."""

    __tablename__ = "approval_definitions"

    tenant_id: str = key()
    definition_id: str = key()
    document: dict[str, Any] = column(JSONB)
    version: int = column(sa.Integer)
    saved_by: str = column()
    created_at: datetime = column(TIME)
    updated_at: datetime = column(TIME)
