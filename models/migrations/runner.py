"""Brings a database to the newest schema."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import create_async_engine

from taskforce.core.domain.errors import Unavailable

_LOCK = 7_410_226
Result = TypeVar("Result")


def _config(connection: sa.Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    return config


def _upgrade(connection: sa.Connection) -> None:
    # Several processes may start at once; the lock ends with the transaction.
    connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    command.upgrade(_config(connection), "head")


def _current(connection: sa.Connection) -> tuple[str | None, str | None]:
    script = ScriptDirectory.from_config(_config(connection))
    return MigrationContext.configure(connection).get_current_revision(), script.get_current_head()


async def _with_connection(url: str, work: Callable[[sa.Connection], Result]) -> Result:
    engine = create_async_engine(url, poolclass=sa.NullPool)
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(work)
    except (OSError, sa.exc.DBAPIError) as error:
        raise Unavailable("migration_failed", f"The migration did not run: {error}") from error
    finally:
        await engine.dispose()


async def upgrade(url: str) -> None:
    """Applies what is missing; safe to run from several processes at once.

    Args:
        url: SQLAlchemy URL of the role that owns the schema.

    Raises:
        Unavailable: `migration_failed` with the database's own words.
    """
    await _with_connection(url, _upgrade)


async def at_head(url: str) -> bool:
    """Tells whether the schema is the newest."""
    current, head = await _with_connection(url, _current)
    return current == head
