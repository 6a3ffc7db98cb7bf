"""All tables, gathered for migrations and for the tests that walk them."""

from sqlmodel import SQLModel

from models.tables import access, answers, approvals, audit, runs, tenants, usage, users, webhooks

MODULES = (access, answers, approvals, audit, runs, tenants, usage, users, webhooks)
METADATA = SQLModel.metadata
