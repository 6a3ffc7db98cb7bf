"""The repository of a tenant's prices, within one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from taskforce.core.domain.metering.prices import Resource
from taskforce.core.domain.metering.tenant_prices import TenantPrice


@dataclass(frozen=True, slots=True)
class PriceFilter:
    """Which prices a list shows; None does not filter.

    Attributes:
        resource: Those of this resource.
        name: Those of this model, tool, index or agent.
        at: Those that are in force at this time.
    """

    resource: Resource | None = None
    name: str | None = None
    at: datetime | None = None


class Prices(Protocol):
    """The repository of a tenant's prices."""

    async def add(self, price: TenantPrice) -> None:
        """Adds a price."""
        ...

    async def get(self, price_id: str) -> TenantPrice | None:
        """Returns a price; None without one."""
        ...

    async def of(self, resource: Resource, name: str) -> Sequence[TenantPrice]:
        """Returns all prices of one thing, by the time from which they are in force."""
        ...

    async def count(self) -> int:
        """Returns how many prices the tenant has."""
        ...

    async def page(self, which: PriceFilter, after: tuple[str, str, str] | None, most: int) -> Sequence[TenantPrice]:
        """Returns a page of prices by resource, name and id.

        Args:
            which: The filter.
            after: Resource, name and id of the last price of the page before.
            most: Prices at most.
        """
        ...

    async def in_force_since(self, at: datetime) -> Sequence[TenantPrice]:
        """Returns the prices that are in force at a time or later."""
        ...

    async def end(self, price_id: str, at: datetime) -> None:
        """Gives a price an end."""
        ...

    async def remove(self, price_id: str) -> bool:
        """Removes a price; False when there was none."""
        ...
