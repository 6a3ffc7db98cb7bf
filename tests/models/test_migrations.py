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
    # Not begun: Alembic makes the transactions, and none for an index that is built concurrently.
    async with engine.connect() as connection:
        result = await connection.run_sync(work)
        await connection.commit()
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


OF_BEFORE = """
SELECT set_config('app.tenant_id', 'acme', true);
INSERT INTO tenants (tenant_id, name, status, settings, metadata, created_at, updated_at)
VALUES ('acme', 'acme', 'active', '{}', '{}', now(), now());
INSERT INTO users (tenant_id, user_id, username, active, granted_roles, claimed_roles, attributes, created_at,
                   updated_at, kind)
VALUES ('acme', 'svc', 'svc', true, '{}', '{}', '{}', now(), now(), 'service');
INSERT INTO api_keys (tenant_id, key_id, user_id, name, prefix, hash, roles, metadata, created_by, created_at,
                      expires_at)
SELECT 'acme', key_id::uuid, 'svc', 'ci', 'tf_', md5(key_id) || md5(key_id), '{}', '{}', 'ada', now(), now()
FROM unnest(ARRAY['00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000002']) key_id;
INSERT INTO audit_events (tenant_id, audit_id, actor_id, channel, action, resource_type, resource_id, outcome, details,
                          at, key_id)
VALUES ('acme', '00000000-0000-7000-8000-00000000000a', 'ada', 'api', 'user.create', 'user', 'svc', 'allowed', '{}',
        now(), NULL),
       ('acme', '00000000-0000-7000-8000-00000000000b', 'ada', 'api', 'api_key.create', 'api_key',
        '00000000-0000-7000-8000-000000000001', 'allowed', '{}', now(), NULL),
       ('acme', '00000000-0000-7000-8000-00000000000c', 'ada', 'api', 'api_key.create', 'api_key',
        '00000000-0000-7000-8000-000000000002', 'allowed', '{}', now(), '00000000-0000-7000-8000-000000000001')
"""


async def test_who_made_what_before_it_was_recorded_is_taken_from_the_log(empty: str) -> None:
    def before(connection: sa.Connection) -> None:
        command.upgrade(config(connection), "0017")
        for statement in OF_BEFORE.split(";"):
            connection.execute(sa.text(statement))

    def after(connection: sa.Connection) -> tuple[list[Any], list[Any]]:
        connection.execute(sa.text("SELECT set_config('app.tenant_id', 'acme', true)"))
        issued = sa.text("SELECT created_by_key::text FROM api_keys ORDER BY key_id")
        made = sa.text("SELECT user_id, given_by, role_id, key_id FROM access_grants")
        return [row[0] for row in connection.execute(issued)], [tuple(row) for row in connection.execute(made)]

    await with_connection(empty, before)
    await runner.upgrade(empty)
    first = "00000000-0000-7000-8000-000000000001"
    assert await with_connection(empty, after) == ([None, first], [("svc", "ada", None, None)])


LOG_OF_BEFORE = """
SELECT set_config('app.tenant_id', '{0}', true);
INSERT INTO tenants (tenant_id, name, status, settings, metadata, created_at, updated_at)
VALUES ('{0}', 'x', 'active', '{{}}', '{{}}', now(), now());
INSERT INTO audit_events (tenant_id, audit_id, actor_id, channel, action, resource_type, resource_id, outcome, details,
                          at)
SELECT '{0}', lpad(n::text, 32, '0')::uuid, 'ada', 'api', 'run.pause', 'run', 'r', 'allowed', '{{}}',
       now() - n * interval '1 day' FROM generate_series(0, 9) n;
INSERT INTO audit_chain (tenant_id, seq, audit_id, hash)
SELECT '{0}', row_number() OVER (), audit_id, repeat('a', 64) FROM audit_events WHERE audit_id::text ~ '[1-7]$'
"""


async def test_what_is_unsealed_before_the_queue_is_sealed_after_it(empty: str) -> None:
    def before(connection: sa.Connection) -> None:
        command.upgrade(config(connection), "0023")
        for tenant in ("acme", "globex"):
            for statement in LOG_OF_BEFORE.format(tenant).split(";"):
                connection.execute(sa.text(statement))

    def queued(connection: sa.Connection) -> list[str]:
        connection.execute(sa.text("SELECT set_config('app.platform', 'on', true)"))
        found = connection.execute(sa.text("SELECT tenant_id, audit_id::text FROM audit_unsealed ORDER BY 1, at"))
        return [f"{row[0]} {row[1][-1]}" for row in found]

    await with_connection(empty, before)
    await runner.upgrade(empty)
    assert await with_connection(empty, queued) == [f"{name} {n}" for name in ("acme", "globex") for n in (9, 8, 0)]


REQUESTS = """
INSERT INTO approvals (tenant_id, request_id, step, call, request_type, resource_type, resource_id, requester_id,
                       title, payload, content_hash, terms, status, opened_at, description, current_hash, for_run,
                       roles, people, acted)
SELECT '{tenant}', ('00000000-0000-7000-8000-00000000000' || n)::uuid, 0, 0, 'agent_publish', 'agent', 'a', 'ada', 't',
       '{{}}', 'h', '{{}}', CASE WHEN n = 1 THEN 'pending' ELSE 'approved' END, now(), '', 'h', false,
       ARRAY['boss', 'boss'], CASE WHEN n = 1 THEN ARRAY['bob'] ELSE ARRAY[]::text[] END, 0
FROM generate_series(1, 2) n
"""


