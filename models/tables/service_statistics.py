"""The table of service statistics."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlmodel import SQLModel

from models.tables.columns import TIME, UUID, column, key


class ServiceStatisticsRow(SQLModel, table=True):
    """The requests of one minute that a process has counted.

    `counts` has one element for each bucket of `taskforce.core.domain.metering.service_levels.BOUNDS`, and one more.
    """

    __tablename__ = "service_statistics"

    tenant_id: str = key()
    kind: str = key()
    minute: datetime = key(TIME)
    name: str = key()
    status_class: str = key()
    process_id: str = key(UUID)
    count: int = column(sa.Integer)
    errors: int = column(sa.Integer)
    sum_seconds: float = column(sa.Double)
    max_seconds: float = column(sa.Double)
    counts: list[int] = column(pg.ARRAY(sa.Integer))
