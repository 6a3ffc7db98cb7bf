"""Indexes on tables that are in use: built concurrently, so that nobody's writes wait for them."""

from collections.abc import Iterator
from contextlib import contextmanager

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
    with patient():
        valid = op.get_bind().execute(_VALID, {"name": name}).scalar()
        if valid is False:
            op.execute(f"DROP INDEX CONCURRENTLY {name}")
        op.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {on}")


def drop_index(name: str) -> None:
    """Drops an index concurrently, as patiently as one is built; nothing happens when it is gone."""
    with patient():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")


@contextmanager
def patient() -> Iterator[None]:
    """Leaves the transaction: what was done is committed, and each statement within commits by itself.

    It may wait for those under way as long as the building of an index, so it takes no lock that reads or writes meet.
    """
    context = op.get_context()
    patience: Patience = Patience() if context.config is None else context.config.attributes.get("patience", Patience())
    with context.autocommit_block():
        _wait_at_most(patience.build_seconds)
        try:
            yield
        finally:
            _wait_at_most(patience.lock_seconds)


def _wait_at_most(seconds: float) -> None:
    op.execute(f"SET lock_timeout = {round(seconds * 1_000)}")
