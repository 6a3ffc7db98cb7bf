"""What came of requests for approval and is kept for a while for who asked."""

from alembic import op

from models.migrations.isolation import isolate

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE request_results (
    tenant_id text NOT NULL,
    request_id uuid NOT NULL,
    media_type text NOT NULL,
    file_name text NOT NULL,
    begun_at timestamptz NOT NULL,
    kept_until timestamptz NOT NULL,
    state jsonb NOT NULL,
    pieces integer NOT NULL,
    size bigint NOT NULL,
    finished_at timestamptz,
    PRIMARY KEY (tenant_id, request_id),
    FOREIGN KEY (tenant_id, request_id) REFERENCES approvals ON DELETE CASCADE
);
CREATE INDEX request_results_kept ON request_results (tenant_id, kept_until);
CREATE TABLE request_result_pieces (
    tenant_id text NOT NULL,
    request_id uuid NOT NULL,
    number integer NOT NULL,
    content bytea NOT NULL,
    PRIMARY KEY (tenant_id, request_id, number),
    FOREIGN KEY (tenant_id, request_id) REFERENCES request_results ON DELETE CASCADE
);
"""

RIGHTS = {
    "request_result_pieces": ("DELETE",),
    "request_results": ("UPDATE", "DELETE"),
}


def upgrade() -> None:
    """Makes the tables and isolates each."""
    for statement in TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
    for table, rights in RIGHTS.items():
        isolate(table, *rights)


def downgrade() -> None:
    """Takes them back."""
    for table in RIGHTS:
        op.execute(f"DROP TABLE {table}")
