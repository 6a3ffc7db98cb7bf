"""The audit log's chain, and that its oldest part is all that ever goes."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from taskforce.core.domain.audit import chain
from taskforce.core.domain.audit.chain import Anchor
from taskforce.core.domain.audit.events import AuditRecord
from taskforce.infrastructure.config.settings import driver_arguments
from taskforce.infrastructure.persistence.connection import DeferredWrite
from taskforce.infrastructure.persistence.database import Database
from taskforce.infrastructure.persistence.repositories import audit
from taskforce.infrastructure.persistence.sqlstates import StatementError
from tests.fixtures import stack as stacks
from tests.taskforce.infrastructure.persistence.audit_factories import (
    MOST,
    append,
    drop,
    event,
    newest,
    seal,
    sealed_chain,
    verified,
)
from tests.taskforce.infrastructure.persistence.factories import NOW, SECOND

TABLES = ("audit_events", "audit_chain", "audit_anchors", "audit_unsealed")


# The chain


async def test_events_get_their_places_in_the_order_of_their_times(database: Database, tenant: str) -> None:
    await append(database, tenant, event(at=NOW + SECOND, action="b"), event(action="a"))
    after = await seal(database, tenant)
    start, sealed, end = await sealed_chain(database, tenant)
    assert (start, end) == (Anchor.genesis(tenant), after)
    assert [(one.seq, one.event["action"]) for one in sealed] == [(1, "a"), (2, "b")]
    assert (await verified(database, tenant)).events == 2


async def test_a_batch_of_places_takes_two_statements(database: Database, tenant: str) -> None:
    await append(database, tenant)
    async with database.tenant(tenant) as records:
        for number in range(500):
            await records.audit.append(event(at=NOW + number * SECOND))
    async with database.tenant(tenant) as records:
        found = await records.audit.unsealed(None, MOST)
        sealed, _ = chain.seal(Anchor.genesis(tenant), [record.event() for record in found])
        counted = _Counting(records.audit._connection)
        records.audit._connection = counted  # type: ignore[assignment]  # it stands in front of the real one
        await records.audit.place(sealed)
    assert counted.statements == 2
    assert (await verified(database, tenant)).events == 500


class _Counting:
    """Counts what goes through the real connection."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.statements = 0

    async def change(self, *arguments: Any) -> int:
        self.statements += 1
        return int(await self._connection.change(*arguments))

    async def value(self, *arguments: Any) -> Any:
        self.statements += 1
        return await self._connection.value(*arguments)

    async def later(self, write: DeferredWrite, values: Mapping[str, object]) -> None:
        self.statements += 1
        await self._connection.later(write, values)


async def test_what_has_a_place_is_not_found_again(database: Database, tenant: str) -> None:
    await append(database, tenant, event(), event(at=NOW + SECOND))
    assert (await seal(database, tenant, most=1)).seq == 1
    assert (await seal(database, tenant)).seq == 2
    async with database.tenant(tenant) as records:
        assert await records.audit.unsealed(None, MOST) == []


async def test_unsealed_events_are_paged_in_the_order_in_which_they_are_sealed(database: Database, tenant: str) -> None:
    await append(database, tenant, *(event(at=NOW + number % 3 * SECOND) for number in range(9)))
    found: list[AuditRecord] = []
    async with database.tenant(tenant) as records:
        whole = await records.audit.unsealed(None, MOST)
        while page := await records.audit.unsealed((found[-1].at, found[-1].audit_id) if found else None, 2):
            found += page
    assert len(whole) == 9
    assert found == whole == sorted(whole, key=lambda one: (one.at, one.audit_id))


async def test_a_second_sealer_waits_for_the_first_and_finds_nothing_left(database: Database, tenant: str) -> None:
    await append(database, tenant, *(event(at=NOW + number * SECOND) for number in range(20)))
    ends = await asyncio.gather(*(seal(database, tenant, most=7) for _ in range(8)))
    assert max(end.seq for end in ends) == 20
    assert (await verified(database, tenant)).events == 20


async def test_places_of_the_chain_are_known_by_their_number(database: Database, tenant: str) -> None:
    await append(database, tenant, event(), event(at=NOW + SECOND))
    end = await seal(database, tenant)
    async with database.tenant(tenant) as records:
        assert await records.audit.anchor(2) == end
        assert await records.audit.end() == (end, NOW + SECOND)
        assert [await records.audit.anchor(seq) for seq in (0, 3, 10**18 - 1)] == [None] * 3
    async with database.tenant(f"{tenant}-other") as records:
        assert await records.audit.anchor(2) is None
        assert await records.audit.end() == (Anchor.genesis(f"{tenant}-other"), None)


