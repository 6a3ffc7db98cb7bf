"""Roles on single resources are found by resource: when it goes, or its id is taken again, they go too."""

from models.migrations.indexes import build_index, drop_index

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the index."""
    build_index("resource_grants_by_resource", "resource_grants (tenant_id, resource_type, resource_id)")


def downgrade() -> None:
    """Takes it back."""
    drop_index("resource_grants_by_resource")
