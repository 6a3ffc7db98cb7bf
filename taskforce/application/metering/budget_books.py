"""Cache of the tenants' budgets, so that a step on which none bears costs no query."""

from collections.abc import Hashable
from typing import Final

from taskforce.application.metering.revision_cache import RevisionCache
from taskforce.core.domain.metering.budget_ledgers import BudgetBook
from taskforce.core.domain.tenants.tenant import Tenant
from taskforce.core.interfaces.store import Records

CACHED_BUDGETS: Final = 20_000
"""Budgets of all tenants together that a process holds, at less than a kilobyte each."""


class BudgetBooks(RevisionCache[BudgetBook]):
    """Caches the budgets of each tenant."""

    def __init__(self) -> None:
        super().__init__(CACHED_BUDGETS)

    def _mark(self, tenant: Tenant) -> Hashable:
        # Periods are those of the tenant's calendar.
        return tenant.metering_revision, tenant.settings.time_zone

    async def _read(self, records: Records, tenant: Tenant) -> tuple[BudgetBook, int]:
        book = BudgetBook(await records.budgets.all(), tenant.settings.zone)
        return book, len(book) + 1
