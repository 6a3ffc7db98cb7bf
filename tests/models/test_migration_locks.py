"""Migrations of a database that is in use: they hold nobody up, name who holds them up, and are repeated safely."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import sqlalchemy as sa
from alembic import command
from sqlalchemy.ext.asyncio import create_async_engine

from cli.stack.postgres import EmbeddedPostgres
from models.migrations import runner
from models.migrations.locks import Patience
from taskforce.core.domain.errors import Unavailable
from taskforce.infrastructure.config.settings import driver_arguments, normalise_database_url
from tests.fixtures import stack as stacks

BEFORE_COLUMN, BEFORE_QUEUE, BEFORE_DROP, BEFORE_INDEX, BEFORE_READERS = "0020", "0029", "0030", "0031", "0039"
BRIEF = Patience(lock_seconds=0.2, build_seconds=0.2, tries=2, pause_seconds=0.05)
VALIDITY = """
SELECT c.relname::text AS name, i.indisvalid AS valid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE c.relnamespace = 'public'::regnamespace
"""

# A session that waits for longer than any other statement's lock would let it.
DROPPING = """
SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'DROP INDEX CONCURRENTLY%'
AND clock_timestamp() - query_start > interval '0.5 s'
"""


@pytest.fixture
async def in_use(stack: stacks.StackAddress, worker_id: str) -> AsyncIterator[str]:
    """A database of its own, as its owner reaches it."""
    server, name = EmbeddedPostgres(Path(stack.postgres_dir), durable=False), f"in_use_{worker_id}"
    yield normalise_database_url(server.create_database(name).owner)
    server.drop_database(name)


async def upgraded(url: str, revision: str) -> None:
    """Brings a database to a revision as it was then."""

    def upgrade(connection: sa.Connection) -> None:
        command.upgrade(runner._config(connection, Patience()), revision)

    engine = create_async_engine(url, poolclass=sa.NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(upgrade)
    await engine.dispose()


@asynccontextmanager
async def long_transaction(url: str, statement: str) -> AsyncIterator[asyncpg.Connection]:
    """A session that has done something and does not commit."""
    connection = await asyncpg.connect(**driver_arguments(url), server_settings={"application_name": "nightly-report"})
    async with connection.transaction():
        await connection.execute(statement)
        yield connection
    await connection.close()


async def indexes(url: str) -> Mapping[str, bool]:
    """The indexes, and whether each is whole."""
    connection = await asyncpg.connect(**driver_arguments(url))
    found = {row["name"]: row["valid"] for row in await connection.fetch(VALIDITY)}
    await connection.close()
    return found


async def waiting(watcher: asyncpg.Connection, ready: Callable[[], bool] = lambda: False) -> None:
    """Waits until a migration waits for a lock."""
    async with asyncio.timeout(60):
        waits = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        while not ready() and not await watcher.fetchval(waits):  # noqa: ASYNC110 - PostgreSQL has no event for it
            await asyncio.sleep(0.005)


async def test_a_migration_behind_a_long_transaction_gives_up_names_it_and_is_repeated(in_use: str) -> None:
    await upgraded(in_use, BEFORE_COLUMN)
    async with long_transaction(in_use, "SELECT count(*) FROM run_words") as session:
        pid = session.get_server_pid()
        with pytest.raises(Unavailable) as refused:
            await runner.upgrade(in_use, BRIEF)
    assert refused.value.code == "migration_locked"
    for fact in ("run_words", f"session {pid}", "taskforce_owner", "nightly-report", f"pg_terminate_backend({pid})"):
        assert fact in refused.value.message
    assert not await runner.at_head(in_use)
    await runner.upgrade(in_use)
    assert await runner.at_head(in_use)


async def test_queries_are_not_held_up_by_a_migration_that_waits(in_use: str) -> None:
    await upgraded(in_use, BEFORE_COLUMN)
    reader = await asyncpg.connect(**driver_arguments(in_use))
    async with long_transaction(in_use, "SELECT count(*) FROM run_words") as session:
        patience = Patience(lock_seconds=0.3, tries=1_000, pause_seconds=0.05)
        migration = asyncio.create_task(runner.upgrade(in_use, patience))
        await waiting(session, migration.done)
        # It stands in the queue behind the migration's lock, and is answered while that lock is not to be had.
        async with asyncio.timeout(60):
            assert await reader.fetchval("SELECT count(*) FROM run_words") == 0
        assert not migration.done()
    await migration
    assert await runner.at_head(in_use)
    await reader.close()


async def test_an_index_that_a_broken_build_left_is_built_anew(in_use: str) -> None:
    await upgraded(in_use, BEFORE_INDEX)
    async with long_transaction(in_use, "LOCK TABLE transcript IN ROW EXCLUSIVE MODE"):
        with pytest.raises(Unavailable, match="is held by session"):
            await runner.upgrade(in_use, BRIEF)
    assert (await indexes(in_use))["transcript_messages"] is False
    await runner.upgrade(in_use)
    built = await indexes(in_use)
    assert all(built.values())
    assert "transcript_messages" in built


async def test_an_index_is_dropped_as_patiently_as_one_is_built(in_use: str) -> None:
    await upgraded(in_use, BEFORE_DROP)
    watcher = await asyncpg.connect(**driver_arguments(in_use))
    async with long_transaction(in_use, "LOCK TABLE approvals IN ACCESS SHARE MODE"):
        migration = asyncio.create_task(runner.upgrade(in_use, Patience(lock_seconds=0.05, build_seconds=60, tries=1)))
        async with asyncio.timeout(60):
            while not migration.done() and not await watcher.fetchval(DROPPING):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.005)
        assert not migration.done()
    await migration
    await watcher.close()


async def test_rows_are_written_while_an_index_is_built(in_use: str) -> None:
    await upgraded(in_use, BEFORE_INDEX)
    writer = await asyncpg.connect(**driver_arguments(in_use))
    async with long_transaction(in_use, "LOCK TABLE transcript IN ROW EXCLUSIVE MODE") as session:
        migration = asyncio.create_task(runner.upgrade(in_use, Patience(build_seconds=60)))
        await waiting(session, migration.done)
        async with asyncio.timeout(60), writer.transaction():
            await writer.execute("LOCK TABLE transcript IN ROW EXCLUSIVE MODE")
        assert not migration.done()
    await migration
    await writer.close()


APPEND = """
INSERT INTO audit_events (tenant_id, audit_id, actor_id, channel, action, resource_type, resource_id, outcome, details,
                          at)
