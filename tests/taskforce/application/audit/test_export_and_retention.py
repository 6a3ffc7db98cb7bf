"""The audit log's chain on a real database: exported piece by piece, shortened from its beginning."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
import structlog

from taskforce.application.audit import retention
from taskforce.application.audit.export import (
    EXPORT_BATCH,
    begin_export,
    current_anchor,
    export_lines,
    parse_after,
)
from taskforce.application.audit.retention import drop_all_expired, drop_expired
from taskforce.application.audit.sealing import seal_tenant
from taskforce.core.domain.audit import chain
from taskforce.core.domain.audit.chain import Anchor
from taskforce.core.domain.audit.events import AuditFilter
from taskforce.core.domain.errors import Conflict, Invalid
from taskforce.core.domain.paging import Page
from taskforce.core.domain.tenants.tenant import Tenant, TenantStatus
from taskforce.core.interfaces.expired_rows import ExpiredKind
from taskforce.infrastructure.persistence.database import Database
from tests.fixtures.actors import acting
from tests.fixtures.broken_tenant import Breaking
from tests.fixtures.expired_tenants import Among
from tests.taskforce.application.audit.logs import (
    DAY,
    SECOND,
    always,
    append,
    exported,
    verified,
)
from tests.taskforce.application.scenario import NOW


async def actions(database: Database, tenant: str) -> list[str]:
    async with database.tenant(tenant) as records:
        return [one.action for one in await records.audit.page(AuditFilter(), Page(10_000))]


class Leaving(Among):
    """The same, with tenants that are being deleted."""

    async def expired_tenants(self, kind: ExpiredKind, at: datetime) -> Sequence[Tenant]:
        return [replace(one, status=TenantStatus.DELETING) for one in await super().expired_tenants(kind, at)]


# Exporting


async def test_an_export_holds_all_and_the_record_of_its_own_making(database: Database, tenant: str) -> None:
    await append(database, tenant, *(NOW - number * SECOND for number in range(1, 2 * EXPORT_BATCH + 4)))
    export, text = await exported(database, tenant)
    lines = text.splitlines()
    assert export.begin == Anchor.genesis(tenant)
    assert len(lines) == 2 * EXPORT_BATCH + 3 + 1 + 2
    assert '"action":"audit.export","actor_id":"vera"' in lines[-2]
    assert chain.verify(lines, export.end).events == 2 * EXPORT_BATCH + 4


async def test_an_export_goes_on_where_an_earlier_one_ended(database: Database, tenant: str) -> None:
    await append(database, tenant, NOW, NOW + SECOND)
    first, _ = await exported(database, tenant)
    await append(database, tenant, NOW + 2 * SECOND)
    for after in (first.end, first.end.seq):
        assert (await verified(database, tenant, after)).start == first.end
    assert (await verified(database, tenant, 0)).start == Anchor.genesis(tenant)


async def test_what_is_committed_meanwhile_is_not_in_an_export(database: Database, tenant: str) -> None:
    await append(database, tenant, NOW)
    export = await begin_export(database, acting(tenant, "vera", NOW), None)
    await append(database, tenant, NOW + SECOND)
    await seal_tenant(database, tenant)
    text = "".join([one async for one in export_lines(database, export, always)])
    assert chain.verify(text.splitlines(), export.end).events == 2


@pytest.mark.parametrize("after", [99, 10**18 - 1])
async def test_an_export_after_what_is_not_there_is_refused_and_not_recorded(
    database: Database, tenant: str, after: int
) -> None:
    await append(database, tenant, NOW)
    await append(database, f"{tenant}-b", NOW)
    _, theirs = await seal_tenant(database, f"{tenant}-b"), (await current_anchor(database, f"{tenant}-b"))[0]
    await seal_tenant(database, tenant)
    for place in (after, theirs, Anchor(tenant, 1, "a" * 64), Anchor(tenant, after, "a" * 64)):
        with pytest.raises(Conflict) as refused:
            await exported(database, tenant, place)
        assert refused.value.code == "anchor_unknown"
    assert await actions(database, tenant) == ["run.pause"]


def test_the_place_to_go_on_from_is_an_anchor_or_a_number() -> None:
    anchor = Anchor("acme", 7, "a" * 64)
    assert [parse_after(text) for text in (None, "0", "7", str(anchor))] == [None, 0, 7, anchor]
    for text in ("", "-1", "x", "²", "1" * 19, "acme:7", f"{anchor} ", "acme:1:\x00"):
        with pytest.raises(Invalid) as refused:
            parse_after(text)
        assert refused.value.code == "anchor_invalid"


# Retention


async def test_whole_days_are_dropped_and_the_rest_verifies(database: Database, tenant: str) -> None:
    noon = NOW.replace(hour=12)
    await append(database, tenant, noon - DAY, noon - SECOND, noon, noon + DAY)
    await seal_tenant(database, tenant)
    assert await drop_expired(database, tenant, noon, NOW) == 1
    assert await drop_expired(database, tenant, noon, NOW) == 0
    assert await actions(database, tenant) == ["run.pause", "audit.drop", "run.pause", "run.pause"]
    found = await verified(database, tenant)
    assert (found.start.seq, found.events) == (1, 5)


async def test_dropping_is_recorded_with_the_anchor_that_stays(database: Database, tenant: str) -> None:
    await append(database, tenant, NOW - DAY)
    await seal_tenant(database, tenant)
    anchor, _ = await current_anchor(database, tenant)
    await drop_expired(database, tenant, NOW, NOW)
    async with database.tenant(tenant) as records:
        (told,) = await records.audit.page(AuditFilter(), Page(10))
    assert (told.actor_id, told.action, told.channel) == ("system", "audit.drop", "worker")
    assert told.details == {"events": 1, "start": str(anchor)}


async def test_more_than_a_batch_is_dropped_in_steps(
    database: Database, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "DROP_BATCH", 2)
    await append(database, tenant, *(NOW - (9 - number) * DAY for number in range(5)))
    await seal_tenant(database, tenant)
    assert await drop_all_expired(Among(database, tenant), database, 2, NOW) == 5
    assert (await verified(database, tenant)).start.seq == 5


async def test_a_large_tenants_log_does_not_delay_that_of_another(
    database: Database, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "DROP_BATCH", 2)
    large, small = f"{tenant}-a", f"{tenant}-b"
    await append(database, large, *(NOW - (9 - number) * DAY for number in range(5)))
    await append(database, small, NOW - 9 * DAY)
    for name in (large, small):
        await seal_tenant(database, name)
    turns, drop = list[str](), retention.drop_expired

    async def noting(store: Any, tenant_id: str, *given: Any) -> int:
        turns.append(tenant_id)
        return await drop(store, tenant_id, *given)

    monkeypatch.setattr(retention, "drop_expired", noting)
    assert await drop_all_expired(Among(database, large, small), database, 2, NOW) == 6
    assert turns == [large, small, large, large]


async def test_of_what_was_dropped_there_is_no_export(database: Database, tenant: str) -> None:
    await append(database, tenant, NOW - 2 * DAY, NOW - DAY)
    await seal_tenant(database, tenant)
    async with database.tenant(tenant) as records:
        first = await records.audit.anchor(1)
    assert first is not None
    await drop_expired(database, tenant, NOW, NOW)
    kept, _ = await current_anchor(database, tenant)
    for after in (0, 1, first):
        with pytest.raises(Conflict) as refused:
            await exported(database, tenant, after)
        assert (refused.value.code, refused.value.details) == ("audit_dropped", {"start": str(kept)})
    assert (await verified(database, tenant, kept)).start == kept


async def test_an_export_that_retention_overtakes_breaks_off(database: Database, tenant: str) -> None:
    await append(database, tenant, *(NOW - 3 * DAY + number * SECOND for number in range(EXPORT_BATCH + 10)))
    export = await begin_export(database, acting(tenant, "vera", NOW), None)
    lines = export_lines(database, export, always)
    await anext(lines)
    await anext(lines)
    await drop_expired(database, tenant, NOW, NOW)
    with pytest.raises(Conflict) as refused:
        await anext(lines)
    assert refused.value.code == "audit_dropped"


async def test_all_tenants_are_shortened_unless_everything_is_kept(database: Database, tenant: str) -> None:
    names = [f"{tenant}-{letter}" for letter in "abc"]
    for name in names:
        await append(database, name, NOW - 10 * DAY, NOW)
        await seal_tenant(database, name)
    rows = Among(database, *names)
    assert await drop_all_expired(rows, database, None, NOW) == 0
    with structlog.testing.capture_logs() as logs:
        assert await drop_all_expired(rows, Breaking(database, names[1]), 9, NOW) == 2
    assert [line["event"] for line in logs] == ["audit.not_dropped"]


async def test_the_log_of_a_tenant_that_goes_is_not_shortened(database: Database, tenant: str) -> None:
    await append(database, tenant, NOW - 10 * DAY)
    await seal_tenant(database, tenant)
    assert await drop_all_expired(Leaving(database, tenant), database, 1, NOW) == 0
