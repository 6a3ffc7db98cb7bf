"""What is committed is sealed once, in order, by whoever looks; and a look costs what is unsealed."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa
import structlog

from taskforce.application.audit import sealing
from taskforce.application.audit.export import begin_export, current_anchor
from taskforce.application.audit.sealing import SEAL_BATCH, seal_all, seal_tenant
from taskforce.application.sweep_leases import Sweep, SweepLeader
from taskforce.core.domain.audit import chain
from taskforce.core.domain.audit.chain import Sealed
from taskforce.core.domain.tenants.tenant import TenantStatus
from taskforce.core.interfaces.store import Records
from taskforce.infrastructure.config.settings import driver_arguments
from taskforce.infrastructure.persistence.database import Database
from taskforce.infrastructure.persistence.tenant_records import TenantRecords
from tests.fixtures import stack as stacks
from tests.fixtures.actors import acting
from tests.fixtures.broken_tenant import Breaking
from tests.fixtures.plans import watched
from tests.taskforce.application.audit.logs import DAY, SECOND, append, paused, verified
from tests.taskforce.application.scenario import NOW

HOUR = 3_600 * SECOND
TENANTS = """
INSERT INTO tenants (tenant_id, name, status, settings, metadata, created_at, updated_at)
SELECT $1 || n, 'x', 'active', '{}', '{}', $2, $2 FROM generate_series(1, $3::int) n
"""
EVENTS = """
INSERT INTO audit_events (tenant_id, audit_id, actor_id, channel, action, resource_type, resource_id, outcome, details,
                          at)
SELECT $1, gen_random_uuid(), 'alice', 'api', 'run.pause', 'run', 'r', 'allowed', '{}',
       $2::timestamptz + n * $3::interval
FROM generate_series(1, $4::int) n
"""


def clock() -> Any:
    return NOW


@pytest.fixture(scope="module")
def platform(stack: stacks.StackAddress, worker_id: str) -> stacks.DatabaseUrls:
    """A database of these tests alone: what is looked at is every tenant that it has."""
    return stacks.own_database(stack, f"sealing_{worker_id}")


@pytest.fixture
async def whole(platform: stacks.DatabaseUrls) -> AsyncIterator[Database]:
    """The platform, with nothing unsealed."""
    database = Database(platform.app)
    await seal_all(database, database, clock)
    yield database
    await database.close()


@pytest.fixture
async def admin(platform: stacks.DatabaseUrls) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(**driver_arguments(platform.admin))
    yield connection
    await connection.close()


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is sent to PostgreSQL by whichever connection; each is one round trip."""
    sent: list[str] = []
    for name in ("execute", "fetch", "fetchrow", "fetchval"):
        monkeypatch.setattr(asyncpg.Connection, name, _noted(sent, getattr(asyncpg.Connection, name)))
    return sent


def _noted(sent: list[str], send: Any) -> Any:
    async def noting(self: asyncpg.Connection, text: str, *arguments: Any, **named: Any) -> Any:
        sent.append(text)
        return await send(self, text, *arguments, **named)

    return noting


async def sealed(database: Database, tenant: str) -> Sequence[Sealed]:
    async with database.tenant(tenant) as records:
        return await records.audit.sealed(0, 10**9, 10**6)


async def unsealed(database: Database, tenant: str) -> int:
    async with database.tenant(tenant) as records:
        return int(await records.users._connection.value(sa.text("SELECT count(*) FROM audit_unsealed")))


