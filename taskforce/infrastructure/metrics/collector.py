"""The collector of guide 6.3, for programs that embed the library."""

import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache

from prometheus_client import CollectorRegistry

from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.metering.service_levels import is_error_status, quantile_of
from taskforce.core.interfaces.metrics import RequestAnswered, RunEnded, ToolRan
from taskforce.infrastructure.metrics.exposition import SeriesCollector, render
from taskforce.infrastructure.metrics.families import QUICK, Family
from taskforce.infrastructure.metrics.product_metrics import ProductMetrics
from taskforce.infrastructure.metrics.series import Limits, SeriesStore

LATEST = 10_000
"""Durations of a tenant that percentiles are taken of, the latest ones."""


class MetricsCollector:
    """Records requests, agent executions and tools, sums up service levels, and writes the text of Prometheus.

    The service itself counts what it commits in the same families, and reads its service levels from the database.

    Args:
        prefix: The prefix of all names.
        limits: The bounds of labels.

    Attributes:
        registry: The registry of `prometheus_client` that has everything that is recorded.
    """

    def __init__(self, prefix: str = "taskforce", limits: Limits | None = None) -> None:
        self._prefix = f"{prefix}_" if prefix else ""
        self._limits = limits or Limits()
        self._store = SeriesStore(limits=self._limits)
        self._metrics = ProductMetrics(self._store)
        self._own: dict[str, Family] = {}
        self._requests: dict[str, _Requests] = {}
        self.registry = CollectorRegistry()
        self.registry.register(SeriesCollector(self._store, self._prefix))

    def record_request(
        self,
        endpoint: str,
        method: str,
        status_code: int,
        duration_seconds: float,
        tenant_id: str = "",
    ) -> None:
        """Records an HTTP request.

        Args:
            endpoint: The template of its route.
            method: Its method.
            status_code: The status of the answer; from 500 on it is an error of the service.
            duration_seconds: Its duration.
            tenant_id: The tenant; empty where none is known.
        """
        self._metrics.observed(tenant_id, [RequestAnswered(endpoint, method, status_code, duration_seconds)])
        if tenant_id in self._requests or len(self._requests) < self._limits.tenants:
            self._requests.setdefault(tenant_id, _Requests()).add(duration_seconds, is_error_status(status_code))

    def record_agent_execution(
        self,
        agent_id: str,
        success: bool,
        duration_seconds: float,
        *,
        steps: int = 0,
        tokens_used: int = 0,
        tenant_id: str = "",
    ) -> None:
        """Records an execution of an agent.

        Args:
            agent_id: The agent.
            success: Whether it ended as it should.
            duration_seconds: Its duration.
            steps: Its steps.
            tokens_used: Input and output tokens.
            tenant_id: The tenant.
        """
        status = "completed" if success else "failed"
        self._metrics.observed(tenant_id, [RunEnded(agent_id, status, duration_seconds, steps, tokens_used)])

    def record_tool_execution(
        self,
        tool_name: str,
        success: bool,
        duration_seconds: float,
        *,
        tenant_id: str = "",
    ) -> None:
        """Records an execution of a tool.

        Args:
            tool_name: The tool.
            success: Whether it ended as it should.
            duration_seconds: Its duration.
            tenant_id: The tenant.
        """
        status = "succeeded" if success else "failed"
        self._metrics.observed(tenant_id, [ToolRan(tool_name, status, duration_seconds)])

    @contextmanager
    def time(self, name: str, labels: Mapping[str, str] | None = None) -> Iterator[None]:
        """Measures the block, also where it raises, in a histogram of seconds.

        Args:
            name: The name of the metric without the prefix; `_seconds` is added unless it ends so.
            labels: Its labels; a metric has the same names of labels each time.

        Raises:
            Invalid: `metric_invalid`: the metric exists with labels of other names.
        """
        given = dict(labels or {})
        family = self._timer(name if name.endswith("_seconds") else f"{name}_seconds", tuple(sorted(given)))
        began = time.perf_counter()
        try:
            yield
        finally:
            self._store.observe(family, tuple(given[label] for label in family.labels), time.perf_counter() - began)

    def get_sla_summary(self, tenant_id: str) -> dict[str, float]:
        """Sums up a tenant's requests that this object has recorded.

        Args:
            tenant_id: The tenant.

        Returns:
            `total_requests`, `total_errors`, `error_rate_percent`, and in seconds `latency_p50_seconds`,
            `latency_p95_seconds`, `latency_p99_seconds` of the latest 10,000; all 0 without a request.
        """
        return (self._requests.get(tenant_id) or _Requests()).summary()

    def export_prometheus(self) -> str:
        """Returns everything that is recorded in the text format of Prometheus."""
        return render(self._store.numbered(), self._prefix)

    def _timer(self, name: str, labels: tuple[str, ...]) -> Family:
        family = self._own.setdefault(name, Family(name, "Seconds of a timed block.", "histogram", labels, QUICK))
        if family.labels != labels:
            raise Invalid("metric_invalid", f"{name} has the labels {', '.join(family.labels) or 'none'}.")
        return family


class _Requests:
    """A tenant's requests."""

    def __init__(self) -> None:
        self._total = self._errors = 0
        self._latest: deque[float] = deque(maxlen=LATEST)

    def add(self, seconds: float, is_error: bool) -> None:
        self._total += 1
        self._errors += is_error
        self._latest.append(seconds)

    def summary(self) -> dict[str, float]:
        ordered = sorted(self._latest)
        return {
            "total_requests": self._total,
            "total_errors": self._errors,
            "error_rate_percent": 100 * self._errors / self._total if self._total else 0.0,
            **{f"latency_p{percent}_seconds": quantile_of(ordered, percent / 100) for percent in (50, 95, 99)},
        }


@cache
def get_metrics_collector() -> MetricsCollector:
    """Returns the one collector that the parts of a process share."""
    return MetricsCollector()
