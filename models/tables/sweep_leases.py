"""The table of leases: which worker does which sweep."""

from datetime import datetime

from sqlmodel import SQLModel

from models.tables.columns import TIME, column, key


class SweepLeaseRow(SQLModel, table=True):
    """A sweep and the worker that does it; of no tenant, whose id is empty here."""

    __tablename__ = "sweep_leases"

    tenant_id: str = key()
    sweep: str = key()
    holder: str = column()
    expires_at: datetime = column(TIME)
