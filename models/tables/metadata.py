"""All tables, gathered for migrations and for the tests that walk them."""

from sqlmodel import SQLModel

from models.tables import answers, approvals, audit, runs, tenants, usage, users

MODULES = (answers, approvals, audit, runs, tenants, usage, users)
METADATA = SQLModel.metadata
