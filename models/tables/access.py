"""What is granted in a tenant: roles of its own and on one resource, API keys, policies, rates, and who gave what."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import SQLModel

from models.tables.columns import TEXTS, TIME, UUID, column, key, maybe


class RoleRow(SQLModel, table=True):
    """A role of a tenant's own; the five system roles are code."""

    __tablename__ = "roles"

    tenant_id: str = key()
    role_id: str = key()
    name: str = column()
    description: str = column()
    permissions: list[str] = column(TEXTS)
    metadata_: dict[str, Any] = column(JSONB, sa_column_kwargs={"name": "metadata"})
    created_by: str = column()
    created_at: datetime = column(TIME)
    updated_at: datetime = column(TIME)


class ResourceGrantRow(SQLModel, table=True):
    """A role that a user holds on one resource."""

    __tablename__ = "resource_grants"

    tenant_id: str = key()
    user_id: str = key()
    role_id: str = key()
    resource_type: str = key()
    resource_id: str = key()
    granted_by: str = column()
    at: datetime = column(TIME)
    expires_at: datetime | None = maybe(TIME)


class ApiKeyRow(SQLModel, table=True):
    """An API key; what it looks like is known to its bearer alone."""

    __tablename__ = "api_keys"

    tenant_id: str = key()
    key_id: str = key(UUID)
    user_id: str = column()
    name: str = column()
    prefix: str = column()
    hash: str = column()
    roles: list[str] = column(TEXTS)
    metadata_: dict[str, Any] = column(JSONB, sa_column_kwargs={"name": "metadata"})
    created_by: str = column()
    created_at: datetime = column(TIME)
    expires_at: datetime = column(TIME)
    last_used_at: datetime | None = maybe(TIME)
    revoked_at: datetime | None = maybe(TIME)
    created_by_key: str | None = maybe(UUID)


class AccessGrantRow(SQLModel, table=True):
    """Who gave a user an account or a role, and when; append-only, it stays when the thing is taken back."""

    __tablename__ = "access_grants"

    tenant_id: str = key()
    grant_id: str = key(UUID)
    user_id: str = column()
    role_id: str | None = maybe()
    given_by: str = column()
    key_id: str | None = maybe(UUID)
    at: datetime = column(TIME)


class PolicyDocumentRow(SQLModel, table=True):
    """One version of a tenant's policy document; the latest one counts. Append-only."""

    __tablename__ = "policy_documents"

    tenant_id: str = key()
    version: int = key(sa.Integer)
    document: dict[str, Any] = column(JSONB)
    saved_by: str = column()
    at: datetime = column(TIME)


class RateBucketRow(SQLModel, table=True):
    """A token bucket, shared by all gateways."""

    __tablename__ = "rate_buckets"

    tenant_id: str = key()
    bucket: str = key()
    tokens: float = column(sa.Double)
    at: datetime = column(TIME)
    granted: bool = column(sa.Boolean)
