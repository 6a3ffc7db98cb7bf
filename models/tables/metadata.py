"""The metadata of all tables, for migrations and for tests that iterate over them."""

from sqlmodel import SQLModel

from models.tables import (
    access,
    agents,
    approval_definitions,
    approval_results,
    approvals,
    audit,
    budgets,
    cost_reports,
    idempotency,
    kill_switches,
    prices,
    runs,
    service_statistics,
    sweep_leases,
    tenant_deletions,
    tenants,
    usage,
    usage_buckets,
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
    budgets,
    cost_reports,
    tenant_deletions,
    approval_results,
    runs,
    service_statistics,
    kill_switches,
    prices,
    sweep_leases,
    tenants,
    usage,
    usage_buckets,
    users,
    webhooks,
)
METADATA = SQLModel.metadata
