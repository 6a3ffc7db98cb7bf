"""Runs of a version that was taken out of use with them are cancelled, whoever dies between the wish and the act."""

from alembic import op

from models.migrations.isolation import open_to_platform

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

OPEN = "status IN ('queued', 'running', 'waiting', 'paused')"


def upgrade() -> None:
    """Adds the wish, and lets the platform door find those of whom it stands."""
    op.execute("ALTER TABLE runs ADD COLUMN cancel_at timestamptz")
    op.execute(f"CREATE INDEX runs_to_cancel ON runs (run_id) WHERE cancel_at IS NOT NULL AND {OPEN}")
    op.execute("DROP POLICY platform_reads ON runs")
    open_to_platform("runs", only=f"status = 'queued' OR cancel_at IS NOT NULL AND {OPEN}")


def downgrade() -> None:
    """Takes the wish back."""
    op.execute("DROP POLICY platform_reads ON runs")
    open_to_platform("runs", only="status = 'queued'")
    op.execute("ALTER TABLE runs DROP COLUMN cancel_at")
