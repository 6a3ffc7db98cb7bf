"""The table of pulled kill switches."""

from datetime import datetime

from sqlmodel import SQLModel

from models.tables.columns import TIME, column, key


class KillSwitchRow(SQLModel, table=True):
    """A pulled kill switch; that of the installation belongs to the platform's tenant and is read by all."""

    __tablename__ = "kill_switches"

    tenant_id: str = key()
    scope: str = key()
    agent_id: str = key()
    reason: str = column()
    pulled_by: str = column()
    pulled_at: datetime = column(TIME)
