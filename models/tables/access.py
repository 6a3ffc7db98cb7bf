"""Tables of access: roles, grants on one resource, API keys, access grants, policy documents and token buckets."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import SQLModel

from models.tables.columns import TEXTS, TIME, UUID, column, key, maybe


class RoleRow(SQLModel, table=True):
    """A custom role of a tenant; the five system roles are code."""

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
    """A role granted to a user on one resource."""

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
    """An API key; only its hash is stored."""

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
    """A grant of an account or a role; append-only, it stays when the account or role is taken back."""

    __tablename__ = "access_grants"

    tenant_id: str = key()
    grant_id: str = key(UUID)
    user_id: str = column()
    role_id: str | None = maybe()
    given_by: str = column()
    key_id: str | None = maybe(UUID)
    at: datetime = column(TIME)


class PolicyDocumentRow(SQLModel, table=True):
    """A version of a tenant's policy document; the latest is in force. Append-only."""

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
