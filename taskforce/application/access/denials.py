"""Audit events of refused requests; for failed sign-ins see `failed_sign_ins`."""

from taskforce.core.domain.audit.events import AuditEvent
from taskforce.core.interfaces.store import Store


async def record_denial(store: Store, tenant_id: str, event: AuditEvent) -> None:
    """Records a denied request."""
    async with store.tenant(tenant_id) as records:
        await records.audit.append(event)
