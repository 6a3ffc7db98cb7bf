"""The audit log names the API key that spoke."""

from alembic import op

revision = "0007"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column; events of before have none, and are chained as they were."""
    op.execute("ALTER TABLE audit_events ADD COLUMN key_id uuid")


def downgrade() -> None:
    """Takes it back. Sealed events that name a key no longer fit their hashes then."""
    op.execute("ALTER TABLE audit_events DROP COLUMN key_id")
