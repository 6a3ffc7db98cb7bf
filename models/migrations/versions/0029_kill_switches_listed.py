"""The platform's operator lists the kill switches of all tenants."""

from alembic import op

from models.migrations.isolation import open_to_platform

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Lets the platform's transactions read all switches; those that are let go are no rows."""
    open_to_platform("kill_switches")


def downgrade() -> None:
    """Takes it back."""
    op.execute("DROP POLICY platform_reads ON kill_switches")
