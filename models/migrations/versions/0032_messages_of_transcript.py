"""The messages that a transcript holds are found by an index, not by reading the transcript."""

from alembic import op

from models.migrations.indexes import build_index

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None

# Not by the message's id: `->>` is not leakproof, so row-level security keeps it out of an index's condition. A run has
# few messages, and few of its entries hold one.
ON = "transcript (tenant_id, run_id, step) WHERE (data ->> 'word_id') IS NOT NULL"
# Without it the planner takes it that nearly every entry holds a message, and would rather read them all.
SHARE = "CREATE STATISTICS transcript_messages_share ON (data ->> 'word_id') FROM transcript"


def upgrade() -> None:
    """Builds it."""
    build_index("transcript_messages", ON)
    op.execute(SHARE)


def downgrade() -> None:
    """Takes it back."""
    op.execute("DROP STATISTICS transcript_messages_share")
    op.execute("DROP INDEX transcript_messages")
