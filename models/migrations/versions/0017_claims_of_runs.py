"""A run acts no more than the token claimed that asked for it, whatever its user's other tokens claim."""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column. Runs of before, and those that a key has asked for, have none and are not cut by it."""
    op.execute("ALTER TABLE runs ADD COLUMN claimed_roles text[]")


def downgrade() -> None:
    """Takes it back."""
    op.execute("ALTER TABLE runs DROP COLUMN claimed_roles")
