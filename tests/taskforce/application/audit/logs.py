"""Audit logs to seal, to export and to shorten, and doors to them that show less or break."""

from datetime import datetime, timedelta

from taskforce.application.audit.export import Export, begin_export, export_lines
from taskforce.core.domain.audit import chain
from taskforce.core.domain.audit.chain import Anchor, Verified
from taskforce.core.domain.audit.events import AuditEvent
from taskforce.infrastructure.persistence.database import Database
from tests.fixtures.actors import acting
from tests.taskforce.application.scenario import NOW

SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)


def paused(at: datetime) -> AuditEvent:
    return AuditEvent("alice", "run.pause", "run", "r", "allowed", at)


async def append(database: Database, tenant: str, *times: datetime) -> None:
    await database.register_tenant(tenant, NOW)
    async with database.tenant(tenant) as records:
        for at in times:
            await records.audit.append(paused(at))


async def always() -> bool:
    return True


async def exported(database: Database, tenant: str, after: Anchor | int | None = None) -> tuple[Export, str]:
    export = await begin_export(database, acting(tenant, "vera", NOW, request_id="req-1"), after)
    return export, "".join([text async for text in export_lines(database, export, always)])


async def verified(database: Database, tenant: str, after: Anchor | int | None = None) -> Verified:
    export, text = await exported(database, tenant, after)
    return chain.verify(text.splitlines(keepends=True), export.end, start=export.begin)
