"""All tables, gathered for migrations and for the tests that walk them."""

from sqlmodel import SQLModel

from models.tables import (
    access,
    agents,
    answers,
    approval_definitions,
    approvals,
    audit,
    deletions,
    request_results,
    runs,
    tenants,
    usage,
    users,
    webhooks,
)

MODULES = (
    access,
    agents,
    answers,
    approval_definitions,
    approvals,
    audit,
    deletions,
    request_results,
    runs,
    tenants,
    usage,
    users,
    webhooks,
)
METADATA = SQLModel.metadata
