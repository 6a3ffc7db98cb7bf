"""The protocol of the prices that come with an installation."""

from typing import Protocol

from taskforce.core.domain.metering.tenant_prices import BundledPriceMap


class PriceCatalog(Protocol):
    """Hands out the bundled prices."""

    async def load(self) -> BundledPriceMap:
        """Returns the map, which may be read, without holding the event loop, when it is first asked for."""
        ...
