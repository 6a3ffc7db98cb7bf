"""Cache of the tenants' prices, so that recording a cost needs no query."""

from datetime import timedelta
from typing import Final

from taskforce.application.cache import BoundedCache
from taskforce.core.domain.ids import missing
from taskforce.core.domain.metering.prices import PriceBook
from taskforce.core.domain.metering.tenant_prices import TenantPriceBook
from taskforce.core.domain.tenants.tenant import Tenant
from taskforce.core.interfaces.clock import Clock
from taskforce.core.interfaces.prices import PriceCatalog
from taskforce.core.interfaces.store import Records

CACHED_PRICES: Final = 20_000
"""Prices of all tenants together that a process holds, at some kilobytes each."""
_ENDED: Final = timedelta(hours=1)
"""How long ago prices may have ended that are read: clocks of processes differ, by less than this."""


class PriceBooks:
    """Caches the price book of each tenant, by the tenant's `metering_revision`.

    Args:
        catalog: The bundled prices.
        clock: The time, UTC.
    """

    def __init__(self, catalog: PriceCatalog, clock: Clock) -> None:
        self._catalog = catalog
        self._clock = clock
        self._kept: BoundedCache[str, tuple[int, PriceBook]] = BoundedCache(CACHED_PRICES)

    async def of(self, records: Records, tenant: Tenant) -> PriceBook:
        """Returns the prices of a tenant, which are read only where its revision is not the cached one.

        Args:
            records: The tenant's records.
            tenant: The tenant, as it was just read.
        """
        kept = self._kept.get(tenant.tenant_id)
        if kept is not None and kept[0] == tenant.metering_revision:
            return kept[1]
        bundled = await self._catalog.load()
        prices = await records.prices.in_force_since(self._clock() - _ENDED)
        book = TenantPriceBook(prices, bundled)
        self._kept.keep(tenant.tenant_id, (tenant.metering_revision, book), len(prices) + 1)
        return book

    async def latest(self, records: Records) -> PriceBook:
        """Returns the prices that this process has read last, for effects whose step has just read the tenant.

        Args:
            records: The tenant's records, of which those of the prices are read where none are cached.
        """
        kept = self._kept.get(records.tenant_id)
        return await self.current(records) if kept is None else kept[1]

    async def current(self, records: Records) -> PriceBook:
        """Returns the prices of now; reads the tenant's row.

        Raises:
            Missing: `tenant_not_found`.
        """
        tenant = await records.tenant.get()
        if tenant is None:
            raise missing("tenant")
        return await self.of(records, tenant)
