"""Service statistics: requests, errors and durations of each minute, by what was called and by process."""

from alembic import op

from models.migrations.isolation import isolate

revision = "0037"
down_revision = "0032"
branch_labels = None
depends_on = None

# A process writes its own sums of a minute, again and again while they grow: written twice they change nothing.
TABLE = """
CREATE TABLE service_statistics (
    tenant_id text NOT NULL REFERENCES tenants,
    kind text NOT NULL CHECK (kind IN ('endpoint', 'agent', 'model')),
    minute timestamptz NOT NULL,
    name text NOT NULL,
    status_class text NOT NULL,
    process_id uuid NOT NULL,
    count integer NOT NULL,
    errors integer NOT NULL,
    sum_seconds double precision NOT NULL,
    max_seconds double precision NOT NULL,
    counts integer[] NOT NULL,
    PRIMARY KEY (tenant_id, kind, minute, name, status_class, process_id)
)
"""


def upgrade() -> None:
    """Adds the table."""
    op.execute(TABLE)
    isolate("service_statistics", "UPDATE", "DELETE")


def downgrade() -> None:
    """Takes it back."""
    op.execute("DROP TABLE service_statistics")