VALUES (current_setting('app.tenant_id'), $1, 'ada', 'api', 'run.pause', 'run', 'r', 'allowed', '{}', now())
"""
SEAL = """
INSERT INTO audit_chain (tenant_id, seq, audit_id, hash)
VALUES (current_setting('app.tenant_id'), $2, $1, repeat('a', 64))
"""
CHAIN_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('audit:' || current_setting('app.tenant_id'), 0))"


@asynccontextmanager
async def log_of(url: str, tenant: str) -> AsyncIterator[asyncpg.Connection]:
    """A session that writes to the audit log of a new tenant."""
    connection = await asyncpg.connect(**driver_arguments(url), command_timeout=60)
    await connection.execute("SELECT set_config('app.tenant_id', $1, false)", tenant)
    await connection.execute(
        "INSERT INTO tenants (tenant_id, name, status, settings, metadata, created_at, updated_at) "
        "VALUES ($1, 'x', 'active', '{}', '{}', now(), now())",
        tenant,
    )
    yield connection
    await connection.close()


async def queued(connection: asyncpg.Connection) -> list[str]:
    return [row["audit_id"].hex[-1] for row in await connection.fetch("SELECT audit_id FROM audit_unsealed ORDER BY 1")]


async def test_logs_are_appended_to_and_sealed_while_the_queue_of_unsealed_events_is_filled(in_use: str) -> None:
    await upgraded(in_use, BEFORE_QUEUE)
    one, two, three, four = (UUID(int=number) for number in range(1, 5))
    async with log_of(in_use, "acme") as acme, log_of(in_use, "globex") as globex:
        for log in (acme, globex):
            await log.execute(APPEND, one)
            await log.execute(APPEND, two)
        await acme.execute(SEAL, one, 1)
        # Broken off when it is about to look at the logs, it has made the queue: which notes what comes from here on.
        async with long_transaction(in_use, "LOCK TABLE tenants IN ACCESS EXCLUSIVE MODE"):
            with pytest.raises(Unavailable, match="the table tenants is held"):
                await runner.upgrade(in_use, BRIEF)
        for log in (acme, globex):
            await log.execute(APPEND, three)
            assert await queued(log) == ["3"]
        async with acme.transaction():
            await acme.execute(CHAIN_LOCK)
            await acme.execute(SEAL, two, 2)
            # It looks, sees what is not sealed yet, and then waits for this sealer: nobody waits for it.
            migration = asyncio.create_task(runner.upgrade(in_use, Patience(build_seconds=60, tries=1)))
            await waiting(globex, migration.done)
            await globex.execute(SEAL, one, 1)
            for log in (acme, globex):
                await log.execute(APPEND, four)
            assert not migration.done()
        await migration
        assert (await queued(acme), await queued(globex)) == (["3", "4"], ["2", "3", "4"])


ASK = """
INSERT INTO approvals (tenant_id, request_id, step, call, request_type, resource_type, resource_id, requester_id,
                       title, payload, content_hash, terms, status, opened_at, description, current_hash, for_run,
                       roles, people, acted)
