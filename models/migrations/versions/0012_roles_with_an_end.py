"""Roles that end by themselves: of a user everywhere, and on one resource."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the ends; whatever is held already has none."""
    op.execute("ALTER TABLE users ADD COLUMN lent_roles jsonb NOT NULL DEFAULT '{}'")
    op.execute("ALTER TABLE resource_grants ADD COLUMN expires_at timestamptz")


def downgrade() -> None:
    """Takes them back, and with them what would otherwise be held for ever."""
    # Forced on its owner too, row-level security would hide every row.
    op.execute("ALTER TABLE resource_grants NO FORCE ROW LEVEL SECURITY")
    op.execute("DELETE FROM resource_grants WHERE expires_at IS NOT NULL")
    op.execute("ALTER TABLE resource_grants FORCE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE resource_grants DROP COLUMN expires_at")
    op.execute("ALTER TABLE users DROP COLUMN lent_roles")
