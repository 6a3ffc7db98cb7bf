"""A page of a list costs what a page costs, whatever is filtered and however long the list is."""

from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest

from bench.list_rows import ROBOT, clear, fill
from models.tables.runs import RunRow
from taskforce.core.domain.paging import Page
from taskforce.core.domain.runs.records import RunFilter
from taskforce.core.domain.runs.run import RunStatus
from taskforce.infrastructure.config.settings import driver_arguments
from taskforce.infrastructure.persistence.database import Database
from taskforce.infrastructure.persistence.repository import table
from tests.fixtures.lists import LISTS, LISTS_OF_A_PERSON, MIDDLE, PAGE, ListRoute
from tests.fixtures.plans import watched
from tests.fixtures.stack import DatabaseUrls
from tests.taskforce.infrastructure.persistence.factories import NOW

ROWS = 6_000
NEIGHBOURS, FEW = 20, 1_000
VISITED = ROWS // 10
SORTED = 8 * PAGE
"""A page of each status: the only rows that may be sorted, besides the few of a session."""
COUNTED_BY_STEPS = {"steps", "event_seq", "tool_calls", "input_tokens", "output_tokens", "cached_tokens"}


@pytest.fixture(scope="module")
async def long_lists(postgres: DatabaseUrls, database: Database) -> AsyncIterator[str]:
    """A tenant with long lists beside others with short ones, of which the planner knows."""
    *neighbours, tenant = [f"tenant-{uuid4().hex[:12]}" for _ in range(NEIGHBOURS + 1)]
    admin = await asyncpg.connect(**driver_arguments(postgres.admin))
    try:
        for one in (*neighbours, tenant):
            await database.register_tenant(one, NOW)
            await fill(admin, one, ROWS if one == tenant else FEW, analyze=one == tenant)
        yield tenant
        for one in (*neighbours, tenant):
            await clear(admin, one)
    finally:
        await admin.close()


@pytest.fixture
async def catalog(postgres: DatabaseUrls) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(**driver_arguments(postgres.admin))
    yield connection
    await connection.close()


@pytest.mark.parametrize(
    "route",
    [*LISTS.values(), *LISTS_OF_A_PERSON.values()],
    ids=[*LISTS, *(f"{path} of a person" for path in LISTS_OF_A_PERSON)],
)
async def test_every_combination_of_filters_is_answered_by_an_index_of_the_tenant(
    database: Database, catalog: asyncpg.Connection, long_lists: str, route: ListRoute
) -> None:
    leading = {row["index"] for row in await catalog.fetch(_LEADING)}
    middle = (MIDDLE, "00000000-0000-7000-8000-000000000000")
    for chosen in route.combinations():
        for before in (None, middle):
            async with database.tenant(long_lists) as records, watched(records) as statements:
                await route.asked(records, chosen, Page(PAGE, before))
                plan = (await statements.plans())[0]
            told = (chosen, before, plan.root)
            assert plan.read_whole == frozenset(), told
            assert plan.indexes, told
            assert plan.indexes <= leading, told
            assert plan.visited <= VISITED, told
            assert plan.sorted <= SORTED, told


_LEADING = """
SELECT i.indexrelid::regclass::text AS index FROM pg_index i
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] WHERE a.attname = 'tenant_id'
"""


async def test_pages_hold_each_run_once_and_in_order_in_whatever_status(database: Database, long_lists: str) -> None:
    async with database.tenant(long_lists) as records:
        whole = await records.runs.page(RunFilter(user_id="user-7"), Page(ROWS))
        pages: list[str] = []
        before = None
        while page := await records.runs.page(RunFilter(user_id="user-7"), Page(7, before)):
            pages += [run.spec.run_id for run in page]
            before = (page[-1].spec.created_at, page[-1].spec.run_id)
        everybodys = await records.runs.page(RunFilter(), Page(ROWS))
    assert pages == [run.spec.run_id for run in whole]
    assert pages == [run.spec.run_id for run in everybodys if run.spec.user_id == "user-7"]
    assert {run.status for run in whole} >= {RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED}


async def test_a_page_never_gets_a_plan_for_other_values(database: Database, long_lists: str) -> None:
    """PostgreSQL would keep one after five times: that for a user with few runs, who owns half of them here."""
    async with database.tenant(long_lists) as records:
        for _ in range(12):
            await records.runs.page(RunFilter(user_id=ROBOT), Page(PAGE))
        plans = await records.runs._connection._driver.fetch(_PLANS)
    assert max(custom for _, custom in plans) >= 12
    assert {generic for generic, _ in plans} == {0}


_PLANS = """
SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement LIKE 'SELECT runs.%of_one%'
"""


async def test_a_steps_change_of_its_runs_row_touches_no_index(catalog: asyncpg.Connection) -> None:
    """PostgreSQL then leaves the indexes alone (a HOT update), however many there are."""
    definitions = await catalog.fetch("SELECT indexdef FROM pg_indexes WHERE tablename = 'runs'")
    assert definitions
    assert {column.name for column in table(RunRow).c} >= COUNTED_BY_STEPS
    assert [one["indexdef"] for one in definitions if any(name in one["indexdef"] for name in COUNTED_BY_STEPS)] == []
