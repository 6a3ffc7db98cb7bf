"""What the door says when PostgreSQL is not there, and that it works again when it is."""

import asyncio
import contextlib
import os
import signal
import tempfile
import traceback
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest
import sqlalchemy as sa

from cli.stack.postgres import EmbeddedPostgres, PostgresUrls
from models.migrations.runner import upgrade
from taskforce.core.domain.errors import Invalid, Unavailable
from taskforce.core.domain.metering.usage import UsageEntry
from taskforce.infrastructure.config.settings import normalise_database_url
from taskforce.infrastructure.persistence.database import Database
from taskforce.infrastructure.persistence.sqlstates import LOST_CONNECTION, StatementError
from tests.fixtures import stack as stacks


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    """A server of its own, for it is stopped in the tests."""
    with tempfile.TemporaryDirectory(prefix="tf-") as directory:
        embedded = EmbeddedPostgres(Path(directory) / "pg", durable=False)
        embedded.start()
        yield embedded
        embedded.stop()


@pytest.fixture
async def door(server: EmbeddedPostgres) -> AsyncIterator[Database]:
    opened = Database(normalise_database_url(server.urls().app), pool_size=2)
    yield opened
    await opened.close()


async def code(door: Database) -> str | None:
    """How the door answers: None when it works."""
    try:
        await door.ping()
    except Unavailable as error:
        return error.code
    return None


async def test_a_missing_schema_has_its_own_code(server: EmbeddedPostgres, door: Database) -> None:
    with pytest.raises(Unavailable) as refused:
        await door.check()
    assert refused.value.code == "database_schema_missing"
    await upgrade(normalise_database_url(server.urls().owner))
    await door.check()


async def test_a_server_that_goes_and_comes_back(server: EmbeddedPostgres, door: Database) -> None:
    assert await code(door) is None
    await asyncio.to_thread(server.stop)
    assert await code(door) == "database_unavailable"
    assert await code(door) == "database_unavailable"
    await asyncio.to_thread(server.start)
    assert await code(door) is None
    assert await code(door) is None


async def test_a_transaction_under_way_ends_as_unavailable(server: EmbeddedPostgres, door: Database) -> None:
    async def lose_the_connection() -> None:
        async with door.tenant("acme") as records:
            connection = records.users._connection
            pid = await connection.value(sa.text("SELECT pg_backend_pid()"))
            await end_backend(server.urls(), pid)
            await connection.value(sa.text("SELECT 1"))

    with pytest.raises(Unavailable) as refused:
        await lose_the_connection()
    assert refused.value.code == "database_unavailable"
    assert await code(door) is None


async def end_backend(urls: PostgresUrls, pid: int) -> None:
    admin = await asyncpg.connect(urls.admin)
    await admin.fetchval("SELECT pg_terminate_backend($1, 5000)", pid)
    await admin.close()


async def test_a_server_that_takes_no_more_connections_is_unavailable(server: EmbeddedPostgres, door: Database) -> None:
    admin = await asyncpg.connect(server.urls().admin)
    await admin.execute("ALTER ROLE taskforce_app CONNECTION LIMIT 0")
    assert await code(door) == "database_unavailable"
    await admin.execute("ALTER ROLE taskforce_app CONNECTION LIMIT -1")
    await admin.close()
    assert await code(door) is None


async def test_a_database_that_is_not_there_is_unavailable(postgres: stacks.DatabaseUrls) -> None:
    door = Database(postgres.app.replace("/tests_", "/no_such_"), pool_size=1)
    assert await code(door) == "database_unavailable"
    await door.close()


async def test_when_all_connections_are_taken_one_waits_and_is_told(server: EmbeddedPostgres) -> None:
    door = Database(normalise_database_url(server.urls().app), pool_size=2, patience=0.05)
    async with door.tenant("a"), door.tenant("b"):
        assert await code(door) == "database_unavailable"
    assert await code(door) is None
    await door.close()


@pytest.mark.parametrize("statement", ["SELECT CAST(:secret AS integer)", "SELECT CAST(CAST(:secret AS text) AS uuid)"])
async def test_an_error_text_holds_no_parameter(door: Database, statement: str) -> None:
    with pytest.raises(StatementError) as raised:
        async with door.tenant("acme") as records:
            await records.users._connection.value(sa.text(statement), {"secret": "hunter2"})
    assert "hunter2" not in "".join(traceback.format_exception(raised.value))


