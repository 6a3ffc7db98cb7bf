"""Requests are counted by the definition that they were made under."""

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the index."""
    op.execute(
        "CREATE INDEX approvals_of_definition ON approvals (tenant_id, definition_id, opened_at) "
        "WHERE definition_id IS NOT NULL"
    )


def downgrade() -> None:
    """Takes it back."""
    op.execute("DROP INDEX approvals_of_definition")
