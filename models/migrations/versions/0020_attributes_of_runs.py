"""A policy sees of a run the attributes that the token claimed that asked for it, besides those of the newest one."""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column. Runs of before, and those that a key has asked for, have none: the newest attributes count."""
    op.execute("ALTER TABLE runs ADD COLUMN claimed_attributes jsonb")


def downgrade() -> None:
    """Takes it back."""
    op.execute("ALTER TABLE runs DROP COLUMN claimed_attributes")
