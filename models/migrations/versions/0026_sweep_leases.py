"""Leases of sweeps: of all workers one does a sweep, and another one when it has died."""

from alembic import op

from models.migrations.isolation import isolate

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

# A sweep is no tenant's: the platform's transactions, whose tenant is the empty one, see these rows and no other does.
TABLE = """
CREATE TABLE sweep_leases (
    tenant_id text NOT NULL,
    sweep text NOT NULL,
    holder text NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, sweep)
)
"""


def upgrade() -> None:
    """Makes the table."""
    op.execute(TABLE)
    isolate("sweep_leases", "UPDATE")


def downgrade() -> None:
    """Takes it back."""
    op.execute("DROP TABLE sweep_leases")
