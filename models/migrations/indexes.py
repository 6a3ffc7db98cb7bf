"""Indexes on tables that are in use: built concurrently, so that nobody's writes wait for them."""

import sqlalchemy as sa
from alembic import op

from models.migrations.locks import Patience

_VALID = sa.text(
    "SELECT i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
    "WHERE c.relname = :name AND c.relnamespace = 'public'::regnamespace"
)


def build_index(name: str, on: str) -> None:
    """Builds an index concurrently, outside a transaction; a build that was broken off begins anew.

    Several of a migration may be built when one of them fails, and the migration is repeated as a whole: one that
    exists stays, and one that a failed build left (which PostgreSQL maintains and never uses) is dropped first.

    Args:
        name: Its name.
        on: Its table and columns, and its condition, as after `ON`; columns lead with the tenant.
    """
    context = op.get_context()
    patience: Patience = Patience() if context.config is None else context.config.attributes.get("patience", Patience())
    with context.autocommit_block():
        # It waits for transactions that are under way, and holds no lock meanwhile that reads or writes would meet.
        _wait_at_most(patience.build_seconds)
        try:
            valid = op.get_bind().execute(_VALID, {"name": name}).scalar()
            if valid is False:
                op.execute(f"DROP INDEX CONCURRENTLY {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {on}")
        finally:
            _wait_at_most(patience.lock_seconds)


def drop_index(name: str) -> None:
    """Drops an index concurrently; nothing happens when it is gone."""
    with op.get_context().autocommit_block():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")


def _wait_at_most(seconds: float) -> None:
    op.execute(f"SET lock_timeout = {round(seconds * 1_000)}")
