"""Going through all tenants, page by page."""

from collections.abc import AsyncIterator
from datetime import datetime

from taskforce.core.domain.tenants import Tenant, TenantStatus
from taskforce.core.interfaces.records import Tenants

TENANTS = 200


async def every_tenant(platform: Tenants, now: datetime) -> AsyncIterator[Tenant]:
    """Tenants by their ids, those that are switched off too, but not those whose rows are being erased.

    Args:
        platform: The door that sees them.
        now: The time.
    """
    after: str | None = None
    while page := await platform.tenants(after, TENANTS):
        for tenant in page:
            # Whoever deletes a tenant seals its log, and must find it as it was when it goes.
            if tenant.status is not TenantStatus.DELETING or tenant.is_drained(now):
                yield tenant
        after = page[-1].tenant_id
