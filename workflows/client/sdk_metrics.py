"""The metrics of Temporal's SDK, as the process itself takes them from it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from temporalio.runtime import (
    BUFFERED_METRIC_KIND_COUNTER,
    BUFFERED_METRIC_KIND_GAUGE,
    BufferedMetric,
    BufferedMetricUpdate,
    MetricBuffer,
    MetricBufferDurationFormat,
    Runtime,
)

from taskforce.core.interfaces.metrics import SdkMetric, SdkValues
from workflows.client.sdk_runtime import sdk_runtime

ROOM: Final = 200_000
"""Updates between two looks; the SDK drops what comes beyond. A busy worker has some ten thousand in a second."""
LOOK_SECONDS: Final = 1.0


class SdkMetrics:
    """Buffers the SDK's metrics; one for a process.

    Attributes:
        runtime: The runtime that the client of the process is to be connected with.
    """

    def __init__(self) -> None:
        self._buffer = MetricBuffer(ROOM, MetricBufferDurationFormat.SECONDS)
        self.runtime = sdk_runtime(self._buffer)
        self._metrics: dict[int, SdkMetric] = {}
        self._held: list[BufferedMetric] = []

    def take(self) -> Sequence[SdkValues]:
        """Returns what the SDK has recorded since the last call, by metric and attributes."""
        found: dict[tuple[int, int], tuple[BufferedMetricUpdate, list[float]]] = {}
        for update in self._buffer.retrieve_updates():
            # The SDK gives the same objects for the same metric and the same attributes.
            known = found.get(key := (id(update.metric), id(update.attributes)))
            if known is None:
                found[key] = (update, [update.value])
            else:
                known[1].append(update.value)
        return [
            SdkValues(self._described(first.metric), {name: str(one) for name, one in first.attributes.items()}, values)
            for first, values in found.values()
        ]

    def _described(self, metric: BufferedMetric) -> SdkMetric:
        known = self._metrics.get(id(metric))
        if known is None:
            # Held, so that its id stays its own.
            self._held.append(metric)
            known = self._metrics[id(metric)] = _described(metric)
        return known


def _described(metric: BufferedMetric) -> SdkMetric:
    unit = "_seconds" if metric.unit == "s" else ""
    about = metric.description or metric.name
    if metric.kind == BUFFERED_METRIC_KIND_COUNTER:
        return SdkMetric(f"{metric.name}_total", about, "counter")
    if metric.kind == BUFFERED_METRIC_KIND_GAUGE:
        return SdkMetric(f"{metric.name}{unit}", about, "gauge")
    return SdkMetric(f"{metric.name}{unit}", about, "histogram")


@asynccontextmanager
async def recording_sdk(record: Callable[[Sequence[SdkValues]], None]) -> AsyncIterator[Runtime]:
    """Hands on what the SDK records, each second while the block lasts, and once more at its end.

    Args:
        record: Takes what was recorded.

    Yields:
        The runtime that the client of the process is to be connected with.
    """
    sdk = SdkMetrics()
    looking = asyncio.create_task(_look(sdk, record))
    try:
        yield sdk.runtime
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        record(sdk.take())


async def _look(sdk: SdkMetrics, record: Callable[[Sequence[SdkValues]], None]) -> None:
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        record(sdk.take())
