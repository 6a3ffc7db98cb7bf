"""Tenants with records of every kind that hangs on no run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import sqlalchemy as sa

from taskforce.core.domain.tenants.tenant import RecordKind, TenantSettings
from taskforce.infrastructure.persistence.database import Database
from tests.fixtures.expired_tenants import Among

TABLES: Mapping[RecordKind, Sequence[str]] = {
    RecordKind.ANSWER: ("stored_answers",),
    RecordKind.DELIVERY: ("webhook_deliveries", "webhook_attempts"),
    RecordKind.REQUEST: ("approvals", "approval_happenings"),
    RecordKind.USAGE: ("usage_records",),
}
ID = "gen_random_uuid()"
ADD: Mapping[RecordKind, str] = {
    RecordKind.ANSWER: (
        "INSERT INTO stored_answers (tenant_id, user_id, route, idempotency_key, body_hash, status, body, at) "
        f"VALUES (:tenant, 'alice', 'execute', {ID}::text, 'h', 200, '{{}}', :at)"
    ),
    RecordKind.DELIVERY: (
        "WITH made AS (INSERT INTO webhook_deliveries (tenant_id, delivery_id, webhook_id, event_id, event, subject, "
        f"at, created_at, status, finished_at) VALUES (:tenant, {ID}, {ID}, {ID}, 'test', '{{}}', :at, :at, "
        "'delivered', :at) RETURNING tenant_id, delivery_id) "
        "INSERT INTO webhook_attempts (tenant_id, delivery_id, number, at, excerpt, duration_ms) "
        "SELECT tenant_id, delivery_id, 1, :at, '', 1 FROM made"
    ),
    RecordKind.REQUEST: (
        "WITH made AS (INSERT INTO approvals (tenant_id, request_id, step, call, request_type, resource_type, "
        "resource_id, requester_id, title, payload, content_hash, terms, status, opened_at, closed_at, description, "
        f"current_hash, for_run, roles, people, acted) VALUES (:tenant, {ID}, 0, 0, 'custom', 'none', '', 'alice', "
        "'t', '{}', 'h', '{}', 'approved', :at, :at, '', 'h', false, '{}', '{}', 0) RETURNING tenant_id, request_id) "
        "INSERT INTO approval_happenings (tenant_id, request_id, happening, kind, actor_id, comment, data, at) "
        "SELECT tenant_id, request_id, 'closed', 'closed', 'system', '', '{}', :at FROM made"
    ),
    RecordKind.USAGE: (
        "INSERT INTO usage_records (tenant_id, run_id, step, call, attempt, part, user_id, agent_id, input_tokens, "
        "output_tokens, cached_tokens, duration_ms, at, rolled_up) "
        f"VALUES (:tenant, {ID}, 1, 0, 1, 0, 'alice', 'a', 1, 1, 0, 1, :at, true)"
    ),
}


@dataclass
class Keeping:
    """A tenant with records of every kind."""

    database: Database
    tenant_id: str

    async def settings(self, **days: int) -> None:
        async with self.database.tenant(self.tenant_id) as records:
            tenant = await records.tenant.locked()
            assert tenant is not None
            await records.tenant.save(replace(tenant, settings=TenantSettings.parse(days)))

    async def add(self, kind: RecordKind, at: datetime) -> None:
        async with self.database.tenant(self.tenant_id) as records:
            tenant = sa.bindparam("tenant", self.tenant_id, type_=sa.Text())
            when = sa.bindparam("at", at, type_=sa.DateTime(timezone=True))
            await records.users._connection.change(sa.text(ADD[kind]).bindparams(tenant, when))

    async def counts(self, kind: RecordKind) -> list[int]:
        async with self.database.tenant(self.tenant_id) as records:
            query = "SELECT count(*) FROM {}"
            return [await records.users._connection.value(sa.text(query.format(name))) for name in TABLES[kind]]

    @property
    def rows(self) -> Among:
        return Among(self.database, self.tenant_id)
