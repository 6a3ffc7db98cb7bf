"""What a long run holds is found by its index, not by reading its transcript, also where there is nothing to find."""

from collections.abc import Callable, Coroutine
from typing import Any

import asyncpg
import pytest

from taskforce.core.domain.ids import new_id
from taskforce.infrastructure.config.settings import driver_arguments
from taskforce.infrastructure.persistence.database import Database
from taskforce.infrastructure.persistence.tenant_records import TenantRecords
from tests.fixtures.plans import watched
from tests.fixtures.stack import DatabaseUrls
from tests.taskforce.infrastructure.persistence.factories import NOW, queued

STEPS = 10_000
HEARD = [new_id() for _ in range(6)]
_FILL = """
INSERT INTO transcript (tenant_id, run_id, step, call, kind, text, data, at)
SELECT $1, $2::uuid, step, 0, 'reply', '', '{"tool_calls": [["c", "echo", "{}"]]}'::jsonb, $3::timestamptz
FROM generate_series(1, $4::integer) step
UNION ALL
SELECT $1, $2::uuid, step, 1, 'observation', 'ok', '{"tool": "echo", "status": "succeeded"}'::jsonb, $3::timestamptz
FROM generate_series(1, $4::integer) step
UNION ALL
SELECT $1, $2::uuid, place * 1000, -1, 'word', 'Hurry.', jsonb_build_object('author_id', 'alice', 'word_id', word_id),
       $3::timestamptz
FROM unnest($5::text[]) WITH ORDINALITY AS heard(word_id, place)
"""
Look = Callable[[TenantRecords, str], Coroutine[Any, Any, Any]]


async def before(records: TenantRecords, run_id: str) -> Any:
    return await records.transcripts.words_before(run_id, STEPS, [HEARD[0], HEARD[-1], new_id()])


async def unheard(records: TenantRecords, run_id: str) -> Any:
    return await records.messages.unheard(run_id, 10)


async def heard(records: TenantRecords, run_id: str) -> Any:
    return await records.transcripts.heard(run_id, HEARD[3]), await records.transcripts.heard(run_id, new_id())


async def last_reply(records: TenantRecords, run_id: str) -> Any:
    return await records.transcripts.last_reply(run_id)


async def last_plan(records: TenantRecords, run_id: str) -> Any:
    return await records.transcripts.last_plan(run_id)


@pytest.mark.parametrize(
    ("look", "found", "index"),
    [
        (before, frozenset({HEARD[0], HEARD[-1]}), "transcript_messages"),
        (unheard, [], "transcript_messages"),
        (heard, (True, False), "transcript_messages"),
        (last_reply, None, "transcript_texts"),
        (last_plan, None, "transcript_plans"),
    ],
)
async def test_what_is_in_ten_thousand_steps_is_found_by_its_index(
    database: Database, postgres: DatabaseUrls, tenant: str, look: Look, found: object, index: str
) -> None:
    run_id = (await queued(database, tenant)).run_id
    admin = await asyncpg.connect(**driver_arguments(postgres.admin))
    try:
        await admin.execute(_FILL, tenant, run_id, NOW, STEPS, HEARD)
        async with database.tenant(tenant) as records:
            for message_id in HEARD:
                await records.messages.add(run_id, message_id, "alice", "Hurry.", NOW)
        await admin.execute("ANALYZE transcript")
        await admin.execute("ANALYZE run_words")
        async with database.tenant(tenant) as records, watched(records) as statements:
            assert await look(records, run_id) == found
            plans = await statements.plans()
    finally:
        await admin.execute("DELETE FROM transcript WHERE tenant_id = $1", tenant)
        await admin.close()
    for plan in plans:
        assert index in plan.indexes
        assert plan.read_whole <= {"run_words"}
        assert plan.visited <= STEPS / 20
