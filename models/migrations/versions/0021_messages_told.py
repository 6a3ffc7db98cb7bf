"""A message of which its run was not told is found by a worker, whoever died between commit and signal."""

from alembic import op

from models.migrations.isolation import APP_ROLE, open_to_platform

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

UNTOLD = "told_at IS NULL"


def upgrade() -> None:
    """Adds when the run was told, and lets the platform find the messages of which none was.

    Messages of before count as told: each was signalled when it was stored, but for those that a crash cut off.
    """
    op.execute("ALTER TABLE run_words ADD COLUMN told_at timestamptz DEFAULT now()")
    op.execute("ALTER TABLE run_words ALTER COLUMN told_at DROP DEFAULT")
    op.execute(f"CREATE INDEX run_words_untold ON run_words (word_id) WHERE {UNTOLD}")
    op.execute(f"GRANT UPDATE ON run_words TO {APP_ROLE}")
    open_to_platform("run_words", only=UNTOLD)


def downgrade() -> None:
    """Takes it back."""
    op.execute("DROP POLICY platform_reads ON run_words")
    op.execute(f"REVOKE UPDATE ON run_words FROM {APP_ROLE}")
    op.execute("ALTER TABLE run_words DROP COLUMN told_at")
