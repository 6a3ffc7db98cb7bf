"""The rows of a tenant go, and nothing else does; whoever has the application's role cannot make more of it."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg
import pytest
import sqlalchemy as sa

from taskforce.core.domain.audit.chain import Anchor
from taskforce.core.domain.tenants.deletion import DeletionOrder, DeletionStatus, Phase
from taskforce.core.domain.tenants.tenant import TenantStatus
from taskforce.core.interfaces.repositories.tenants import Begun
from taskforce.infrastructure.config.settings import driver_arguments
from taskforce.infrastructure.persistence.database import Database
from taskforce.infrastructure.persistence.sqlstates import StatementError
from tests.fixtures import stack as stacks
from tests.fixtures.every_table import KEPT_BY_PLATFORM, ROWS, counts, fill, tables
from tests.taskforce.infrastructure.persistence.factories import NOW, SECOND, settled

LATER = """
CREATE TABLE later_notes (
    tenant_id text NOT NULL REFERENCES tenants, note_id text NOT NULL, parent_id text NOT NULL,
    PRIMARY KEY (tenant_id, note_id), FOREIGN KEY (tenant_id, parent_id) REFERENCES later_notes
);
ALTER TABLE later_notes ENABLE ROW LEVEL SECURITY;
ALTER TABLE later_notes FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON later_notes USING (tenant_id = current_setting('app.tenant_id', true));
"""
CYCLE = """
ALTER TABLE users ADD COLUMN note_id text;
ALTER TABLE users ADD CONSTRAINT noted FOREIGN KEY (tenant_id, note_id) REFERENCES later_notes;
ALTER TABLE later_notes ADD CONSTRAINT by FOREIGN KEY (tenant_id, note_id) REFERENCES users;
"""


@dataclass(frozen=True)
class Deleting:
    """A platform that deletes one of two tenants that have rows in every table."""

    database: Database
    catalog: asyncpg.Connection
    home: str
    gone: str
    other: str

    async def begin(self, tenant: str | None = None, home: str | None = None) -> Begun:
        order = DeletionOrder(tenant or self.gone, "pia", NOW, "req-1", NOW + SECOND)
        async with self.database.tenant(home or self.home) as records:
            return await records.deletions.begin(order)

    async def erase(self, most: int = 100) -> tuple[str, int] | None:
        async with self.database.tenant(self.home) as records:
            return await records.deletions.erase(self.gone, most)

    async def erase_all(self, most: int = 100) -> Counter[str]:
        total: Counter[str] = Counter()
        while batch := await self.erase(most):
            assert 0 < batch[1] <= most
            total.update([batch[0]] * batch[1])
        return total

    async def set_status(self, status: str) -> None:
        await self.catalog.execute("UPDATE tenants SET status = $1 WHERE tenant_id = $2", status, self.gone)


@pytest.fixture
async def catalog(postgres: stacks.DatabaseUrls) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(**driver_arguments(postgres.admin))
    yield connection
    await connection.close()


@pytest.fixture
async def deleting(database: Database, catalog: asyncpg.Connection, tenant: str) -> Deleting:
    home, gone, other = f"{tenant}-home", f"{tenant}-gone", f"{tenant}-other"
    await settled(database, home)
    for name in (gone, other):
        await fill(catalog, name)
    return Deleting(database, catalog, home, gone, other)


async def test_every_row_of_the_tenant_goes_and_every_row_of_another_stays(deleting: Deleting) -> None:
    before = await counts(deleting.catalog, deleting.other)
    known = set(await tables(deleting.catalog)) - KEPT_BY_PLATFORM
    assert {table for table, number in before.items() if number} == known
    assert await deleting.begin() is Begun.BEGUN
    erased = await deleting.erase_all(most=2)
    assert erased == {table: 1 if table == "tenants" else ROWS for table in known}
    assert set((await counts(deleting.catalog, deleting.gone)).values()) == {0}
    assert await counts(deleting.catalog, deleting.other) == before
    report = await deleting.database.deletion(deleting.gone)
    assert report is not None
    assert report.erased == erased
    assert report.erased_at is not None
    assert report.log_end == Anchor(deleting.gone, ROWS, f"{ROWS:064x}")
    async with deleting.database.tenant(deleting.gone) as records:
        assert await records.tenant_data.tables() == []


async def test_what_the_code_looks_into_at_the_end_is_every_table(deleting: Deleting) -> None:
    known = set(await tables(deleting.catalog)) - KEPT_BY_PLATFORM
    async with deleting.database.tenant(deleting.gone) as records:
        assert set(await records.tenant_data.tables()) == known


async def open_deletion(deleting: Deleting, before: datetime) -> bool | None:
    """Whether the deletion has begun, as sweeps see it; None where it is not open."""
    after = deleting.gone[:-1]
    return dict(await deleting.database.open_deletions(before, NOW, after, 1)).get(deleting.gone)


async def test_a_deletion_is_begun_once_and_remembered(deleting: Deleting) -> None:
    assert [await deleting.begin() for _ in range(2)] == [Begun.BEGUN, Begun.KNOWN]
    assert await deleting.begin("nobody") is Begun.MISSING
    assert await deleting.database.deletion("nobody") is None
    report = await deleting.database.deletion(deleting.gone)
    assert report is not None
    assert (report.home_id, report.status) == (deleting.home, DeletionStatus.REQUESTED)
    assert report.order == DeletionOrder(deleting.gone, "pia", NOW, "req-1", NOW + SECOND)
    assert await open_deletion(deleting, NOW + SECOND) is False
    assert await open_deletion(deleting, NOW) is None
    async with deleting.database.tenant(deleting.home) as records:
        for facts in ({"first": 1}, {"second": 2}):
            await records.deletions.passed(deleting.gone, Phase.BEGUN, facts, NOW)
    assert await open_deletion(deleting, NOW + SECOND) is True
    report = await deleting.database.deletion(deleting.gone)
    assert report is not None
    assert (report.status, report.facts(Phase.BEGUN)) == (DeletionStatus.ENDING_RUNS, {"first": 1})
    async with deleting.database.tenant(deleting.home) as records:
        await records.deletions.passed(deleting.gone, Phase.VERIFIED, {}, NOW)
    assert await open_deletion(deleting, NOW + SECOND) is None


@pytest.mark.parametrize(("status", "until"), [("active", NOW + SECOND), ("disabled", None)])
async def test_only_a_tenant_that_is_active_can_be_drained(deleting: Deleting, status: str, until: object) -> None:
    await deleting.set_status(status)
    await deleting.begin()
    async with deleting.database.tenant(deleting.gone) as records:
        own = await records.tenant.get()
    assert own is not None
    assert (own.status, own.runs_until) == (TenantStatus.DELETING, until)


async def test_a_tenant_that_keeps_reports_is_not_deleted(deleting: Deleting) -> None:
    assert await deleting.begin(deleting.home) is Begun.KEEPS_REPORTS
    await deleting.begin()
    assert await deleting.begin(deleting.home, home=deleting.other) is Begun.KEEPS_REPORTS
    assert await deleting.database.deletion(deleting.home) is None


async def test_a_tenant_that_nobody_deletes_loses_nothing(deleting: Deleting) -> None:
    before = await counts(deleting.catalog, deleting.gone)
    with pytest.raises(StatementError, match="nobody has asked"):
        await deleting.erase()
    # Whoever has the application's role may say that a tenant is being deleted; that is not enough.
    await deleting.set_status("deleting")
    with pytest.raises(StatementError, match="nobody has asked"):
        await deleting.erase()
    await deleting.begin()
    await deleting.set_status("active")
    with pytest.raises(StatementError, match="not being deleted"):
        await deleting.erase()
    assert await counts(deleting.catalog, deleting.gone) == before


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO tenant_deletions SELECT '{home}', '{other}', 'x', NULL, now(), 'epoch', NULL, '{{}}'",
        "UPDATE tenant_deletions SET begun_at = 'epoch'",
        "DELETE FROM tenant_deletions",
        "UPDATE tenant_deletion_phases SET at = 'epoch'",
        "DELETE FROM tenant_deletion_phases",
        "CREATE OR REPLACE FUNCTION tenant_log_grace() RETURNS interval LANGUAGE sql AS $$ SELECT interval '0' $$",
    ],
)
async def test_a_tombstone_is_neither_forged_nor_changed(deleting: Deleting, statement: str) -> None:
    await deleting.begin()
    text = sa.text(statement.format(home=deleting.home, other=deleting.other))
    with pytest.raises(StatementError, match=r"permission denied|must be owner"):
        async with deleting.database.tenant(deleting.home) as records:
            await records.users._connection.change(text)


@pytest.fixture
async def long_kept(postgres: stacks.DatabaseUrls) -> AsyncIterator[None]:
    await stacks.keep_logs_for(postgres.owner, "23 hours")
    yield
    await stacks.keep_logs_for(postgres.owner, "0 seconds")


@pytest.mark.usefixtures("long_kept")
async def test_the_log_stays_until_its_time_is_over_whatever_the_events_say(deleting: Deleting) -> None:
    await deleting.begin()
    await deleting.erase_all()
    left = {table for table, number in (await counts(deleting.catalog, deleting.gone)).items() if number}
    assert left == {"audit_events", "audit_chain", "audit_anchors", "audit_unsealed", "tenants"}
    report = await deleting.database.deletion(deleting.gone)
    assert report is not None
    assert (report.log_end, report.erased_at) == (None, None)
    begun = await deleting.catalog.fetchval(
        "SELECT begun_at FROM tenant_deletions WHERE deleted_id = $1", deleting.gone
    )
    assert report.log_kept_until == begun + timedelta(hours=23)
    # Nobody but the owner could make it older.
    aged = "UPDATE tenant_deletions SET begun_at = now() - interval '23 hours' WHERE deleted_id = $1"
    await deleting.catalog.execute(aged, deleting.gone)
    assert set(await deleting.erase_all()) == left


async def test_a_log_goes_only_when_its_end_is_known(deleting: Deleting) -> None:
    await deleting.begin()
    await deleting.catalog.execute("DELETE FROM audit_chain WHERE tenant_id = $1 AND seq = 3", deleting.gone)
    with pytest.raises(StatementError, match="sealed first"):
        await deleting.erase_all()
    assert (await counts(deleting.catalog, deleting.gone))["audit_events"] == ROWS


@pytest.fixture
async def later(postgres: stacks.DatabaseUrls) -> AsyncIterator[asyncpg.Connection]:
    """The schema of a later release, with a table that refers to itself."""
    owner = await asyncpg.connect(**driver_arguments(postgres.owner))
    await owner.execute(LATER)
    yield owner
    await owner.execute("ALTER TABLE users DROP COLUMN IF EXISTS note_id CASCADE")
    await owner.execute("DROP TABLE later_notes CASCADE")
    await owner.close()


@pytest.mark.usefixtures("later")
async def test_a_table_that_nobody_told_us_of_is_erased_too(deleting: Deleting) -> None:
    note = "INSERT INTO later_notes SELECT $1, n::text, greatest(n - 1, 1)::text FROM generate_series(1, 300) n"
    for name in (deleting.gone, deleting.other):
        await deleting.catalog.execute(note, name)
    await deleting.begin()
    assert (await deleting.erase_all(most=1_000))["later_notes"] == 300 + ROWS
    assert (await counts(deleting.catalog, deleting.other))["later_notes"] == 300 + ROWS


async def test_tables_that_refer_to_one_another_are_named(deleting: Deleting, later: asyncpg.Connection) -> None:
    await later.execute(CYCLE)
    user = "INSERT INTO later_notes SELECT tenant_id, user_id, user_id FROM users WHERE tenant_id = $1"
    await deleting.catalog.execute(user, deleting.gone)
    await deleting.begin()
    with pytest.raises(StatementError, match=r"refer to one another: .*later_notes"):
        await deleting.erase_all()
