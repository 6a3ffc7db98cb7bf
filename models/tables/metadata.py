"""All tables, gathered for migrations and for the tests that walk them."""

from sqlmodel import SQLModel

from models.tables import (
    access,
    agents,
    approval_definitions,
    approval_results,
    approvals,
    audit,
    idempotency,
    runs,
    tenant_deletions,
    tenants,
    usage,
    users,
    webhooks,
)

MODULES = (
    access,
    agents,
    idempotency,
    approval_definitions,
    approvals,
    audit,
    tenant_deletions,
    approval_results,
    runs,
    tenants,
    usage,
    users,
    webhooks,
)
METADATA = SQLModel.metadata
