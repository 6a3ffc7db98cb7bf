"""`kill -9` of a worker in the middle of erasing a tenant: another goes on where it was, and counts each row once."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from taskforce.core.domain.tenants.deletion import DeletionOrder, Phase
from taskforce.infrastructure.config.settings import driver_arguments
from tests.chaos.invariants import eventually
from tests.chaos.worker_process import Crew
from tests.fixtures.every_table import KEPT_BY_PLATFORM, ROWS, counts, fill, tables
from tests.fixtures.missions import Missions, now

HOME = "platform"
_MORE = """
INSERT INTO usage_records SELECT u.tenant_id, u.run_id, n, u.call, u.attempt, u.part, u.user_id, u.agent_id, u.model,
    u.tool, u.input_tokens, u.output_tokens, u.cached_tokens, u.error_code, u.duration_ms, u.at
FROM usage_records u, generate_series(1001, 1000 + $2) n WHERE u.tenant_id = $1 AND u.step = 1
"""
_BLOCKED = """
SELECT EXISTS (SELECT FROM pg_locks l WHERE NOT l.granted AND pg_backend_pid() = ANY (pg_blocking_pids(l.pid)))
"""
MORE = 4_500
"""More than two transactions erase."""


@pytest.fixture
async def holding(admin_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that keeps rows from being erased."""
    connection = await asyncpg.connect(**driver_arguments(admin_url))
    yield connection
    await connection.close()


@pytest.fixture
async def filled(endangered: Missions, holding: asyncpg.Connection) -> str:
    tenant = f"{endangered.tenant_id}-filled"
    await fill(holding, tenant)
    # All its events are in the chain, and the queue would have them sealed once more.
    await holding.execute("DELETE FROM audit_unsealed WHERE tenant_id = $1", tenant)
    # Its runs have ended, so that nothing is to be cancelled.
    await holding.execute("UPDATE runs SET status = 'completed' WHERE tenant_id = $1", tenant)
    await holding.execute(_MORE, tenant, MORE)
    return tenant


async def test_a_worker_that_is_killed_while_it_erases_is_replaced_and_no_row_is_counted_twice(
    crew: Crew, endangered: Missions, holding: asyncpg.Connection, filled: str
) -> None:
    database, at = endangered.database, now()
    await database.register_tenant(HOME, at)
    async with database.tenant(HOME) as records:
        await records.deletions.begin(DeletionOrder(filled, "pia", at))
    await crew.hire()
    holds = holding.transaction()
    await holds.start()
    # One row of the last table before the runs; all before it goes, in transactions that are committed.
    await holding.execute("SELECT FROM usage_records WHERE tenant_id = $1 AND step = 2 FOR UPDATE", filled)
    await endangered.workflow_client.tenants.start_deletion(filled)

    async def waits() -> bool:
        return bool(await holding.fetchval(_BLOCKED))

    await eventually(waits)
    half_way = await database.deletion(filled)
    assert half_way is not None
    assert half_way.erased["transcript"] == ROWS
    assert "users" not in half_way.erased
    await crew.kill()
    await holds.rollback()
    await crew.hire()

    async def is_done() -> bool:
        report = await database.deletion(filled)
        return report is not None and report.is_done

    await eventually(is_done)
    report = await database.deletion(filled)
    assert report is not None
    expected = dict.fromkeys(set(await tables(holding)) - KEPT_BY_PLATFORM - {"audit_unsealed"}, ROWS)
    assert report.erased == {**expected, "usage_records": ROWS + MORE, "tenants": 1}
    assert [one.phase for one in report.passed] == list(Phase)
    assert set((await counts(holding, filled)).values()) == {0}
