"""Runs that a test ends by hand."""

from datetime import UTC, datetime

from taskforce.application.metering.price_books import PriceBooks
from taskforce.application.runs.lifecycle import RunLifecycle
from taskforce.application.runs.run_cache import RunCache
from taskforce.core.domain.runs.run import Ending, RunStatus
from taskforce.infrastructure.llm.price_map import BundledPrices
from taskforce.infrastructure.persistence.database import Database


class _Silent:
    """Notices that are always lost."""

    def text(self, tenant_id: str, run_id: str, step: int, attempt: int, text: str) -> None: ...

    def changed(self, tenant_id: str, run_id: str) -> None: ...


async def finish(database: Database, tenant: str, run_id: str) -> None:
    running = RunLifecycle(database, RunCache(database), _Silent(), _now, prices=PriceBooks(BundledPrices(), _now))
    await running.end(tenant, run_id, Ending(RunStatus.FAILED, error_code="too_bad", error_message="It failed."))


def _now() -> datetime:
    return datetime.now(UTC)
