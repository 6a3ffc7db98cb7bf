"""Due rows are found by an index of their kind, whoever has how many; they are claimed by one, and postponed."""

import json
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from taskforce.core.interfaces.due_rows import DueKind
from taskforce.infrastructure.config.settings import driver_arguments
from taskforce.infrastructure.persistence.database import Database
from taskforce.infrastructure.persistence.repositories.due_rows import AMONG, CLAIMED, TENANTS, by_index
from tests.fixtures.plans import Plan, watched
from tests.fixtures.stack import DatabaseUrls
from tests.taskforce.infrastructure.persistence.factories import NOW, SECOND, queued

LATER = NOW + timedelta(minutes=1)
BUSY, QUIET = 4_000, 40
INDEXES = {
    DueKind.RUN_START: "runs_to_start",
    DueKind.RUN_CHECK: "runs_to_check",
    DueKind.RUN_CANCELLATION: "runs_to_cancel_by_tenant",
    DueKind.MESSAGE: "run_words_to_tell",
    DueKind.REQUEST_START: "approvals_to_start",
    DueKind.REQUEST_CHECK: "approvals_to_check",
    DueKind.DELIVERY_START: "webhook_deliveries_to_start",
    DueKind.DELIVERY_CHECK: "webhook_deliveries_to_check",
    DueKind.USAGE: "usage_records_to_roll_up",
}
_FILL = """
WITH run AS (SELECT * FROM runs WHERE tenant_id = $1), made AS (
    SELECT gen_random_uuid() AS id, number FROM generate_series(1, $2::integer) number
), runs_made AS (
    INSERT INTO runs SELECT filled.* FROM run, made, LATERAL jsonb_populate_record(
        NULL::runs, to_jsonb(run) || jsonb_build_object(
            'run_id', made.id,
            'status', (ARRAY['queued', 'running', 'completed', 'waiting'])[number % 4 + 1],
            'cancel_at', CASE WHEN number % 8 = 1 THEN $3::timestamptz END,
            'sweep_at', $3::timestamptz
        )
    ) filled
)
INSERT INTO run_words (tenant_id, run_id, word_id, author_id, text, at, told_at, sweep_at)
    SELECT $1, run.run_id, made.id, 'alice', 'x', $3, CASE WHEN number % 4 > 0 THEN $3::timestamptz END, $3
    FROM run, made
"""
_DELIVER = """
INSERT INTO webhook_deliveries
    (tenant_id, delivery_id, webhook_id, event_id, event, subject, at, created_at, status, sweep_at)
SELECT $1, gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'request_approved', '{}', $3, $3,
       (ARRAY['queued', 'pending', 'delivered', 'failed'])[number % 4 + 1], $3
FROM generate_series(1, $2::integer) number
"""
_ASK = """
INSERT INTO approvals (tenant_id, request_id, step, call, request_type, resource_type, resource_id, requester_id, title,
    payload, content_hash, terms, status, opened_at, description, current_hash, for_run, roles, people, acted,
    started_at, sweep_at)
SELECT $1, gen_random_uuid(), 0, 0, 'custom', 'agent', 'a', 'alice', 't', '{}', 'h', '{}',
    (ARRAY['pending', 'approved'])[number % 2 + 1], $3::timestamptz, '', 'h', false, '{}', '{}', 0,
    CASE WHEN number % 4 = 0 THEN $3::timestamptz END, $3::timestamptz
FROM generate_series(1, $2::integer) number
"""


_USE = """
INSERT INTO usage_records (tenant_id, run_id, step, call, attempt, part, user_id, agent_id, model, input_tokens,
                           output_tokens, cached_tokens, duration_ms, at, kind, rolled_up)
SELECT $1, gen_random_uuid(), 1, 0, 1, 0, 'alice', 'agent', 'm', 1, 1, 0, 1, $3, 'model', number % 4 > 0
FROM generate_series(1, $2::integer) number
"""


@pytest.fixture(scope="module")
async def admin(postgres: DatabaseUrls) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(**driver_arguments(postgres.admin))
    yield connection
    await connection.close()


@pytest.fixture(scope="module")
async def crowd(database: Database, admin: asyncpg.Connection) -> AsyncIterator[list[str]]:
    """A tenant with very many rows of each kind, between others with few."""
    tenants = {f"due-{number:02}": BUSY if number == 5 else 8 for number in range(QUIET)}
    for tenant_id, number in tenants.items():
        await queued(database, tenant_id)
        async with admin.transaction():
            # Triggers write as the schema's owner, whom row-level security holds too.
            await admin.execute("SELECT set_config('app.tenant_id', $1, true)", tenant_id)
            for statement in (_FILL, _DELIVER, _ASK, _USE):
                await admin.execute(statement, tenant_id, number, NOW)
    await admin.execute("ANALYZE runs, run_words, approvals, webhook_deliveries, usage_records")
    yield list(tenants)
    # Sweeps of other tests would look after them.
    for table in ("run_words", "approvals", "webhook_deliveries", "usage_records"):
        await admin.execute(f"DELETE FROM {table} WHERE tenant_id = ANY ($1)", list(tenants))
    await admin.execute("UPDATE runs SET status = 'failed' WHERE tenant_id = ANY ($1)", list(tenants))


