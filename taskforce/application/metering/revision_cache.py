"""Cache of what a tenant's metering goes by, so that a step needs no query for it."""

from abc import ABC, abstractmethod
from collections.abc import Hashable
from typing import Generic, TypeVar

from taskforce.application.cache import BoundedCache
from taskforce.core.domain.ids import missing
from taskforce.core.domain.tenants.tenant import Tenant
from taskforce.core.interfaces.store import Records

Book = TypeVar("Book")


class RevisionCache(ABC, Generic[Book]):
    """Caches a book of each tenant, by the tenant's `metering_revision`.

    Args:
        capacity: The largest sum of the books' sizes.
    """

    def __init__(self, capacity: int) -> None:
        self._kept: BoundedCache[str, tuple[Hashable, Book]] = BoundedCache(capacity)

    async def of(self, records: Records, tenant: Tenant) -> Book:
        """Returns the book of a tenant, which is read only where its revision is not the cached one.

        Args:
            records: The tenant's records.
            tenant: The tenant, as it was just read.
        """
        mark = self._mark(tenant)
        kept = self._kept.get(tenant.tenant_id)
        if kept is not None and kept[0] == mark:
            return kept[1]
        book, size = await self._read(records, tenant)
        self._kept.keep(tenant.tenant_id, (mark, book), size)
        return book

    async def latest(self, records: Records) -> Book:
        """Returns the book that this process has read last, for effects whose step has just read the tenant.

        Args:
            records: The tenant's records, of which those of the book are read where none is cached.
        """
        kept = self._kept.get(records.tenant_id)
        return await self.current(records) if kept is None else kept[1]

    async def current(self, records: Records) -> Book:
        """Returns the book of now; reads the tenant's row.

        Raises:
            Missing: `tenant_not_found`.
        """
        tenant = await records.tenant.get()
        if tenant is None:
            raise missing("tenant")
        return await self.of(records, tenant)

    def _mark(self, tenant: Tenant) -> Hashable:
        return tenant.metering_revision

    @abstractmethod
    async def _read(self, records: Records, tenant: Tenant) -> tuple[Book, int]:
        """Reads the book, and returns it with its size."""
