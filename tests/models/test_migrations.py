"""The migrations: one head, back and forth, and the same as the tables of the code."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import create_async_engine

from cli.stack.postgres import EmbeddedPostgres
from models.migrations import runner
from models.tables.metadata import METADATA
from taskforce.core.domain.errors import Unavailable
from taskforce.infrastructure.config.settings import normalise_database_url
from tests.fixtures import stack as stacks

MIGRATIONS = Path(runner.__file__).parent


@pytest.fixture
async def empty(stack: stacks.StackAddress, worker_id: str) -> AsyncIterator[str]:
    """A database without a schema, as its owner reaches it."""
    server, name = EmbeddedPostgres(Path(stack.postgres_dir), durable=False), f"migrated_{worker_id}"
    yield normalise_database_url(server.create_database(name).owner)
    server.drop_database(name)


async def with_connection(url: str, work: Callable[[sa.Connection], Any]) -> Any:
    engine = create_async_engine(url, poolclass=sa.NullPool)
    async with engine.begin() as connection:
        result = await connection.run_sync(work)
    await engine.dispose()
    return result


def config(connection: sa.Connection) -> Config:
    found = Config()
    found.set_main_option("script_location", str(MIGRATIONS))
    found.attributes["connection"] = connection
    return found


def differences(connection: sa.Connection) -> list[Any]:
    context = MigrationContext.configure(connection, opts={"compare_type": True, "include_object": _is_table_or_column})
    return list(compare_metadata(context, METADATA))


def _is_table_or_column(_thing: object, _name: str | None, kind: str, _reflected: bool, _other: object) -> bool:
    # Keys to other tables, checks, indexes and policies are written once, in the migrations.
    return kind in {"table", "column"}


def keys(connection: sa.Connection) -> dict[str, list[str]]:
    inspector = sa.inspect(connection)
    return {name: inspector.get_pk_constraint(name)["constrained_columns"] for name in METADATA.tables}


def names(connection: sa.Connection) -> list[str]:
    return sa.inspect(connection).get_table_names()


def test_there_is_always_one_head() -> None:
    found = Config()
    found.set_main_option("script_location", str(MIGRATIONS))
    assert len(ScriptDirectory.from_config(found).get_heads()) == 1


async def test_the_migrated_schema_is_that_of_the_tables_in_the_code(postgres: stacks.DatabaseUrls) -> None:
    assert await with_connection(postgres.owner, differences) == []
    declared = {name: [column.name for column in table.primary_key] for name, table in METADATA.tables.items()}
    assert await with_connection(postgres.owner, keys) == declared


async def test_the_comparison_would_notice(empty: str) -> None:
    await runner.upgrade(empty)
    await with_connection(empty, lambda c: c.execute(sa.text("ALTER TABLE runs ALTER max_tokens TYPE integer")))
    await with_connection(empty, lambda c: c.execute(sa.text("ALTER TABLE users ADD nickname text")))
    await with_connection(empty, lambda c: c.execute(sa.text("ALTER TABLE usage_records ALTER tool SET NOT NULL")))
    found = await with_connection(empty, differences)
    kinds = {difference[0] if isinstance(difference, tuple) else difference[0][0] for difference in found}
    assert kinds == {"modify_type", "remove_column", "modify_nullable"}


async def test_migrations_go_back_and_forth(empty: str) -> None:
    assert not await runner.at_head(empty)
    await runner.upgrade(empty)
    assert await runner.at_head(empty)
    await with_connection(empty, lambda connection: command.downgrade(config(connection), "base"))
    assert await with_connection(empty, names) == ["alembic_version"]
    await runner.upgrade(empty)
    await runner.upgrade(empty)
    assert await runner.at_head(empty)
    assert await with_connection(empty, differences) == []


async def test_the_log_of_a_deleted_tenant_is_kept_for_23_hours_unless_the_owner_says_otherwise(empty: str) -> None:
    await runner.upgrade(empty)
    grace = sa.text("SELECT extract(epoch FROM tenant_log_grace())")
    assert await with_connection(empty, lambda connection: connection.execute(grace).scalar_one()) == 23 * 3_600


async def test_a_migration_that_cannot_run_says_so_by_code(postgres: stacks.DatabaseUrls) -> None:
    with pytest.raises(Unavailable) as refused:
        await runner.upgrade(postgres.app.replace("/tests_", "/no_such_"))
    assert refused.value.code == "migration_failed"
