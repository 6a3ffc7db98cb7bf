"""The audit log's chain on a real database: sealed in time, exported piece by piece, shortened from its beginning."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
import structlog

from taskforce.application.audit import retention
from taskforce.application.audit.export import (
    EXPORT_BATCH,
    Export,
    begin_export,
    current_anchor,
    export_lines,
    parse_after,
)
from taskforce.application.audit.retention import drop_all_expired, drop_expired
from taskforce.application.audit.sealing import FULL_LOOK, LOOK_BACK, SEAL_BATCH, Sealer, seal_all, seal_tenant
from taskforce.core.domain.audit import chain
from taskforce.core.domain.audit.chain import Anchor, Verified
from taskforce.core.domain.audit.events import AuditEvent, AuditFilter
from taskforce.core.domain.errors import Conflict, Invalid
from taskforce.core.domain.paging import Page
from taskforce.core.domain.tenants.tenant import Tenant, TenantStatus
from taskforce.core.interfaces.store import Records
from taskforce.infrastructure.persistence.database import Database
from tests.fixtures.actors import acting
from tests.taskforce.application.scenario import NOW

SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)


async def append(database: Database, tenant: str, *times: datetime) -> None:
    await database.register_tenant(tenant, NOW)
    async with database.tenant(tenant) as records:
        for at in times:
            await records.audit.append(AuditEvent("alice", "run.pause", "run", "r", "allowed", at))


async def exported(database: Database, tenant: str, after: Anchor | int | None = None) -> tuple[Export, str]:
    export = await begin_export(database, acting(tenant, "vera", NOW, request_id="req-1"), after)
    return export, "".join([text async for text in export_lines(database, export, always)])


async def verified(database: Database, tenant: str, after: Anchor | int | None = None) -> Verified:
    export, text = await exported(database, tenant, after)
    return chain.verify(text.splitlines(keepends=True), export.end, start=export.begin)


async def actions(database: Database, tenant: str) -> list[str]:
    async with database.tenant(tenant) as records:
        return [one.action for one in await records.audit.page(AuditFilter(), Page(10_000))]


async def always() -> bool:
    return True


class SomeTenants:
    """The platform's door, which sees only these, page by page."""

    def __init__(self, *tenant_ids: str) -> None:
        self._ids = sorted(tenant_ids)

    async def tenants(self, after: str | None, most: int) -> Sequence[Tenant]:
        return [Tenant(one, one, NOW, NOW) for one in self._ids if after is None or one > after][:1]


class LeavingTenants(SomeTenants):
    """The same, with tenants that are being deleted; runs of the last one have time until then."""

    async def tenants(self, after: str | None, most: int) -> Sequence[Tenant]:
        drained = {self._ids[-1]: NOW + SECOND}
        return [
            replace(one, status=TenantStatus.DELETING, runs_until=drained.get(one.tenant_id))
            for one in await super().tenants(after, most)
        ]


class Breaking:
    """The door to the data, which is shut for one tenant."""

    def __init__(self, database: Database, broken: str) -> None:
        self._database = database
        self._broken = broken

    def tenant(self, tenant_id: str) -> AbstractAsyncContextManager[Records]:
        if tenant_id == self._broken:
            raise RuntimeError("this tenant's log is broken")
        return self._database.tenant(tenant_id)

    def reading(self, tenant_id: str) -> AbstractAsyncContextManager[Records]:
        return self._database.reading(tenant_id)

    def counting(self, tenant_id: str) -> AbstractAsyncContextManager[Records]:
        return self._database.counting(tenant_id)


# Sealing


async def test_what_is_committed_gets_its_place_once(database: Database, tenant: str) -> None:
    await append(database, tenant, NOW, NOW + SECOND)
    assert await seal_tenant(database, tenant, NOW) == 2
    assert await seal_tenant(database, tenant, NOW) == 0
    assert ((await current_anchor(database, tenant))[0].seq, (await current_anchor(database, tenant))[1]) == (
        2,
        NOW + SECOND,
    )


async def test_more_than_a_batch_is_sealed_batch_by_batch_and_all_of_one_moment_too(
    database: Database, tenant: str
) -> None:
    await append(database, tenant, *[NOW] * (2 * SEAL_BATCH), *(NOW + number * SECOND for number in range(7)))
    assert await seal_tenant(database, tenant, NOW) == 2 * SEAL_BATCH + 7
    assert (await verified(database, tenant)).events == 2 * SEAL_BATCH + 8


