"""What must be true of a run whatever befell its workers."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import asyncpg

from taskforce.core.domain.errors import Unavailable
from taskforce.core.domain.runs.run import Run
from taskforce.core.domain.runs.transcript import EntryKind
from taskforce.infrastructure.config.settings import driver_arguments
from taskforce.infrastructure.persistence.database import Database
from tests.fixtures.missions import Missions

_SPENT = """
SELECT step, call FROM usage_records
WHERE tenant_id = $1 AND run_id = $2 AND (kind = 'model' AND error_code IS NULL OR kind = 'tool')
"""


async def eventually(true: Callable[[], Awaitable[bool]], seconds: float = 120.0) -> None:
    """Waits until something is true."""
    async with asyncio.timeout(seconds):
        while not await true():  # noqa: ASYNC110 - what is waited for lies in a database or a file
            await asyncio.sleep(0.05)


async def ended(missions: Missions, run_id: str, seconds: float = 240.0) -> Run:
    """Waits for the end of a run with the patience that kills and restarts need; its row is written in its last act."""

    async def is_over() -> bool:
        return (await missions.run(run_id)).status.is_final

    await eventually(is_over, seconds)
    return await missions.run(run_id)


async def answers(database: Database) -> bool:
    """Whether PostgreSQL answers; asking also drops connections that died with its restart."""
    try:
        await database.ping()
    except Unavailable:
        return False
    return True


async def assert_sound(missions: Missions, admin_url: str, run_id: str) -> None:
    """Each step has one reply, each of its calls one observation, and each of them one usage record; no step lacks."""
    entries = await missions.transcript(run_id)
    replies = [entry for entry in entries if entry.kind is EntryKind.REPLY]
    assert [entry.step for entry in replies] == list(range(1, len(replies) + 1))
    wanted = [(entry.step, call) for entry in replies for call in range(1, len(entry.tool_calls) + 1)]
    observed = [(entry.step, entry.call) for entry in entries if entry.kind is EntryKind.OBSERVATION]
    assert sorted(observed) == wanted
    spent = Counter(await _spent(admin_url, missions.tenant_id, run_id))
    assert spent == Counter([(entry.step, 0) for entry in replies] + wanted)


async def _spent(admin_url: str, tenant_id: str, run_id: str) -> list[tuple[int, int]]:
    connection = await asyncpg.connect(**driver_arguments(admin_url))
    try:
        rows = await connection.fetch(_SPENT, tenant_id, run_id)
    finally:
        await connection.close()
    return [(int(row["step"]), int(row["call"])) for row in rows]