async def test_a_key_that_is_taken_is_named_without_its_value(server: EmbeddedPostgres, door: Database) -> None:
    await upgrade(normalise_database_url(server.urls().owner))
    await door.register_tenant("some-tenant", datetime(2026, 1, 1, tzinfo=UTC))
    taken = sa.text("INSERT INTO tenants SELECT * FROM tenants")
    with pytest.raises(StatementError, match="tenants_pkey") as raised:
        async with door.tenant("some-tenant") as records:
            await records.users._connection.change(taken)
    assert "=(some-tenant" not in "".join(traceback.format_exception(raised.value))


async def test_a_failure_that_went_unnoticed_is_told_at_the_end(door: Database) -> None:
    async def overlook() -> None:
        async with door.tenant("acme") as records:
            with contextlib.suppress(asyncpg.PostgresError):
                await records.users._connection.value(sa.text("SELECT 1 / 0"))

    with pytest.raises(StatementError, match="rolled back"):
        await overlook()


async def test_a_silent_server_holds_up_nobody_who_gives_up(server: EmbeddedPostgres, door: Database) -> None:
    frozen = asyncio.get_running_loop().create_future()

    async def wait_for_ever() -> None:
        async with door.tenant("acme") as records:
            frozen.set_result(await records.users._connection.value(sa.text("SELECT pg_backend_pid()")))
            await asyncio.Event().wait()

    waiting = asyncio.create_task(wait_for_ever())
    pid = await frozen
    os.kill(pid, signal.SIGSTOP)
    try:
        waiting.cancel()
        async with asyncio.timeout(60):
            with pytest.raises(asyncio.CancelledError):
                await waiting
        assert await code(door) is None
    finally:
        os.kill(pid, signal.SIGCONT)


async def test_a_commit_whose_answer_is_lost_is_not_told_as_undone(server: EmbeddedPostgres, door: Database) -> None:
    async def lose_the_answer() -> None:
        async with door.tenant("acme") as records:
            connection = records.users._connection
            await end_backend(server.urls(), await connection.value(sa.text("SELECT pg_backend_pid()")))

    with pytest.raises(Unavailable) as refused:
        await lose_the_answer()
    assert refused.value.code == "database_outcome_unknown"
    assert "nothing was changed" not in refused.value.message


async def test_gathered_writes_that_failed_are_never_left_out_of_a_commit(
    server: EmbeddedPostgres, door: Database
) -> None:
    await upgrade(normalise_database_url(server.urls().owner))
    now = datetime(2026, 1, 1, tzinfo=UTC)
    await door.register_tenant("gathering", now)
    spending = UsageEntry("no-run", 1, 1, 1, "alice", "agent", now, tool="echo")

    async def overlook() -> None:
        async with door.tenant("gathering") as records:
            await records.usage.add(spending)
            with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError):
                await records.users.get("alice")

    with pytest.raises(StatementError, match="rolled back"):
        await overlook()


@pytest.mark.parametrize("lost", LOST_CONNECTION)
async def test_a_connection_that_is_lost_is_told_whatever_the_driver_makes_of_it(
    door: Database, lost: type[Exception]
) -> None:
    async def lose() -> None:
        async with door.tenant("lost"):
            raise lost("cannot switch to state 12; another operation (2) is in progress")

    with pytest.raises(Unavailable) as told:
        await lose()
    assert told.value.code == "database_unavailable"


async def test_nothing_goes_through_a_door_that_is_closed(server: EmbeddedPostgres) -> None:
    door = Database(normalise_database_url(server.urls().app), pool_size=1)
    await door.ping()
    await door.close()
    assert await code(door) == "database_closed"


async def test_a_url_that_cannot_be_used_is_told_as_a_setting() -> None:
    door = Database("postgresql+asyncpg://nobody@127.0.0.1/nowhere?ssl=bogus", pool_size=1)
    with pytest.raises(Invalid) as refused:
        await door.ping()
    assert refused.value.code == "bad_setting"
