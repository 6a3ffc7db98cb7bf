"""The table of cost reports."""

from datetime import datetime
from typing import Any

from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import SQLModel

from models.tables.columns import TIME, UUID, column, key, maybe


class CostReportRow(SQLModel, table=True):
    """A cost report.

    The `document` of an issued one is the report as it is read, byte for byte, in UTF-8; lists show `totals`, which are
    copied from it. A trigger of the database refuses every change of an issued report.
    """

    __tablename__ = "cost_reports"

    tenant_id: str = key()
    report_id: str = key(UUID)
    status: str = column()
    terms: dict[str, Any] = column(JSONB)
    adjustments: list[Any] = column(JSONB)
    created_by: str = column()
    created_at: datetime = column(TIME)
    issued_by: str | None = maybe()
    issued_at: datetime | None = maybe(TIME)
    totals: list[Any] | None = maybe(JSONB)
    document: str | None = maybe()
    sha256: str | None = maybe()
