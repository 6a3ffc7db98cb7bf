"""A request for approval names the API key that asked: what follows it is cut to that key."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column. Requests of before name none, and are carried out with their requester's rights."""
    op.execute("ALTER TABLE approvals ADD COLUMN key_id uuid")


def downgrade() -> None:
    """Takes it back."""
    op.execute("ALTER TABLE approvals DROP COLUMN key_id")
