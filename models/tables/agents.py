"""Tables of the catalog: agents and their versions."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR
from sqlmodel import SQLModel

from models.tables.columns import TEXTS, TIME, UUID, column, key, maybe


class AgentRow(SQLModel, table=True):
    """An agent of the catalog, with the summary of its versions for lists."""

    __tablename__ = "agents"

    tenant_id: str = key()
    agent_id: str = key(UUID)
    slug: str = column()
    name: str = column()
    description: str = column()
    category: str | None = maybe()
    tags: list[str] = column(TEXTS)
    owner_id: str = column()
    search: str = column(TSVECTOR)
    aliases: dict[str, Any] = column(JSONB)
    current_id: str | None = maybe(UUID)
    current_number: str | None = maybe()
    latest_number: str = column()
    latest_status: str = column()
    statuses: list[str] = column(TEXTS)
    revision: int = column(sa.Integer)
    created_at: datetime = column(TIME)
    updated_at: datetime = column(TIME)


class AgentVersionRow(SQLModel, table=True):
    """A version of an agent; `place` is its position in the order of creation."""

    __tablename__ = "agent_versions"

    tenant_id: str = key()
    agent_id: str = key(UUID)
    version_id: str = key(UUID)
    place: int = column(sa.Integer)
    number: str = column()
    definition: dict[str, Any] = column(JSONB)
    changelog: str = column()
    config_hash: str = column()
    status: str = column()
    transitions: list[dict[str, Any]] = column(JSONB)
    draining: bool = column(sa.Boolean)
    request_id: str | None = maybe(UUID)
    created_by: str = column()
    created_at: datetime = column(TIME)
