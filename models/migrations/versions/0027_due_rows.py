"""Rows that sweeps look after tell from when: by tenant, so that one who has many keeps nobody else's waiting."""

from alembic import op

from models.migrations.indexes import build_index, drop_index
from models.migrations.isolation import open_to_platform

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

OPEN_RUN = "status IN ('queued', 'running', 'waiting', 'paused')"
# Old workers insert beside this schema for a while, and do not know the column.
COLUMN = "ADD COLUMN IF NOT EXISTS sweep_at timestamptz NOT NULL DEFAULT now()"
TABLES = ("runs", "run_words", "approvals", "webhook_deliveries")
# The conditions are those of `repositories/due_rows.py`, word for word.
INDEXES = {
    "runs_to_start": "runs (tenant_id, sweep_at, run_id) WHERE status = 'queued' AND cancel_at IS NULL",
    "runs_to_check": "runs (tenant_id, sweep_at, run_id) WHERE status IN ('running', 'waiting', 'paused')",
    "runs_to_cancel_by_tenant": f"runs (tenant_id, cancel_at, run_id) WHERE cancel_at IS NOT NULL AND {OPEN_RUN}",
    "run_words_to_tell": "run_words (tenant_id, sweep_at, word_id) WHERE told_at IS NULL",
    "approvals_to_start": (
        "approvals (tenant_id, sweep_at, request_id) WHERE status = 'pending' AND started_at IS NULL"
    ),
    "approvals_to_check": (
        "approvals (tenant_id, sweep_at, request_id) WHERE status = 'pending' AND started_at IS NOT NULL"
    ),
    "webhook_deliveries_to_start": "webhook_deliveries (tenant_id, sweep_at, delivery_id) WHERE status = 'queued'",
    "webhook_deliveries_to_check": "webhook_deliveries (tenant_id, sweep_at, delivery_id) WHERE status = 'pending'",
    # A deletion without an end counts as one that ends last.
    "tenant_deletions_open": "tenant_deletions (coalesce(erased_at, 'infinity'), deleted_id)",
}
REPLACED = {
    "runs_unstarted": "runs (created_at) WHERE status = 'queued'",
    "runs_to_cancel": f"runs (run_id) WHERE cancel_at IS NOT NULL AND {OPEN_RUN}",
    "approvals_unstarted": "approvals (opened_at) WHERE status = 'pending' AND started_at IS NULL",
    "webhook_deliveries_queued": "webhook_deliveries (created_at) WHERE status = 'queued'",
}
READ = {
    "runs": OPEN_RUN,
    "approvals": "status = 'pending'",
    "webhook_deliveries": "status IN ('queued', 'pending')",
}
READ_BEFORE = {
    "runs": f"status = 'queued' OR cancel_at IS NOT NULL AND {OPEN_RUN}",
    "approvals": "status = 'pending' AND started_at IS NULL",
    "webhook_deliveries": "status = 'queued'",
}


def upgrade() -> None:
    """Adds the time and its indexes, and lets the platform find all rows that are open, not the unstarted ones only."""
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} {COLUMN}")
    _index(INDEXES, REPLACED)
    _let_read(READ)


def downgrade() -> None:
    """Takes it back."""
    _let_read(READ_BEFORE)
    _index(REPLACED, INDEXES)
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} DROP COLUMN sweep_at")


def _index(made: dict[str, str], dropped: dict[str, str]) -> None:
    for name, on in made.items():
        build_index(name, on)
    for name in dropped:
        drop_index(name)


def _let_read(rows: dict[str, str]) -> None:
    for table, only in rows.items():
        op.execute(f"DROP POLICY platform_reads ON {table}")
        open_to_platform(table, only=only)
