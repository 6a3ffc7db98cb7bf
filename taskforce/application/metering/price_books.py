"""Cache of the tenants' prices, so that recording a cost needs no query."""

from datetime import timedelta
from typing import Final

from taskforce.application.metering.revision_cache import RevisionCache
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


class PriceBooks(RevisionCache[PriceBook]):
    """Caches the prices of each tenant.

    Args:
        catalog: The bundled prices.
        clock: The time, UTC.
    """

    def __init__(self, catalog: PriceCatalog, clock: Clock) -> None:
        super().__init__(CACHED_PRICES)
        self._catalog = catalog
        self._clock = clock

    async def max_reply(self, model: str) -> int | None:
        """Returns how many tokens a model's reply may have by the bundled map; None where it does not say."""
        return (await self._catalog.load()).max_reply(model)

    async def _read(self, records: Records, tenant: Tenant) -> tuple[PriceBook, int]:
        bundled = await self._catalog.load()
        prices = await records.prices.in_force_since(self._clock() - _ENDED)
        return TenantPriceBook(prices, bundled), len(prices) + 1
