"""The audit log in PostgreSQL; nothing else inserts into it."""

import sqlalchemy as sa

from models.tables.audit import AuditRow
from taskforce.core.domain.ids import new_id
from taskforce.core.interfaces.stored import AuditEvent
from taskforce.infrastructure.persistence.connection import Query, Write
from taskforce.infrastructure.persistence.rows import Repository, storable_json, table

_APPEND = Write(audited=Query(sa.insert(table(AuditRow))))


class AuditRows(Repository):
    """See `Audit`."""

    async def append(self, event: AuditEvent) -> None:
        """Appends one event, committed with what it tells of."""
        values = {
            "tenant_id": self._tenant_id,
            "audit_id": new_id(),
            "actor_id": event.actor_id,
            "on_behalf_of": event.on_behalf_of,
            "channel": event.channel,
            "action": event.action,
            "resource_type": event.resource_type,
            "resource_id": event.resource_id,
            "outcome": event.outcome,
            "reason": event.reason,
            "request_id": event.request_id,
            "details": event.details or {},
            "at": event.at,
        }
        await self._connection.later(_APPEND, storable_json(values))
