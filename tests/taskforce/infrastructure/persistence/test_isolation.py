"""No tenant sees, or touches, another's rows, whatever happens to the transactions around."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from models.tables.metadata import METADATA
from taskforce.core.domain.approvals.approval import ApprovalStatus
from taskforce.core.domain.audit.events import AuditEvent
from taskforce.core.domain.errors import Unavailable
from taskforce.core.domain.runs.run import FINAL, Ending, RunSpec, RunStatus
from taskforce.core.interfaces.due_rows import DueKind
from taskforce.infrastructure.persistence.database import Database
from taskforce.infrastructure.persistence.sqlstates import StatementError
from taskforce.infrastructure.persistence.tenant_records import TenantRecords
from tests.fixtures import stack as stacks
from tests.taskforce.infrastructure.persistence.factories import NOW, SECOND, queued, request, settled, spec

TABLES = sorted(METADATA.tables)
OPEN_RUN = set(RunStatus) - FINAL
SETTING = sa.text(
    "SELECT coalesce(current_setting('app.tenant_id', true), '') || current_setting('app.platform', true)"
)


@pytest.fixture
async def narrow(postgres: stacks.DatabaseUrls) -> AsyncIterator[Database]:
    """Two connections for everybody."""
    door = Database(postgres.app, pool_size=2)
    yield door
    await door.close()


@pytest.fixture
async def bare(postgres: stacks.DatabaseUrls) -> AsyncIterator[AsyncEngine]:
    """The application's role without the door: what an injected statement could do."""
    engine = create_async_engine(postgres.app)
    yield engine
    await engine.dispose()


class Trouble(Exception):
    """Raised within a transaction."""


@dataclass
class Crowd:
    """Many tenants, each with one run, who look at what they see."""

    door: Database
    asked: Mapping[str, RunSpec]
    chance: random.Random = field(default_factory=lambda: random.Random(1))

    async def glance(self) -> None:
        mine, other = self.chance.sample(list(self.asked), 2)
        if self.chance.random() < 0.3:
            await self.look(mine, other)
            return
        async with self.door.tenant(mine) as records:
            seen = await records.users._connection.all(sa.text("SELECT tenant_id, run_id FROM runs"))
            assert [tuple(row) for row in seen] == [(mine, self.asked[mine].run_id)]
            if self.chance.random() < 0.1:
                assert await records.runs.get(self.asked[other].run_id) is None
            await self.stumble(records)

    async def look(self, mine: str, other: str) -> None:
        async with self.door.reading(mine) as records:
            assert await records.runs.get(self.asked[other].run_id) is None
            run = await records.runs.get(self.asked[mine].run_id)
            assert run is not None
            assert (run.spec.tenant_id, run.spec.run_id) == (mine, self.asked[mine].run_id)

    async def stumble(self, records: TenantRecords) -> None:
        if self.chance.random() < 0.05:
            await records.audit.append(AuditEvent("nobody", "x", "y", "z", "allowed", NOW))
            raise Trouble
        if self.chance.random() < 0.05:
            await records.users._connection.value(sa.text("SELECT no_such_column"))

    async def fate(self) -> str:
        """How one transaction ends; some are cancelled, wherever they are."""
        task = asyncio.create_task(self.glance())
        if self.chance.random() < 0.05:
            for _ in range(self.chance.randrange(12)):
                await asyncio.sleep(0)
            task.cancel()
        try:
            await task
        except (Trouble, StatementError, asyncio.CancelledError) as error:
            return type(error).__name__
        return "passed"


async def test_interleaved_transactions_of_many_tenants_see_their_own_rows_only(narrow: Database, tenant: str) -> None:
    """Ten thousand on two connections, of which some fail, some raise and some are cancelled."""
    crowd = Crowd(narrow, {name: await queued(narrow, name) for name in (f"{tenant}-{number}" for number in range(25))})
    fates = Counter[str]()

    async def look(times: int) -> None:
        for _ in range(times):
            fates[await crowd.fate()] += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(look(500))
    assert fates.total() == 10_000
    assert min(fates[name] for name in ("Trouble", "StatementError", "CancelledError")) > 200, fates
    for name in crowd.asked:
        async with narrow.tenant(name) as records:
            assert await records.users._connection.value(sa.text("SELECT count(*) FROM audit_events")) == 0