async def plan(database: Database, kind: DueKind, queries: Mapping[DueKind, Any], **values: object) -> Plan:
    """How the platform's door carries a look-up out."""
    query = queries[kind]
    async with database._platform("") as records:
        await by_index(records._connection)
        text = f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {query.text}"
        driver: Any = records._connection._driver
        (explained,) = json.loads(await driver.fetchval(text, *query.arguments(values)))
    return Plan(explained["Plan"])


@pytest.mark.parametrize("kind", DueKind)
async def test_tenants_are_found_by_the_index_whatever_one_of_them_has(
    database: Database, crowd: list[str], kind: DueKind
) -> None:
    found = await plan(database, kind, TENANTS, before=LATER, after="due-", most=len(crowd))
    assert (found.indexes, found.read_whole) == (frozenset({INDEXES[kind]}), frozenset())
    # A few pages for each tenant, and none for each of the rows of the busy one.
    assert found.pages < 12 * len(crowd)
    among = await plan(database, kind, AMONG, before=LATER, tenants=crowd)
    assert (among.indexes, among.read_whole) == (frozenset({INDEXES[kind]}), frozenset())
    assert among.pages < 12 * len(crowd)


@pytest.mark.parametrize("kind", CLAIMED)
async def test_a_share_is_claimed_by_the_index_whatever_the_tenant_has(
    database: Database, crowd: list[str], kind: DueKind
) -> None:
    async with database.tenant(crowd[5]) as records, watched(records) as statements:
        assert len(await records.due_rows.claim(kind, LATER, LATER, 10)) == 10
        _, found = await statements.plans()
    assert INDEXES[kind] in found.indexes
    assert found.read_whole == frozenset()
    assert found.pages < BUSY / 4


@pytest.mark.parametrize("kind", DueKind)
async def test_all_tenants_with_due_rows_are_told_page_by_page(
    database: Database, crowd: list[str], kind: DueKind
) -> None:
    after, told = "due-", list[str]()
    while page := await database.due_tenants(kind, LATER, after, 7):
        told += [tenant_id for tenant_id, due in page if due and tenant_id in crowd]
        after = page[-1][0]
    assert told == crowd
    early = await database.due_tenants(kind, NOW, "due-", len(crowd))
    assert {due for tenant_id, due in early if tenant_id in crowd} == {False}


async def test_what_is_claimed_is_nobody_elses_until_the_claim_is_over(database: Database, tenant: str) -> None:
    run_id = (await queued(database, tenant)).run_id
    kind = DueKind.RUN_START
    async with database.tenant(tenant) as records:
        assert await records.due_rows.claim(kind, NOW, LATER, 10) == []
        assert [row.row_id for row in await records.due_rows.claim(kind, NOW + SECOND, LATER, 10)] == [run_id]
        async with database.tenant(tenant) as other:
            assert await other.due_rows.claim(kind, NOW + SECOND, LATER, 10) == []
    async with database.tenant(tenant) as records:
        assert await records.due_rows.claim(kind, LATER, LATER, 10) == []
        assert len(await records.due_rows.claim(kind, LATER + SECOND, LATER, 10)) == 1


async def test_what_is_of_another_kind_by_now_is_not_postponed(database: Database, tenant: str) -> None:
    run_id = (await queued(database, tenant)).run_id
    async with database.tenant(tenant) as records:
        await records.due_rows.claim(DueKind.RUN_START, LATER, LATER, 10)
        await records.runs.begin(run_id, "run.started", NOW)
        await records.due_rows.postpone(DueKind.RUN_START, [run_id], LATER + 9 * SECOND)
        assert len(await records.due_rows.claim(DueKind.RUN_CHECK, LATER + SECOND, LATER, 10)) == 1


async def test_a_tenants_rows_are_claimed_by_nobody_elses_transaction(database: Database, tenant: str) -> None:
    await queued(database, tenant)
    await queued(database, f"{tenant}-other")
    async with database.tenant(f"{tenant}-other") as records:
        assert len(await records.due_rows.claim(DueKind.RUN_START, LATER, LATER, 10)) == 1
    assert await database.due_among(DueKind.RUN_START, LATER, [tenant, f"{tenant}-other"]) == [tenant]