async def test_requests_of_before_are_found_by_those_whom_they_concern(empty: str) -> None:
    def before(connection: sa.Connection) -> None:
        command.upgrade(config(connection), "0040")
        for tenant in ("acme", "globex"):
            for statement in (*LOG_OF_BEFORE.format(tenant).split(";")[:2], REQUESTS.format(tenant=tenant)):
                connection.execute(sa.text(statement))

    def readers(connection: sa.Connection) -> list[str]:
        found: list[str] = []
        for tenant in ("acme", "globex"):
            connection.execute(sa.text(f"SELECT set_config('app.tenant_id', '{tenant}', true)"))
            rows = connection.execute(
                sa.text("SELECT reader, status, request_id::text FROM approval_readers ORDER BY 3, 1")
            )
            found += [f"{tenant} {row[0]} {row[1]} {row[2][-1]}" for row in rows]
        return found

    await with_connection(empty, before)
    await runner.upgrade(empty)
    assert await with_connection(empty, readers) == [
        f"{tenant} {row}"
        for tenant in ("acme", "globex")
        for row in (
            *("requester:ada pending 1", "role:boss pending 1", "user:bob pending 1"),
            *("requester:ada approved 2", "role:boss approved 2"),
        )
    ]


USAGE = """
INSERT INTO usage_records (tenant_id, run_id, step, call, attempt, part, user_id, agent_id, {model}, input_tokens,
                           output_tokens, cached_tokens, duration_ms, at)
VALUES ('{tenant}', '00000000-0000-7000-8000-000000000001', {step}, 0, 1, 0, 'ada', 'a', 'x', 1, 1, 0, 1, now())
"""


async def test_usage_of_before_and_of_old_workers_has_its_kind(empty: str) -> None:
    def add(connection: sa.Connection, step: int) -> None:
        for tenant in ("acme", "globex"):
            connection.execute(sa.text(f"SELECT set_config('app.tenant_id', '{tenant}', true)"))
            for place, model in enumerate(("model", "tool")):
                connection.execute(sa.text(USAGE.format(tenant=tenant, model=model, step=step + place)))

    def before(connection: sa.Connection) -> None:
        command.upgrade(config(connection), "0032")
        for tenant in ("acme", "globex"):
            for statement in LOG_OF_BEFORE.format(tenant).split(";")[:2]:
                connection.execute(sa.text(statement))
        add(connection, 1)

    def kinds(connection: sa.Connection) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        for tenant in ("acme", "globex"):
            connection.execute(sa.text(f"SELECT set_config('app.tenant_id', '{tenant}', true)"))
            rows = connection.execute(
                sa.text("SELECT tenant_id, kind FROM usage_records WHERE NOT rolled_up ORDER BY step")
            )
            found += [tuple(row) for row in rows]
        return found

    await with_connection(empty, before)
    await runner.upgrade(empty)
    await with_connection(empty, lambda connection: add(connection, 3))
    assert await with_connection(empty, kinds) == [
        (tenant, kind) for tenant in ("acme", "globex") for kind in ("model", "tool") * 2
    ]


ROUTINES = """
SELECT p.oid::regprocedure::text, pg_get_functiondef(p.oid), p.proacl::text FROM pg_proc p
WHERE p.pronamespace = 'public'::regnamespace AND p.prokind = 'f'
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
ORDER BY 1
"""
SUMS_OF_DAYS = """
SELECT coalesce(sum(d.records), 0)::integer, (SELECT t.usage_days_since::text FROM tenants t) FROM usage_days d
"""


async def test_days_of_before_are_made_by_rollups_and_taken_back_they_leave_nothing(empty: str) -> None:
    def before(connection: sa.Connection) -> list[Any]:
        command.upgrade(config(connection), "0039")
        for statement in LOG_OF_BEFORE.format("acme").split(";")[:2]:
            connection.execute(sa.text(statement))
        for step, model in ((1, "model"), (2, "tool")):
            connection.execute(sa.text(USAGE.format(tenant="acme", model=model, step=step)))
        assert connection.execute(sa.text("SELECT roll_up_usage(10)")).scalar_one() == 2
        return [tuple(row) for row in connection.execute(sa.text(ROUTINES))]

    def followed(connection: sa.Connection) -> list[Any]:
        connection.execute(sa.text("SELECT set_config('app.tenant_id', 'acme', true)"))
        found = [tuple(connection.execute(sa.text(SUMS_OF_DAYS)).one())]
        while connection.execute(sa.text("SELECT follow_usage_zone()")).scalar_one():
            found.append(tuple(connection.execute(sa.text(SUMS_OF_DAYS)).one()))
        return [*found, tuple(connection.execute(sa.text(SUMS_OF_DAYS)).one())]

    def back(connection: sa.Connection) -> list[Any]:
        command.downgrade(config(connection), "0039")
        return [tuple(row) for row in connection.execute(sa.text(ROUTINES))]

    routines = await with_connection(empty, before)
    for _ in range(2):
        await with_connection(empty, lambda connection: command.upgrade(config(connection), "0040"))
        made = await with_connection(empty, followed)
        assert [made[0], made[-1]] == [(0, None), (2, "-infinity")]
        assert len(made) == 4
        assert await with_connection(empty, back) == routines


async def test_the_log_of_a_deleted_tenant_is_kept_for_23_hours_unless_the_owner_says_otherwise(empty: str) -> None:
    await runner.upgrade(empty)
    grace = sa.text("SELECT extract(epoch FROM tenant_log_grace())")
    assert await with_connection(empty, lambda connection: connection.execute(grace).scalar_one()) == 23 * 3_600


async def test_a_migration_that_cannot_run_says_so_by_code(postgres: stacks.DatabaseUrls) -> None:
    with pytest.raises(Unavailable) as refused:
        await runner.upgrade(postgres.app.replace("/tests_", "/no_such_"))
    assert refused.value.code == "migration_failed"
