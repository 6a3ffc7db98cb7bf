"""A person's message names the question that it answers, and a run's row the questions and the retry it waits for."""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the columns; each question has one answer at most. Messages of before name none."""
    op.execute("ALTER TABLE run_words ADD COLUMN question_id text")
    op.execute(
        "CREATE UNIQUE INDEX run_words_answers ON run_words (tenant_id, run_id, question_id) "
        "WHERE question_id IS NOT NULL"
    )
    op.execute("ALTER TABLE runs ADD COLUMN questions jsonb NOT NULL DEFAULT '[]'")
    op.execute("ALTER TABLE runs ADD COLUMN retry jsonb")


def downgrade() -> None:
    """Takes them back."""
    op.execute("ALTER TABLE runs DROP COLUMN retry")
    op.execute("ALTER TABLE runs DROP COLUMN questions")
    op.execute("DROP INDEX run_words_answers")
    op.execute("ALTER TABLE run_words DROP COLUMN question_id")
