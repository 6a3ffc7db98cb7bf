"""The metrics of a process: what it counts in, and its exposition."""

import asyncio
from pathlib import Path

from prometheus_client import GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR, CollectorRegistry, generate_latest

from taskforce.infrastructure.metrics.exposition import render
from taskforce.infrastructure.metrics.product_metrics import ProductMetrics
from taskforce.infrastructure.metrics.sdk_series import SdkSeries
from taskforce.infrastructure.metrics.series import Limits, NumberedSource, SeriesStore


class ProcessMetrics:
    """Counts and shows what happens in a process, or in all that share a directory.

    Args:
        prefix: The prefix of the product's own names.
        limits: The bounds of labels.
        directory: What processes of one kind share on a machine, so that each of them tells the numbers of all; None
            for a process of its own.

    Attributes:
        product: Counts the product's facts.
        sdk: Counts what Temporal's SDK has recorded.
    """

    def __init__(self, prefix: str = "taskforce", limits: Limits | None = None, directory: Path | None = None) -> None:
        self._prefix = f"{prefix}_"
        self._source, store = _series(limits, directory)
        self.product = ProductMetrics(store)
        self.sdk = SdkSeries(store)
        # What is told of one process would be told differently by each of those that share their numbers.
        self._own = _registry() if directory is None else None
        self._rendering = asyncio.Lock()

    async def exposition(self, only_tenant: str | None = None) -> bytes:
        """Returns the text of Prometheus; one is written at a time, in a thread.

        Args:
            only_tenant: Shows what is counted of this tenant alone; None shows everything.
        """
        async with self._rendering:
            return await asyncio.to_thread(self._text, only_tenant)

    def _text(self, only_tenant: str | None) -> bytes:
        text = render(self._source.numbered(), self._prefix, only_tenant=only_tenant).encode()
        return text + generate_latest(self._own) if self._own is not None and only_tenant is None else text


def _registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
        registry.register(collector)
    return registry


def _series(limits: Limits | None, directory: Path | None) -> tuple[NumberedSource, SeriesStore]:
    if directory is None:
        store = SeriesStore(limits=limits)
        return store, store
    # Imported here, for there are no such files on Windows.
    from taskforce.infrastructure.metrics.series_files import SharedSeries

    series = SharedSeries(directory, limits)
    return series, series.store
