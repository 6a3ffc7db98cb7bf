"""The audit log names the API key that spoke, and a run the one that asked for it."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES = ("audit_events", "runs")


def upgrade() -> None:
    """Adds the columns. Events of before name none, and are chained as they were; runs of before act for their user."""
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} ADD COLUMN key_id uuid")


def downgrade() -> None:
    """Takes them back. Sealed events that name a key no longer fit their hashes then."""
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} DROP COLUMN key_id")
