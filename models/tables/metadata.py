"""The metadata of all tables, for migrations and for tests that iterate over them."""

from sqlmodel import SQLModel

from models.tables import (
    access,
    agents,
    approval_definitions,
    approval_results,
    approvals,
    audit,
    idempotency,
    kill_switches,
    runs,
    service_statistics,
    sweep_leases,
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
    service_statistics,
    kill_switches,
    sweep_leases,
    tenants,
    usage,
    users,
    webhooks,
)
METADATA = SQLModel.metadata
