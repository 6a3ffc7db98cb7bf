"""Service statistics: requests, errors and durations of each minute, by what was called and by process."""

from importlib import import_module

from alembic import op

from models.migrations.isolation import isolate

revision = "0037"
down_revision = "0036"
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

# The look for expired rows finds these too, by the same time for all tenants.
FOUND: str = import_module("models.migrations.versions.0033_bounded_looks").FUNCTION.replace(
    "CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"
)
BRANCH = """        ELSIF kind = 'statistics' THEN
            expired := EXISTS (
                SELECT FROM public.service_statistics s
                WHERE s.tenant_id = tenant AND s.kind IN ('endpoint', 'agent', 'model') AND s.minute < latest
            );
        END IF;
        IF expired THEN
"""
FINDS = FOUND.replace("('audit', 'result')", "('audit', 'result', 'statistics')").replace(
    "        END IF;\n        IF expired THEN\n", BRANCH
)


def upgrade() -> None:
    """Adds the table."""
    op.execute(TABLE)
    isolate("service_statistics", "UPDATE", "DELETE")
    op.execute(FINDS)


def downgrade() -> None:
    """Takes it back."""
    op.execute(FOUND)
    op.execute("DROP TABLE service_statistics")
