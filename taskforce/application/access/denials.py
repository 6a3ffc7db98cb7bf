"""What is refused at the door is audited: attempts to change what one may not, and sign-ins that failed."""

from taskforce.core.domain.access.rate_limits import Rate
from taskforce.core.domain.audit.events import AuditEvent
from taskforce.core.interfaces.store import Store

# Anybody can fail to sign in, as often as they like: the log shall not grow at their pace.
_FAILURES = Rate.per_minute(60)


async def record_denial(store: Store, tenant_id: str, event: AuditEvent) -> None:
    """Records that somebody was not allowed to do something."""
    async with store.tenant(tenant_id) as records:
        await records.audit.append(event)


async def record_failed_sign_in(store: Store, tenant_id: str, event: AuditEvent) -> None:
    """Records a sign-in that failed, unless there were too many of late."""
    async with store.tenant(tenant_id) as records:
        if (await records.rates.take("failed-sign-ins", _FAILURES, event.at)).allowed:
            await records.audit.append(event)
