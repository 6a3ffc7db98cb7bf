"""Roles on single resources are found by resource: when it goes, or its id is taken again, they go too."""

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the index."""
    op.execute("CREATE INDEX resource_grants_by_resource ON resource_grants (tenant_id, resource_type, resource_id)")


def downgrade() -> None:
    """Takes it back."""
    op.execute("DROP INDEX resource_grants_by_resource")
