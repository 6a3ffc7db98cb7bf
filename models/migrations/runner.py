"""Brings a database to the newest schema, one transaction for each migration."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from models.migrations.locks import Patience, blockers, is_lock_timeout, locked_out
from taskforce.core.domain.errors import Unavailable

_LOCK = 7_410_226
_TRY_LOCK = sa.text("SELECT pg_try_advisory_lock(:lock)")
_POLL_SECONDS = 0.2


def _config(connection: sa.Connection, patience: Patience) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    config.attributes["patience"] = patience
    return config


def _upgrade(connection: sa.Connection, patience: Patience) -> None:
    connection.exec_driver_sql(f"SET lock_timeout = {round(patience.lock_seconds * 1_000)}")
    # Alembic must find no transaction: it makes one for each migration, and none for an index.
    connection.commit()
    command.upgrade(_config(connection, patience), "head")


def _current(connection: sa.Connection) -> tuple[str | None, str | None]:
    script = ScriptDirectory.from_config(_config(connection, Patience()))
    return MigrationContext.configure(connection).get_current_revision(), script.get_current_head()


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[tuple[AsyncEngine, AsyncConnection]]:
    engine = create_async_engine(url, poolclass=sa.NullPool)
    try:
        async with engine.connect() as connection:
            yield engine, connection
    except (OSError, sa.exc.DBAPIError) as error:
        raise Unavailable("migration_failed", f"The migration did not run: {error}") from error
    finally:
        await engine.dispose()


async def _lock_others_out(connection: AsyncConnection) -> None:
    """Waits until no other process migrates; the lock ends with the connection."""
    # Asked again and again, for a session that waits for a lock has a snapshot open, and the index that the other
    # process builds concurrently would wait for this session: each for the other.
    while not (await connection.execute(_TRY_LOCK, {"lock": _LOCK})).scalar_one():
        await connection.rollback()
        await asyncio.sleep(_POLL_SECONDS)
    await connection.commit()


async def _tried(engine: AsyncEngine, connection: AsyncConnection, patience: Patience) -> None:
    async with blockers(engine, connection, patience) as watch:
        for left in reversed(range(patience.tries)):
            try:
                await connection.run_sync(_upgrade, patience)
                break
            except sa.exc.DBAPIError as error:
                if not is_lock_timeout(error):
                    raise
                await connection.rollback()
                if not left:
                    raise locked_out(patience, watch.last) from error
                await asyncio.sleep(patience.pause_seconds)


async def upgrade(url: str, patience: Patience | None = None) -> None:
    """Applies what is missing; safe to run from several processes at once, and to repeat after a failure.

    Args:
        url: SQLAlchemy URL of the role that owns the schema, of the server itself: the lock against other processes is
            the session's, which a pooler of transactions does not keep.
        patience: How long it waits for locks.

    Raises:
        Unavailable: `migration_locked`, which names the session in the way, or `migration_failed` with the database's
            own words.
    """
    async with _connected(url) as (engine, connection):
        await _lock_others_out(connection)
        await _tried(engine, connection, patience or Patience())


async def at_head(url: str) -> bool:
    """Tells whether the schema is the newest."""
    async with _connected(url) as (_, connection):
        current, head = await connection.run_sync(_current)
    return current == head