async def test_an_event_that_was_committed_late_is_found_within_the_hour_and_later_by_a_full_look(
    database: Database, tenant: str
) -> None:
    await append(database, tenant, NOW)
    await seal_tenant(database, tenant, NOW)
    await append(database, tenant, NOW - LOOK_BACK)
    assert await seal_tenant(database, tenant, NOW) == 1
    await append(database, tenant, NOW)
    await seal_tenant(database, tenant, NOW)
    await append(database, tenant, NOW - LOOK_BACK - SECOND)
    assert await seal_tenant(database, tenant, NOW) == 0
    assert await seal_tenant(database, tenant, NOW, full=True) == 1


async def test_an_event_of_tomorrow_does_not_hide_those_of_today(database: Database, tenant: str) -> None:
    await append(database, tenant, NOW + DAY)
    await seal_tenant(database, tenant, NOW)
    await append(database, tenant, NOW)
    assert await seal_tenant(database, tenant, NOW) == 1


async def test_sealers_at_the_same_time_make_one_chain(database: Database, tenant: str) -> None:
    await append(database, tenant, *(NOW + number * SECOND for number in range(SEAL_BATCH + 50)))
    placed = await asyncio.gather(*(seal_tenant(database, tenant, NOW) for _ in range(6)))
    assert sum(placed) == SEAL_BATCH + 50
    assert (await verified(database, tenant)).events == SEAL_BATCH + 51


async def test_all_tenants_are_sealed_and_one_that_fails_is_told(database: Database, tenant: str) -> None:
    names = [f"{tenant}-{letter}" for letter in "abc"]
    for name in names:
        await append(database, name, NOW)
    with structlog.testing.capture_logs() as logs:
        assert await seal_all(SomeTenants(*names), Breaking(database, names[1]), NOW) == 2
    assert [(line["event"], line["tenant_id"], line["error"]) for line in logs] == [
        ("audit.not_sealed", names[1], "RuntimeError")
    ]


async def test_the_log_of_a_tenant_that_goes_is_left_to_whoever_deletes_it(database: Database, tenant: str) -> None:
    names = [f"{tenant}-{letter}" for letter in "ab"]
    for name in names:
        await append(database, name, NOW)
    assert await seal_all(LeavingTenants(*names), database, NOW) == 1
    assert await seal_tenant(database, names[0], NOW) == 1
    assert await drop_all_expired(LeavingTenants(*names), database, 1, NOW + 3 * DAY) == 0


async def test_the_sealer_looks_at_everything_at_first_and_once_an_hour(database: Database, tenant: str) -> None:
    now = [NOW]
    sealer = Sealer(SomeTenants(tenant), database, lambda: now[0])
    await append(database, tenant, NOW)
    assert await sealer.sweep() == 1
    await append(database, tenant, NOW - DAY)
    now[0] += FULL_LOOK - SECOND
    assert await sealer.sweep() == 0
    now[0] += SECOND
    assert await sealer.sweep() == 1


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
    await seal_tenant(database, tenant, NOW)
    text = "".join([one async for one in export_lines(database, export, always)])
    assert chain.verify(text.splitlines(), export.end).events == 2


@pytest.mark.parametrize("after", [99, 10**18 - 1])
async def test_an_export_after_what_is_not_there_is_refused_and_not_recorded(
    database: Database, tenant: str, after: int
) -> None:
    await append(database, tenant, NOW)
    await append(database, f"{tenant}-b", NOW)
    _, theirs = await seal_tenant(database, f"{tenant}-b", NOW), (await current_anchor(database, f"{tenant}-b"))[0]
    await seal_tenant(database, tenant, NOW)
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
    await seal_tenant(database, tenant, NOW)
    assert await drop_expired(database, tenant, noon, NOW) == 1
    assert await drop_expired(database, tenant, noon, NOW) == 0
    assert await actions(database, tenant) == ["run.pause", "audit.drop", "run.pause", "run.pause"]
    found = await verified(database, tenant)
    assert (found.start.seq, found.events) == (1, 5)


async def test_dropping_is_recorded_with_the_anchor_that_stays(database: Database, tenant: str) -> None:
    await append(database, tenant, NOW - DAY)
    await seal_tenant(database, tenant, NOW)
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
    await seal_tenant(database, tenant, NOW)
    assert await drop_expired(database, tenant, NOW - 2 * DAY, NOW) == 5
    assert (await verified(database, tenant)).start.seq == 5


async def test_of_what_was_dropped_there_is_no_export(database: Database, tenant: str) -> None:
    await append(database, tenant, NOW - 2 * DAY, NOW - DAY)
    await seal_tenant(database, tenant, NOW)
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
        await seal_tenant(database, name, NOW)
    platform: Any = SomeTenants(*names)
    assert await drop_all_expired(platform, database, None, NOW) == 0
    with structlog.testing.capture_logs() as logs:
        assert await drop_all_expired(platform, Breaking(database, names[1]), 9, NOW) == 2
    assert [line["event"] for line in logs] == ["audit.not_dropped"]
