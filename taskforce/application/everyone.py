"""Going through all tenants, page by page."""

from collections.abc import AsyncIterator

from taskforce.core.domain.tenants import Tenant
from taskforce.core.interfaces.records import Platform

TENANTS = 200


async def every_tenant(platform: Platform) -> AsyncIterator[Tenant]:
    """All tenants by their ids, those that are switched off too.

    Args:
        platform: The door that sees them.
    """
    after: str | None = None
    while page := await platform.tenants(after, TENANTS):
        for tenant in page:
            yield tenant
        after = page[-1].tenant_id