async def test_the_places_of_a_period_are_found_page_by_page_among_unsealed_and_late_ones(
    database: Database, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "PLACES_PAGE", 2)
    await append(database, tenant, *(event(at=NOW + number * SECOND) for number in range(8)))
    await seal(database, tenant)
    await append(database, tenant, event(at=NOW + 2 * SECOND))
    await seal(database, tenant)
    await append(database, tenant, *(event(at=NOW + 4 * SECOND) for _ in range(3)))
    async with database.tenant(tenant) as records:
        found = records.audit.places
        assert [await found(NOW + 2 * SECOND, NOW + 5 * SECOND), await found(None, None)] == [(3, 9), (1, 9)]
        assert [await found(NOW + 3 * SECOND, NOW + 5 * SECOND), await found(NOW + 7 * SECOND, None)] == [
            (4, 5),
            (8, 8),
        ]
        assert await found(NOW + 9 * SECOND, None) is None


async def test_two_events_cannot_have_one_place_nor_one_event_two(database: Database, tenant: str) -> None:
    await append(database, tenant, event(), event(at=NOW + SECOND))
    await seal(database, tenant)
    _, (first, second), _ = await sealed_chain(database, tenant)
    for wrong in (replace(first, event=second.event), replace(first, seq=9)):
        with pytest.raises(StatementError, match="unique"):
            async with database.tenant(tenant) as records:
                await records.audit.place([wrong])


async def test_plans_made_when_the_chain_was_short_do_not_last(database: Database, tenant: str) -> None:
    await append(database, tenant, event())
    async with database.tenant(tenant) as records:
        before = await records.audit.sealing()
        mode = sa.text("SELECT current_setting('plan_cache_mode')")
        assert await records.audit._connection.value(mode) == "force_custom_plan"
        sealed, _ = chain.seal(before, [one.event() for one in await records.audit.unsealed(None, MOST)])
        await records.audit.place(sealed)
        assert await records.audit._connection.value(mode) == "auto"


# Append-only


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(
    "statement", ["UPDATE {} SET tenant_id = tenant_id", "DELETE FROM {}", "TRUNCATE {} CASCADE", "DROP TABLE {}"]
)
async def test_the_applications_role_neither_changes_nor_deletes(
    database: Database, tenant: str, table: str, statement: str
) -> None:
    await append(database, tenant, event())
    await seal(database, tenant)
    with pytest.raises(StatementError, match=r"permission denied|must be owner"):
        async with database.tenant(tenant) as records:
            await records.audit._connection.change(sa.text(statement.format(table)))
    assert (await verified(database, tenant)).events == 1


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO audit_unsealed VALUES (:tenant, now(), gen_random_uuid())",
        "DELETE FROM audit_unsealed WHERE tenant_id = :tenant",
        "SELECT note_unsealed_audit_event()",
        "SELECT forget_sealed_audit_events()",
    ],
)
async def test_the_applications_role_keeps_no_event_out_of_the_chain(
    database: Database, tenant: str, statement: str
) -> None:
    await append(database, tenant, event())
    with pytest.raises(StatementError, match=r"permission denied|FeatureNotSupported"):
        async with database.tenant(tenant) as records:
            await records.audit._connection.change(sa.text(statement), {"tenant": tenant} if ":" in statement else {})
    assert (await seal(database, tenant)).seq == 1


async def test_the_applications_role_makes_no_anchors(database: Database, tenant: str) -> None:
    await append(database, tenant, event())
    insert = "INSERT INTO audit_anchors VALUES (:tenant, 1, 'x', now())"
    with pytest.raises(StatementError, match="permission denied"):
        async with database.tenant(tenant) as records:
            await records.audit._connection.change(sa.text(insert), {"tenant": tenant})


# Retention


async def days(database: Database, tenant: str, *numbers: int) -> None:
    await append(database, tenant, *(event(at=NOW + timedelta(days=number)) for number in numbers))


async def test_what_is_older_goes_its_anchor_stays_and_the_rest_verifies_from_it(
    database: Database, tenant: str
) -> None:
    await days(database, tenant, 0, 1, 2, 3)
    end = await seal(database, tenant)
    async with database.tenant(tenant) as records:
        second = await records.audit.anchor(2)
    assert await drop(database, tenant, NOW + timedelta(days=2)) == 2
    found = await verified(database, tenant)
    assert (found.start, found.end, found.events) == (second, end, 2)
    assert [one.at for one in await newest(database, tenant)] == [NOW + timedelta(days=number) for number in (3, 2)]