SELECT current_setting('app.tenant_id'), gen_random_uuid(), 0, 0, 'agent_publish', 'agent', 'a', 'ada', 't', '{}', 'h',
       '{}', status, now(), '', 'h', false, '{}', '{}', 0
FROM unnest(ARRAY['pending', 'approved']) status
"""
# Not by pg_stat_activity: within a transaction it stays as it was at the first look.
HOLDS = "SELECT count(*) FROM pg_locks WHERE NOT granted AND $1 = ANY (pg_blocking_pids(pid))"
READERS = "SELECT reader, status FROM approval_readers ORDER BY status"


async def held_up(watcher: asyncpg.Connection, holder: asyncpg.Connection, migration: "asyncio.Task[None]") -> None:
    """Waits until a migration waits for a session, or has ended."""
    async with asyncio.timeout(60):
        while not migration.done() and not await watcher.fetchval(HOLDS, holder.get_server_pid()):  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_requests_are_closed_and_erased_while_the_index_of_their_readers_is_filled(in_use: str) -> None:
    await upgraded(in_use, BEFORE_READERS)
    async with log_of(in_use, "acme") as acme, log_of(in_use, "globex") as globex:
        for session in (acme, globex):
            await session.execute(ASK)
        async with globex.transaction():
            async with acme.transaction():
                await acme.execute("SELECT FROM approvals WHERE status = 'pending' FOR UPDATE")
                migration = asyncio.create_task(runner.upgrade(in_use, Patience(build_seconds=60, tries=1)))
                await held_up(globex, acme, migration)
                # The trigger is there, and what it takes out is not in yet.
                await globex.execute("DELETE FROM approvals WHERE status = 'approved'")
                await acme.execute("UPDATE approvals SET status = 'rejected' WHERE status = 'pending'")
            await held_up(acme, globex, migration)
        await migration
        assert [tuple(row) for row in await globex.fetch(READERS)] == [("requester:ada", "pending")]
        statuses = ["approved", "rejected"]
        assert [tuple(row) for row in await acme.fetch(READERS)] == [("requester:ada", status) for status in statuses]


async def test_processes_that_start_at_once_migrate_one_after_the_other(in_use: str) -> None:
    """None waits within a transaction: the index that another builds concurrently would wait for it for ever."""
    async with asyncio.timeout(120):
        await asyncio.gather(*(runner.upgrade(in_use, Patience(build_seconds=60)) for _ in range(3)))
    assert await runner.at_head(in_use)
    assert all((await indexes(in_use)).values())


async def test_a_migration_that_fails_otherwise_is_not_tried_again(
    in_use: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[Any] = []

    def failing(connection: sa.Connection, _patience: Patience) -> None:
        tried.append(connection)
        connection.execute(sa.text("SELECT 1 / 0"))

    monkeypatch.setattr(runner, "_upgrade", failing)
    with pytest.raises(Unavailable) as refused:
        await runner.upgrade(in_use, BRIEF)
    assert refused.value.code == "migration_failed"
    assert len(tried) == 1
