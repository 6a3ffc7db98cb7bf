"""The exposition of metrics with a thousand tenants, beside that of prometheus_client; the cost of a count."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from taskforce.core.interfaces.metrics import RequestAnswered
from taskforce.infrastructure.metrics.exposition import render
from taskforce.infrastructure.metrics.families import HTTP_DURATION, HTTP_REQUESTS, Family
from taskforce.infrastructure.metrics.product_metrics import ProductMetrics
from taskforce.infrastructure.metrics.series import SeriesStore

TENANTS = 1_000
COUNTS = 20_000
_FACT = RequestAnswered("/api/v1/agents/execute", "POST", 202, 0.3)


@dataclass(frozen=True, slots=True)
class Exposition:
    """Holds the measurements of metrics.

    Attributes:
        tenants: Tenants with requests.
        lines: Lines of the text.
        ms, baseline_ms: Milliseconds of one text, by the product and by prometheus_client; medians.
        count_us, baseline_count_us: Microseconds to count one request.
    """

    tenants: int
    lines: int
    ms: float
    baseline_ms: float
    count_us: float
    baseline_count_us: float

    @property
    def ratio(self) -> float:
        """Returns the time of the product over that of prometheus_client."""
        return self.ms / self.baseline_ms


def measure_metrics(rounds: int) -> Exposition:
    """Measures both by turns.

    Args:
        rounds: Texts of each.
    """
    store = SeriesStore()
    product = ProductMetrics(store)
    registry = CollectorRegistry()
    counter = Counter(HTTP_REQUESTS.name, HTTP_REQUESTS.help, HTTP_REQUESTS.labels, registry=registry)
    histogram = _histogram(HTTP_DURATION, registry)

    def count(tenant: str) -> None:
        labels = (_FACT.endpoint, _FACT.method, str(_FACT.status), tenant)
        counter.labels(*labels).inc()
        histogram.labels(*labels).observe(_FACT.seconds)

    for number in range(TENANTS):
        product.observed(f"tenant-{number}", [_FACT])
        count(f"tenant-{number}")
    text = render(store.numbered())
    taken: list[tuple[float, float]] = [
        (_ms(lambda: render(store.numbered())), _ms(lambda: generate_latest(registry))) for _ in range(rounds)
    ]
    return Exposition(
        tenants=TENANTS,
        lines=text.count("\n"),
        ms=median(ours for ours, _ in taken),
        baseline_ms=median(theirs for _, theirs in taken),
        count_us=_per_count(lambda: product.observed("tenant-7", [_FACT])),
        baseline_count_us=_per_count(lambda: count("tenant-7")),
    )


def _histogram(family: Family, registry: CollectorRegistry) -> Histogram:
    return Histogram(family.name, family.help, family.labels, buckets=family.bounds, registry=registry)


def _ms(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1_000


def _per_count(count: Callable[[], None]) -> float:
    began = time.perf_counter()
    for _ in range(COUNTS):
        count()
    return (time.perf_counter() - began) / COUNTS * 1e6