async def test_when_all_is_dropped_the_chain_goes_on_from_its_end(database: Database, tenant: str) -> None:
    await days(database, tenant, 0, 1)
    end = await seal(database, tenant)
    assert await drop(database, tenant) == 2
    async with database.tenant(tenant) as records:
        assert (await records.audit.start(), await records.audit.end()) == (end, (end, None))
    await days(database, tenant, 2)
    assert (await seal(database, tenant)).seq == 3
    assert (await verified(database, tenant)).start == end


async def test_a_young_event_keeps_what_comes_after_it(database: Database, tenant: str) -> None:
    await days(database, tenant, 0, 5)
    await seal(database, tenant)
    await days(database, tenant, 1)
    await seal(database, tenant)
    assert await drop(database, tenant, NOW + timedelta(days=3)) == 1
    assert await drop(database, tenant, NOW + timedelta(days=3)) == 0
    assert (await verified(database, tenant)).events == 2


async def test_what_has_no_place_yet_stays(database: Database, tenant: str) -> None:
    await days(database, tenant, 0)
    assert await drop(database, tenant) == 0
    await seal(database, tenant)
    await days(database, tenant, -1)
    assert await drop(database, tenant) == 1
    assert len(await newest(database, tenant)) == 1


async def test_not_more_than_asked_is_dropped_at_once(database: Database, tenant: str) -> None:
    await days(database, tenant, 0, 1, 2)
    await seal(database, tenant)
    assert [await drop(database, tenant, most=2) for _ in range(3)] == [2, 1, 0]
    for most in (0, -1):
        assert await drop(database, tenant, most=most) == 0


async def test_the_last_day_stays_whatever_is_asked(database: Database, tenant: str, catalog_now: Any) -> None:
    await append(database, tenant, event(at=catalog_now - timedelta(hours=25)), event(at=catalog_now - 3_600 * SECOND))
    await seal(database, tenant)
    assert await drop(database, tenant, catalog_now + timedelta(days=1)) == 1
    assert len(await newest(database, tenant)) == 1


async def test_another_tenants_log_is_out_of_reach(database: Database, tenant: str) -> None:
    mine, other = f"{tenant}-a", f"{tenant}-b"
    for name in (mine, other):
        await days(database, name, 0, 1)
        await seal(database, name)
    assert await drop(database, mine) == 2
    assert ((await verified(database, other)).events, len(await newest(database, other))) == (2, 2)


@pytest.fixture
async def bare(postgres: stacks.DatabaseUrls) -> AsyncIterator[AsyncEngine]:
    """The application's role without the door: what an injected statement could do."""
    engine = create_async_engine(postgres.app)
    yield engine
    await engine.dispose()


@pytest.fixture
async def catalog_now(postgres: stacks.DatabaseUrls) -> Any:
    connection = await asyncpg.connect(**driver_arguments(postgres.admin))
    now = await connection.fetchval("SELECT now()")
    await connection.close()
    return now


@pytest.mark.parametrize("setting", ["", "app.platform"])
async def test_without_a_tenant_nothing_is_dropped(
    database: Database, bare: AsyncEngine, tenant: str, setting: str
) -> None:
    await days(database, tenant, 0)
    await seal(database, tenant)
    async with bare.begin() as connection:
        if setting:
            await connection.execute(sa.text("SELECT set_config('app.platform', 'on', true)"))
        dropped = await connection.execute(sa.text("SELECT drop_sealed_audit_events('infinity', 1000)"))
        assert dropped.scalar_one() == 0
    assert (await verified(database, tenant)).events == 1


@pytest.mark.parametrize("arguments", ["NULL, 1000", "'infinity', NULL", "NULL, NULL"])
async def test_nothing_asked_is_nothing_dropped(
    database: Database, bare: AsyncEngine, tenant: str, arguments: str
) -> None:
    await days(database, tenant, 0, 1)
    await seal(database, tenant)
    async with bare.begin() as connection:
        await connection.execute(sa.text("SELECT set_config('app.tenant_id', :tenant, true)"), {"tenant": tenant})
        dropped = await connection.execute(sa.text(f"SELECT drop_sealed_audit_events({arguments})"))
        assert dropped.scalar_one() == 0
    assert (await verified(database, tenant)).events == 2