@pytest.mark.parametrize("table", TABLES)
async def test_without_a_tenant_there_are_no_rows(
    database: Database, bare: AsyncEngine, tenant: str, table: str
) -> None:
    await queued(database, tenant)
    async with bare.begin() as connection:
        assert (await connection.execute(sa.text(f"SELECT count(*) FROM {table}"))).scalar_one() == 0


async def test_without_a_tenant_nothing_can_be_written(bare: AsyncEngine, tenant: str) -> None:
    values = {"tenant": tenant, "now": NOW}
    insert = sa.text("INSERT INTO tenants VALUES (:tenant, 'x', '{}', :now, 'active', '{}', :now)")
    with pytest.raises(DBAPIError, match="row-level security"):
        async with bare.begin() as connection:
            await connection.execute(insert, values)


async def test_an_empty_or_odd_tenant_is_nobody(database: Database, tenant: str) -> None:
    await queued(database, tenant)
    for odd in ("", " ", "%", f"{tenant} ", f"' OR tenant_id = '{tenant}"):
        async with database.tenant(odd) as records:
            assert await records.users._connection.value(sa.text("SELECT count(*) FROM runs")) == 0


async def test_nobody_writes_as_another_tenant(database: Database, tenant: str) -> None:
    mine, other = f"{tenant}-a", f"{tenant}-b"
    await settled(database, mine)
    theirs = await queued(database, other)

    async def ask_as_another() -> None:
        async with database.tenant(mine) as records:
            records.runs._tenant_id = other
            await records.runs.add(spec(other))

    with pytest.raises(StatementError, match="row-level security"):
        await ask_as_another()
    with pytest.raises(StatementError, match="row-level security"):
        async with database.tenant(mine) as records:
            await records.users._connection.change(
                sa.text("UPDATE users SET tenant_id = :other, user_id = 'mallory'"), {"other": other}
            )
    async with database.tenant(mine) as records:
        changed = await records.users._connection.change(
            sa.text("UPDATE runs SET mission = 'stolen' WHERE run_id = :run"), {"run": theirs.run_id}
        )
        assert changed == 0


async def test_a_row_cannot_hang_on_another_tenants_run(database: Database, tenant: str) -> None:
    mine, other = f"{tenant}-a", f"{tenant}-b"
    await settled(database, mine)
    theirs = await queued(database, other)
    with pytest.raises(StatementError, match="foreign key"):
        async with database.tenant(mine) as records:
            await records.effects.begin(theirs.run_id, 1, 1, "pay", NOW)


