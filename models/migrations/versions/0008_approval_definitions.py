"""Approval definitions of a tenant's own."""

from alembic import op

from models.migrations.isolation import isolate

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# Ids sort by their characters, here as in the code that merges them with the profile's.
TABLE = """
CREATE TABLE approval_definitions (
    tenant_id text NOT NULL REFERENCES tenants,
    definition_id text COLLATE "C" NOT NULL CHECK (definition_id ~ '^[A-Za-z0-9._-]{1,64}$'),
    document jsonb NOT NULL,
    version integer NOT NULL,
    saved_by text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, definition_id)
)
"""


def upgrade() -> None:
    """Makes the table, and isolates it."""
    op.execute(TABLE)
    isolate("approval_definitions", "UPDATE", "DELETE")


def downgrade() -> None:
    """Takes it back."""
    op.execute("DROP TABLE approval_definitions")
