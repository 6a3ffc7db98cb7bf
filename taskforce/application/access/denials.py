"""Audit events of refused requests: missing permissions and failed sign-ins."""

from taskforce.core.domain.access.rate_limits import Rate
from taskforce.core.domain.audit.events import AuditEvent
from taskforce.core.interfaces.store import Store

# Failed sign-ins need no credential: without a limit anybody could make the audit log grow without bound.
_FAILURES = Rate.per_minute(60)


async def record_denial(store: Store, tenant_id: str, event: AuditEvent) -> None:
    """Records a denied request."""
    async with store.tenant(tenant_id) as records:
        await records.audit.append(event)


async def record_failed_sign_in(store: Store, tenant_id: str, event: AuditEvent) -> None:
    """Records a failed sign-in, at most 60 a minute for each tenant."""
    async with store.tenant(tenant_id) as records:
        if (await records.rates.take("failed-sign-ins", _FAILURES, event.at)).allowed:
            await records.audit.append(event)
