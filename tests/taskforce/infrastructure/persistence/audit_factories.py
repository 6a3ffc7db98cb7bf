"""Events of the audit log to test with, and its chain."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from taskforce.core.domain.audit import chain
from taskforce.core.domain.audit.chain import Anchor, Sealed, Verified
from taskforce.core.domain.audit.events import AuditEvent, AuditFilter, AuditRecord
from taskforce.core.domain.paging import Page
from taskforce.infrastructure.persistence.database import Database
from tests.taskforce.infrastructure.persistence.factories import NOW, settled

EVER = NOW + timedelta(days=3_650)
MOST = 100_000


def event(**changes: Any) -> AuditEvent:
    told = AuditEvent("alice", "role.create", "role", "custom:x", "allowed", NOW, request_id="req-1")
    return replace(told, **changes)


async def append(database: Database, tenant: str, *events: AuditEvent) -> None:
    await settled(database, tenant)
    for one in events:
        async with database.tenant(tenant) as records:
            await records.audit.append(one)


async def newest(database: Database, tenant: str, **which: Any) -> list[AuditRecord]:
    async with database.tenant(tenant) as records:
        return list(await records.audit.page(AuditFilter(**which), Page(MOST)))


async def seal(database: Database, tenant: str, most: int = MOST) -> Anchor:
    async with database.tenant(tenant) as records:
        before = await records.audit.sealing()
        found = await records.audit.unsealed(None, most)
        sealed, after = chain.seal(before, [record.event() for record in found])
        await records.audit.place(sealed)
    return after


async def sealed_chain(database: Database, tenant: str) -> tuple[Anchor, list[Sealed], Anchor]:
    async with database.tenant(tenant) as records:
        start, (end, _) = await records.audit.start(), await records.audit.end()
        return start, list(await records.audit.sealed(start.seq, end.seq, MOST)), end


async def verified(database: Database, tenant: str) -> Verified:
    start, sealed, end = await sealed_chain(database, tenant)
    return chain.verify(chain.export(start, sealed, end), end, start=start)


async def drop(database: Database, tenant: str, older_than: Any = EVER, most: int = MOST) -> int:
    async with database.tenant(tenant) as records:
        return await records.audit.drop(older_than, most)
