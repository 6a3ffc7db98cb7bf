"""A decision names the API key that spoke: what it hands on is cut to that key."""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column. Decisions of before name none, and hand on what their approver may."""
    op.execute("ALTER TABLE approval_decisions ADD COLUMN key_id uuid")


def downgrade() -> None:
    """Takes it back."""
    op.execute("ALTER TABLE approval_decisions DROP COLUMN key_id")
