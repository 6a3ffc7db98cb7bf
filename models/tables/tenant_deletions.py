"""Tables of tenant deletions: their reports, which belong to the platform's tenant."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import SQLModel

from models.tables.columns import TIME, column, key, maybe


class TenantDeletionRow(SQLModel, table=True):
    """The report of a tenant's deletion; written by functions of the database owner, read-only for the application."""

    __tablename__ = "tenant_deletions"

    tenant_id: str = key()
    deleted_id: str = key()
    requested_by: str = column()
    request_id: str | None = maybe()
    requested_at: datetime = column(TIME)
    begun_at: datetime = column(TIME)
    runs_until: datetime | None = maybe(TIME)
    erased: dict[str, Any] = column(JSONB)
    log_seq: int | None = maybe(sa.BigInteger)
    log_hash: str | None = maybe()
    erased_at: datetime | None = maybe(TIME)


class TenantDeletionPhaseRow(SQLModel, table=True):
    """A completed phase of a deletion with its facts; append-only."""

    __tablename__ = "tenant_deletion_phases"

    tenant_id: str = key()
    deleted_id: str = key()
    phase: str = key()
    facts: dict[str, Any] = column(JSONB)
    at: datetime = column(TIME)