class Visited:
    """The door to the data, which notes whose it opened."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.reading, self.counting = database.reading, database.counting
        self.tenants: list[str] = []

    def tenant(self, tenant_id: str) -> AbstractAsyncContextManager[Records]:
        self.tenants.append(tenant_id)
        return self._database.tenant(tenant_id)


class Dying:
    """The door to the data, at which the process dies: a transaction has done its work and is not committed."""

    def __init__(self, database: Database, transactions: int) -> None:
        self._database = database
        self._left = transactions
        self.register_tenant = database.register_tenant

    @asynccontextmanager
    async def tenant(self, tenant_id: str) -> AsyncIterator[TenantRecords]:
        async with self._database.tenant(tenant_id) as records:
            yield records
            await records.users._connection.flush()
            self._left -= 1
            if not self._left:
                raise asyncio.CancelledError


# One tenant


async def test_what_is_committed_is_sealed_once(database: Database, tenant: str) -> None:
    await append(database, tenant, NOW, NOW + SECOND)
    assert [await seal_tenant(database, tenant) for _ in range(2)] == [2, 0]
    anchor, last_at = await current_anchor(database, tenant)
    assert (anchor.seq, last_at) == (2, NOW + SECOND)


async def test_more_than_a_batch_is_sealed_batch_by_batch_and_all_of_one_moment_too(
    database: Database, tenant: str
) -> None:
    await append(database, tenant, *[NOW] * (2 * SEAL_BATCH), *(NOW + number * SECOND for number in range(7)))
    assert await seal_tenant(database, tenant) == 2 * SEAL_BATCH + 7
    assert (await verified(database, tenant)).events == 2 * SEAL_BATCH + 8


async def test_events_stand_in_the_order_of_their_times_and_then_of_their_ids(database: Database, tenant: str) -> None:
    await append(database, tenant, *(NOW + number * 7 % 11 * SECOND for number in range(2 * SEAL_BATCH)))
    await seal_tenant(database, tenant)
    found = [(str(one.event["at"]), str(one.event["audit_id"])) for one in await sealed(database, tenant)]
    assert found == sorted(found)
    assert len(set(found)) == 2 * SEAL_BATCH


@pytest.mark.parametrize("late", [SECOND, HOUR, 30 * DAY])
async def test_an_event_that_is_committed_late_is_sealed_by_the_next_look(
    database: Database, tenant: str, late: Any
) -> None:
    await append(database, tenant, NOW - 60 * DAY)
    async with database.tenant(tenant) as slow:
        await slow.audit.append(paused(NOW - late))
        await slow.users._connection.flush()
        await append(database, tenant, NOW, NOW + DAY)
        assert await seal_tenant(database, tenant) == 3
    assert await seal_tenant(database, tenant) == 1
    assert (await verified(database, tenant)).events == 5


async def test_an_event_whose_transaction_fails_leaves_nothing_to_seal(database: Database, tenant: str) -> None:
    await append(database, tenant)
    dying: Any = Dying(database, 1)
    with pytest.raises(asyncio.CancelledError):
        await append(dying, tenant, NOW)
    assert await unsealed(database, tenant) == await seal_tenant(database, tenant) == 0


async def test_sealers_at_the_same_time_make_one_chain(database: Database, tenant: str) -> None:
    await append(database, tenant, *(NOW + number * SECOND for number in range(SEAL_BATCH + 50)))
    counts = await asyncio.gather(*(seal_tenant(database, tenant) for _ in range(6)))
    assert sum(counts) == SEAL_BATCH + 50
    assert (await verified(database, tenant)).events == SEAL_BATCH + 51


async def test_what_the_owners_function_and_an_administrator_append_is_sealed_too(
    whole: Database, admin: asyncpg.Connection, platform: stacks.DatabaseUrls, tenant: str
) -> None:
    await append(whole, tenant)
    await admin.execute("SELECT set_config('app.tenant_id', $1, false)", tenant)
    await admin.execute("UPDATE tenants SET settings = '{\"ip_allow_list\": []}' WHERE tenant_id = $1", tenant)
    await admin.execute(EVENTS, tenant, NOW, SECOND, 3)
    owner = await asyncpg.connect(**driver_arguments(platform.owner))
    assert await owner.fetchval("SELECT lift_ip_allow_list($1)", tenant)
    await owner.close()
    assert await seal_tenant(whole, tenant) == 4


# All tenants


async def test_a_look_where_nothing_is_unsealed_takes_as_many_statements_for_any_number_of_tenants(
    whole: Database, admin: asyncpg.Connection, tenant: str, statements: list[str]
) -> None:
    counts = []
    for number in (1, 10, 1_000):
        await admin.execute(TENANTS, f"{tenant}-{number}-", NOW, number)
        await append(whole, tenant, NOW)
        await seal_all(whole, whole, clock)
        statements.clear()
        assert await seal_all(whole, whole, clock) == 0
        counts.append(len(statements))
    assert counts == [3, 3, 3]


async def test_only_tenants_with_something_unsealed_are_visited_page_by_page(
    whole: Database, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "TENANTS", 2)
    names = [f"{tenant}-{letter}" for letter in "abcdefg"]
    for name in names:
        await append(whole, name, *[NOW] * 3)
    assert await seal_all(whole, whole, clock) == 21
    for name in names[::2]:
        await append(whole, name, NOW)
    door: Any = Visited(whole)
    assert await seal_all(whole, door, clock) == 4
    assert door.tenants == names[::2]


async def test_a_tenant_with_much_to_seal_is_sealed_in_turn_with_the_others(
    whole: Database, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "SHARE", SEAL_BATCH)
    names = [f"{tenant}-{letter}" for letter in "abc"]
    await append(whole, names[0], *[NOW] * (2 * SEAL_BATCH + 1))
    for name in names[1:]:
        await append(whole, name, NOW)
    door: Any = Visited(whole)
    assert await seal_all(whole, door, clock) == 2 * SEAL_BATCH + 3
    assert door.tenants == [*names, names[0], names[0]]


async def test_a_tenant_whose_sealing_fails_is_told_and_keeps_no_other_waiting(whole: Database, tenant: str) -> None:
    names = [f"{tenant}-{letter}" for letter in "abc"]
    for name in names:
        await append(whole, name, NOW)
    with structlog.testing.capture_logs() as logs:
        assert await seal_all(whole, Breaking(whole, names[1]), clock) == 2
    assert [(line["event"], line["tenant_id"], line["error"]) for line in logs] == [
        ("audit.not_sealed", names[1], "RuntimeError")
    ]
    assert await seal_all(whole, whole, clock) == 1


async def test_the_log_of_a_tenant_that_goes_is_left_to_whoever_deletes_it(
    whole: Database, admin: asyncpg.Connection, tenant: str
) -> None:
    names = [f"{tenant}-{letter}" for letter in "abc"]
    for name in names:
        await append(whole, name, NOW)
    deleting = "UPDATE tenants SET status = $1, runs_until = $2 WHERE tenant_id = $3"
    await admin.execute(deleting, TenantStatus.DELETING.value, None, names[0])
    await admin.execute(deleting, TenantStatus.DELETING.value, NOW + SECOND, names[1])
    assert await seal_all(whole, whole, clock) == 2
    assert await unsealed(whole, names[0]) == 1
    assert await seal_tenant(whole, names[0]) == 1


async def test_a_sealer_that_dies_is_followed_by_another_and_nothing_is_sealed_twice(
    whole: Database, admin: asyncpg.Connection, tenant: str
) -> None:
    await append(whole, tenant)
    await admin.execute("SELECT set_config('app.tenant_id', $1, false)", tenant)
    await admin.execute(EVENTS, tenant, NOW, SECOND, 4 * SEAL_BATCH)
    dying: Any = Dying(whole, 3)
    with pytest.raises(asyncio.CancelledError):
        await seal_all(whole, dying, clock)
    assert (len(await sealed(whole, tenant)), await unsealed(whole, tenant)) == (2 * SEAL_BATCH, 2 * SEAL_BATCH)
    assert await seal_all(whole, whole, clock) == 2 * SEAL_BATCH
    assert (await verified(whole, tenant)).events == 4 * SEAL_BATCH + 1


async def test_the_worker_that_seals_dies_and_another_takes_over(whole: Database, tenant: str) -> None:
    await append(whole, tenant, *[NOW] * (2 * SEAL_BATCH + 1))
    dying: Any = Dying(whole, 2)
    assert await whole.hold_sweeps({"audit.seal"}, "first", HOUR) == {"audit.seal"}
    with pytest.raises(asyncio.CancelledError):
        await seal_all(whole, dying, clock)
    took_over = asyncio.Event()

    async def seal() -> None:
        await seal_all(whole, whole, clock)
        took_over.set()

    leader = SweepLeader(whole, "second", SECOND)
    leading = asyncio.create_task(leader.lead({"audit.seal": Sweep(0.01, seal)}))
    assert await whole.hold_sweeps({"audit.seal"}, "first", SECOND) == {"audit.seal"}
    assert not took_over.is_set()
    async with asyncio.timeout(60):
        await took_over.wait()
    leading.cancel()
    await asyncio.gather(leading, return_exceptions=True)
    assert await unsealed(whole, tenant) == 0
    assert (await verified(whole, tenant)).events == 2 * SEAL_BATCH + 2


async def test_sealers_of_all_tenants_at_the_same_time_seal_each_event_once(whole: Database, tenant: str) -> None:
    names = [f"{tenant}-{number}" for number in range(5)]
    for name in names:
        await append(whole, name, *(NOW + number * SECOND for number in range(40)))
    counts = await asyncio.gather(*(seal_all(whole, whole, clock) for _ in range(4)))
    assert sum(counts) == 200
    assert [(await verified(whole, name)).events for name in names] == [41] * 5


# What a look costs


@pytest.fixture
async def long(whole: Database, admin: asyncpg.Connection, tenant: str) -> AsyncIterator[str]:
    """A tenant with a long sealed log beside one with much to seal, of which the planner knows."""
    for name, number in ((tenant, 5_000), (f"{tenant}-busy", 20_000)):
        await append(whole, name)
        await admin.execute("SELECT set_config('app.tenant_id', $1, false)", name)
        await admin.execute(EVENTS, name, NOW - 30 * DAY, SECOND, number)
    await seal_tenant(whole, tenant)
    for table in ("audit_events", "audit_chain", "audit_unsealed"):
        await admin.execute(f"VACUUM ANALYZE {table}")
    yield tenant
    await admin.execute("DELETE FROM audit_unsealed")


async def test_a_batch_is_found_by_the_queue_and_no_table_is_read_whole(whole: Database, long: str) -> None:
    for name, waiting in ((long, 5), (f"{long}-busy", SEAL_BATCH)):
        await append(whole, name, *[NOW] * 5)
        async with whole.tenant(name) as records, watched(records) as sent:
            await records.audit.sealing()
            assert len(await records.audit.unsealed(None, SEAL_BATCH)) == waiting
            *_, end, batch = await sent.plans()
        assert (batch.read_whole, end.read_whole) == (frozenset(), frozenset())
        assert {"audit_unsealed_pkey", "audit_events_pkey"} <= batch.indexes
        assert batch.pages < 10 * waiting + 30


READ = """
SELECT coalesce(sum(seq_tup_read + idx_tup_fetch), 0)::int AS read FROM pg_stat_xact_user_tables WHERE relname = :name
"""


EMPTY = "UPDATE pg_class SET reltuples = 0, relpages = 90 WHERE relname = 'audit_unsealed'"


@pytest.mark.parametrize("believed", [(EMPTY,), ("ANALYZE audit_unsealed", "ANALYZE audit_events")])
async def test_a_batch_reads_no_more_where_the_planner_knows_nothing_of_what_waits(
    whole: Database, admin: asyncpg.Connection, tenant: str, believed: Sequence[str]
) -> None:
    await admin.execute(TENANTS, f"{tenant}-", NOW, 300)
    for number in range(1, 301):
        await admin.execute("SELECT set_config('app.tenant_id', $1, false)", f"{tenant}-{number}")
        await admin.execute(EVENTS, f"{tenant}-{number}", NOW, SECOND, 10)
    for statement in believed:
        await admin.execute(statement)
    await append(whole, tenant)
    await admin.execute("SELECT set_config('app.tenant_id', $1, false)", tenant)
    await admin.execute(EVENTS, tenant, NOW, SECOND, 40 * SEAL_BATCH)
    if EMPTY in believed:
        await admin.execute(EMPTY)
    async with whole.tenant(tenant) as records:
        before = await records.audit.sealing()
        found = await records.audit.unsealed(None, SEAL_BATCH)
        await records.audit.place(chain.seal(before, [one.event() for one in found])[0])
        read = [
            await records.users._connection.value(sa.text(READ), {"name": name})
            for name in ("audit_unsealed", "audit_events", "audit_chain")
        ]
    assert await unsealed(whole, tenant) == 39 * SEAL_BATCH
    await admin.execute("DELETE FROM audit_unsealed")
    assert max(read) < 5 * SEAL_BATCH


async def test_what_is_sealed_before_an_export_is_what_is_unsealed(
    whole: Database, long: str, statements: list[str]
) -> None:
    await append(whole, long, NOW)
    statements.clear()
    export = await begin_export(whole, acting(long, "vera", NOW), 4_999)
    assert export.end.seq == 5_002
    assert len(statements) < 25


async def test_the_list_of_tenants_takes_one_step_of_an_index_for_each_of_them(
    whole: Database, admin: asyncpg.Connection, tenant: str
) -> None:
    await admin.execute(TENANTS, f"{tenant}-", NOW, 3)
    for number in (1, 2, 3):
        await admin.execute("SELECT set_config('app.tenant_id', $1, false)", f"{tenant}-{number}")
        await admin.execute(EVENTS, f"{tenant}-{number}", NOW, SECOND, 5_000)
    await admin.execute("VACUUM ANALYZE audit_unsealed")
    async with whole._platform("") as records, watched(records) as sent:
        found = await records.unsealed_tenants(None, 200)
        (plan,) = await sent.plans()
    assert [one.tenant_id for one in found] == [f"{tenant}-{number}" for number in (1, 2, 3)]
    assert plan.indexes >= {"audit_unsealed_pkey"}
    assert "audit_unsealed" not in plan.read_whole
    assert plan.pages < 100
