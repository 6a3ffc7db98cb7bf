"""The metrics of Temporal's SDK as series."""

from collections.abc import Sequence

from taskforce.core.interfaces.metrics import SdkMetric, SdkValues
from taskforce.infrastructure.metrics.families import QUICK, Family
from taskforce.infrastructure.metrics.series import SeriesStore

LABELS = (
    "namespace", "task_queue", "workflow_type", "activity_type", "operation", "poller_type", "worker_type",
    "failure_reason", "status_code", "eager",
)  # fmt: skip
"""The attributes that become labels. A family has the same ones each time, empty where the SDK says nothing."""


class SdkSeries:
    """Counts what the SDK has recorded.

    Args:
        store: What is counted in.
    """

    def __init__(self, store: SeriesStore) -> None:
        self._store = store
        self._families: dict[str, Family] = {}

    def add(self, recorded: Sequence[SdkValues]) -> None:
        """Counts values."""
        for one in recorded:
            family = self._families.get(one.metric.name) or self._family(one.metric)
            labels = tuple(one.attributes.get(name, "") for name in LABELS)
            if family.kind == "counter":
                self._store.add(family, labels, sum(one.values))
            elif family.kind == "gauge":
                self._store.set(family, labels, one.values[-1])
            else:
                for value in one.values:
                    self._store.observe(family, labels, value)

    def _family(self, metric: SdkMetric) -> Family:
        bounds = QUICK if metric.kind == "histogram" else ()
        family = Family(metric.name, metric.help, metric.kind, LABELS, bounds, of_sdk=True)
        return self._families.setdefault(metric.name, family)