@pytest.mark.parametrize("table", ["transcript", "audit_events", "approval_decisions", "usage_records", "run_events"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET at = now()", "DELETE FROM {}", "TRUNCATE {}"])
async def test_what_is_written_once_stays(database: Database, tenant: str, table: str, statement: str) -> None:
    with pytest.raises(StatementError, match="permission denied"):
        async with database.tenant(tenant) as records:
            await records.users._connection.change(sa.text(statement.format(table)))


async def leftover(door: Database) -> str:
    async with door._transaction("", "BEGIN") as connection:
        return str(await connection.value(SETTING) or "")


@pytest.fixture
async def single(postgres: stacks.DatabaseUrls) -> AsyncIterator[Database]:
    """One connection, so that the next transaction surely has it."""
    door = Database(postgres.app, pool_size=1)
    yield door
    await door.close()


async def test_the_tenant_ends_with_its_commit(single: Database, tenant: str) -> None:
    async with single.tenant(tenant):
        pass
    assert await leftover(single) == ""
    await single.due_tenants(DueKind.RUN_START, NOW, "", 1)
    assert await leftover(single) == ""


async def test_the_tenant_ends_with_a_rollback_and_nothing_is_kept(single: Database, tenant: str) -> None:
    await settled(single, tenant)
    asked = spec(tenant)

    async def fail() -> None:
        async with single.tenant(tenant) as records:
            await records.runs.add(asked)
            raise Trouble

    with pytest.raises(Trouble):
        await fail()
    assert await leftover(single) == ""
    async with single.tenant(tenant) as records:
        assert await records.runs.get(asked.run_id) is None


async def test_the_tenant_ends_with_an_error_of_the_database(single: Database, tenant: str) -> None:
    with pytest.raises(StatementError):
        async with single.tenant(tenant) as records:
            await records.users._connection.value(sa.text("SELECT no_such_column"))
    assert await leftover(single) == ""


@pytest.mark.parametrize("statement", ["SELECT pg_sleep(60)", "SELECT 1"])
async def test_the_tenant_ends_with_a_cancellation(single: Database, tenant: str, statement: str) -> None:
    inside = asyncio.Event()

    async def work() -> None:
        async with single.tenant(tenant) as records:
            inside.set()
            await records.users._connection.value(sa.text(statement))
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await leftover(single) == ""


async def test_the_platform_door_sees_tenants_and_what_is_open_only(
    database: Database, bare: AsyncEngine, tenant: str
) -> None:
    waiting, begun, ended = [await queued(database, f"{tenant}-{name}") for name in ("a", "b", "c")]
    for one in (begun, ended):
        async with database.tenant(one.tenant_id) as records:
            await records.runs.begin(one.run_id, "run.started", NOW)
    async with database.tenant(ended.tenant_id) as records:
        await records.runs.close(ended.run_id, Ending(RunStatus.FAILED), None, NOW)
    filed = [replace(request(waiting.run_id), run_id=None) for _ in range(3)]
    async with database.tenant(waiting.tenant_id) as records:
        for asked in (*filed, request(waiting.run_id)):
            await records.requests.add(asked)
        await records.requests.start(filed[1].approval.request_id, NOW)
        await records.requests.close(filed[2].approval.request_id, ApprovalStatus.WITHDRAWN, "", NOW)
    all_three = [one.tenant_id for one in (waiting, begun, ended)]
    found = {kind: list(await database.due_among(kind, NOW + SECOND, all_three)) for kind in DueKind}
    assert {kind: tenants for kind, tenants in found.items() if tenants} == {
        DueKind.RUN_START: [waiting.tenant_id],
        DueKind.RUN_CHECK: [begun.tenant_id],
        DueKind.REQUEST_START: [waiting.tenant_id],
        DueKind.REQUEST_CHECK: [waiting.tenant_id],
    }
    assert await database.due_among(DueKind.REQUEST_START, NOW, all_three) == []
    async with bare.begin() as connection:
        await connection.execute(sa.text("SELECT set_config('app.platform', 'on', true)"))
        counted = {
            table: (await connection.execute(sa.text(f"SELECT count(*) FROM {table}"))).scalar_one() for table in TABLES
        }
        statuses = await connection.execute(sa.text("SELECT DISTINCT status FROM runs"))
        assert {"queued", "running"} <= {row.status for row in statuses} <= {status.value for status in OPEN_RUN}
        others = "SELECT count(*) FROM approvals WHERE status <> 'pending'"
        assert (await connection.execute(sa.text(others))).scalar_one() == 0
        told = "SELECT count(*) FROM run_words WHERE told_at IS NOT NULL"
        assert (await connection.execute(sa.text(told))).scalar_one() == 0
        summed = "SELECT count(*) FROM usage_records WHERE rolled_up"
        assert (await connection.execute(sa.text(summed))).scalar_one() == 0
    seen = {table for table, count in counted.items() if count}
    readable = {"tenants", "runs", "run_words", "approvals", "api_keys", "tenant_deletions", "tenant_deletion_phases"}
    looked_for = {"webhook_deliveries", "audit_unsealed", "kill_switches", "usage_records", "budgets", "budget_ledgers"}
    assert {"tenants", "runs", "approvals"} <= seen <= readable | looked_for


async def test_the_platform_door_writes_nothing_of_a_tenant(database: Database, bare: AsyncEngine, tenant: str) -> None:
    asked = await queued(database, tenant)
    async with bare.begin() as connection:
        await connection.execute(sa.text("SELECT set_config('app.platform', 'on', true)"))
        changed = await connection.execute(sa.text("UPDATE runs SET status = 'failed'"))
        assert changed.rowcount == 0
    insert = "INSERT INTO sessions SELECT :tenant, 'stolen', 'alice', now() FROM set_config('app.platform', 'on', true)"
    with pytest.raises(DBAPIError, match="row-level security"):
        async with bare.begin() as connection:
            await connection.execute(sa.text(insert), {"tenant": asked.tenant_id})


async def test_the_process_refuses_a_role_that_could_see_past_the_walls(postgres: stacks.DatabaseUrls) -> None:
    for url in (postgres.owner, postgres.admin):
        door = Database(url, pool_size=1)
        with pytest.raises(Unavailable) as refused:
            await door.check()
        assert refused.value.code == "database_role_unsafe"
        await door.close()


async def test_the_applications_role_passes(database: Database) -> None:
    await database.check()
    await database.ping()


TOLD = sa.text("SELECT current_setting('app.tenant_id') || coalesce(current_setting('app.platform', true), '')")
NAMES = (
    "'", "''", "\\", "\\'", "\\\\'", "'; SET app.platform = 'on'; --", "\\'; SELECT 1; --", "a\nb", "\\000", "\\x27",
    "é😀", "$$", "', true), set_config('app.platform', 'on', true); --", "/*", "--", "%s", ":x", "$1",
)  # fmt: skip


@pytest.mark.parametrize("conforming", ["on", "off"])
async def test_whatever_a_tenant_is_called_its_name_is_a_text_and_no_statement(
    postgres: stacks.DatabaseUrls, conforming: str
) -> None:
    """With either reading of backslashes in plain texts, which a server or a role may be set to."""
    door = Database(postgres.app, pool_size=1)
    door._where["server_settings"] = {"standard_conforming_strings": conforming}
    for name in NAMES:
        async with door.tenant(name) as records:
            connection = records.users._connection
            assert await connection.value(sa.text("SHOW standard_conforming_strings")) == conforming
            assert await connection.value(TOLD) == name
    await door.close()


async def test_a_look_reads_its_own_tenants_rows_and_leaves_no_tenant_behind(database: Database, tenant: str) -> None:
    asked = await queued(database, tenant)
    async with database.reading(tenant) as records:
        found = await records.runs.get(asked.run_id)
        left = await records.runs._connection._driver.fetchval(str(SETTING))
    assert found is not None
    assert (found.spec.run_id, left) == (asked.run_id, "")
    async with database.reading(f"{tenant}-b") as records:
        assert await records.runs.get(asked.run_id) is None


@pytest.mark.parametrize("setting", ["force_generic_plan", "force_custom_plan"])
async def test_a_look_sets_the_tenant_before_it_looks_whatever_plan_is_made(
    narrow: Database, tenant: str, setting: str
) -> None:
    asked = await queued(narrow, tenant)
    async with narrow.reading(tenant) as records:
        driver = records.runs._connection._driver
        await driver.execute(f"SET plan_cache_mode = {setting}")
        for _ in range(8):
            assert await records.runs.get(asked.run_id) is not None
            assert (await records.users.principal("alice"))[0] is not None
            assert await records.transcripts.latest(asked.run_id, 0, 10) == []
        await driver.execute("RESET plan_cache_mode")


async def test_a_look_changes_nothing_and_locks_nothing(database: Database, tenant: str) -> None:
    asked = await queued(database, tenant)
    async with database.reading(tenant) as records:
        for write in (
            records.runs.set_status(asked.run_id, RunStatus.FAILED, None),
            records.events.append(asked.run_id, "x", {}, NOW),
        ):
            with pytest.raises(TypeError, match="changes nothing"):
                await write
        for lock in (records.runs.locked(asked.run_id), records.users.locked("alice"), records.runs.open_runs()):
            with pytest.raises(TypeError, match="locks nothing"):
                await lock
