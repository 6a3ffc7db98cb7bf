"""Requests are counted by the definition that they were made under."""

from models.migrations.indexes import build_index, drop_index

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the index."""
    on = "approvals (tenant_id, definition_id, opened_at) WHERE definition_id IS NOT NULL"
    build_index("approvals_of_definition", on)


def downgrade() -> None:
    """Takes it back."""
    drop_index("approvals_of_definition")
