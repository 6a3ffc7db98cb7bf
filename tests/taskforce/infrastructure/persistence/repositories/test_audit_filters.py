"""What is rare in a long log is found by an index, in the order of the pages, behind the tenant's wall."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa

from taskforce.core.domain.audit.events import AuditFilter, AuditRecord
from taskforce.core.domain.paging import Page
from taskforce.infrastructure.config.settings import driver_arguments
from taskforce.infrastructure.persistence.connection import Query
from taskforce.infrastructure.persistence.database import Database
from tests.fixtures.stack import DatabaseUrls
from tests.taskforce.infrastructure.persistence.factories import NOW

EVENTS = 4_000
RARE = 40
FILL = f"""
INSERT INTO audit_events
SELECT $1, gen_random_uuid(),
       CASE WHEN n % {RARE} = 0 THEN 'rare' ELSE 'agent:assistant' END, NULL, 'worker',
       CASE WHEN n % {RARE} = 1 THEN 'role.create' ELSE 'tool.call' END, 'tool',
       CASE WHEN n % {RARE} = 2 THEN 'run-7' ELSE 'echo' END, 'allowed', NULL, NULL, '{{}}',
       $2::timestamptz + n / 3 * interval '1 second'
FROM generate_series(1, {EVENTS}) n
"""
FILTERS = {
    "audit_events_of_actor": AuditFilter(actor_id="rare"),
    "audit_events_of_action": AuditFilter(action="role.create"),
    "audit_events_of_resource": AuditFilter(resource_type="tool", resource_id="run-7"),
    "audit_events_newest": AuditFilter(),
}


@pytest.fixture
async def long(postgres: DatabaseUrls, database: Database, tenant: str) -> AsyncIterator[str]:
    """A tenant with a long log, of which the planner knows."""
    await database.register_tenant(tenant, NOW)
    admin = await asyncpg.connect(**driver_arguments(postgres.admin))
    try:
        # The queue of unsealed events is behind the tenant's wall for everybody.
        await admin.execute("SELECT set_config('app.tenant_id', $1, false)", tenant)
        await admin.execute(FILL, tenant, NOW)
        await admin.execute("ANALYZE audit_events")
        yield tenant
        for table in ("audit_unsealed", "audit_events"):
            await admin.execute(f"DELETE FROM {table} WHERE tenant_id = $1", tenant)
    finally:
        await admin.close()


async def plan(database: Database, tenant: str, which: AuditFilter, page: Page) -> str:
    """How PostgreSQL would look for a page, as the repository asks for it."""
    lines: list[str] = []
    async with database.tenant(tenant) as records:
        connection = records.audit._connection

        async def explained(statement: sa.ClauseElement, values: Mapping[str, object]) -> Sequence[Any]:
            query = Query(statement)
            found = await connection._driver.fetch(f"EXPLAIN {query.text}", *query.arguments(values))
            lines.extend(str(row[0]) for row in found)
            return []

        # Of few rows the planner may as well sort some; what is asked is whether the index gives them in order.
        await connection.value(sa.text("SELECT set_config('enable_bitmapscan', 'off', true)"))
        connection.all = explained  # type: ignore[method-assign,assignment]  # this transaction's own
        await records.audit.page(which, page)
    return "\n".join(lines)


@pytest.mark.parametrize("index", FILTERS)
async def test_each_filter_has_its_index_and_nothing_is_sorted(database: Database, long: str, index: str) -> None:
    which = FILTERS[index]
    async with database.tenant(long) as records:
        first = await records.audit.page(which, Page(2))
    for page in (Page(21), Page(21, (first[-1].at, first[-1].audit_id))):
        found = await plan(database, long, which, page)
        assert f"Index Scan using {index}" in found
        assert "Sort" not in found


@pytest.mark.parametrize("index", FILTERS)
async def test_pages_hold_each_event_once_and_in_order(database: Database, long: str, index: str) -> None:
    which = FILTERS[index]
    async with database.tenant(long) as records:
        whole = await records.audit.page(which, Page(EVENTS + 1))
        pages: list[AuditRecord] = []
        before: tuple[datetime, str] | None = None
        while page := await records.audit.page(which, Page(37, before)):
            pages += page
            before = (page[-1].at, page[-1].audit_id)
    assert len(whole) == (EVENTS if which == AuditFilter() else EVENTS // RARE)
    assert [one.audit_id for one in pages] == [one.audit_id for one in whole]
    assert [(one.at, one.audit_id) for one in whole] == sorted(((one.at, one.audit_id) for one in whole), reverse=True)
