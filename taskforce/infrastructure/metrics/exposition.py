"""The text format of Prometheus, written from the numbers of the series.

`prometheus_client` takes 20 microseconds for each line of it, so that a thousand tenants would hold the process for
half a second at each scrape (`make bench`, part `metrics`); a test compares what both write.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from taskforce.infrastructure.metrics.families import Family
from taskforce.infrastructure.metrics.series import OTHER, Labels, Numbered, NumberedSource

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
_HELP_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n"})


def render(numbered: Numbered, prefix: str = "", *, only_tenant: str | None = None, now: float | None = None) -> str:
    """Writes series as text.

    Args:
        numbered: The numbers of the series.
        prefix: The prefix of all names, with its underscore.
        only_tenant: Writes the series of this tenant alone; None writes all.
        now: Seconds since the epoch, for gauges that do not last.
    """
    at = time.time() if now is None else now
    lines: list[str] = []
    for family, members in sorted(numbered.items(), key=lambda one: one[0].name):
        shown = [one for one in shown_series(family, members, at) if _is_of(family, one[0], only_tenant)]
        if shown:
            name = family.full_name(prefix)
            lines += (f"# HELP {name} {family.help.translate(_HELP_ESCAPES)}", f"# TYPE {name} {family.kind}")
            lines += _histogram(name, family, shown) if family.kind == "histogram" else _values(name, family, shown)
    return "\n".join([*lines, ""])


def shown_series(
    family: Family, members: Mapping[Labels, Sequence[float]], now: float
) -> Iterator[tuple[Labels, Sequence[float]]]:
    """Yields the series of a family that are shown, by labels; of gauges those that were set a short while ago."""
    for labels, numbers in sorted(members.items()):
        if family.lasts is None or now - numbers[1] <= family.lasts:
            yield labels, numbers


def _is_of(family: Family, labels: Labels, tenant_id: str | None) -> bool:
    if tenant_id is None:
        return True
    # A tenant may bear the name of all others; what is theirs it may not see.
    return tenant_id != OTHER and "tenant_id" in family.labels and labels[family.labels.index("tenant_id")] == tenant_id


def _values(name: str, family: Family, members: Iterable[tuple[Labels, Sequence[float]]]) -> Iterator[str]:
    for labels, numbers in members:
        text = _text(family, labels)
        yield f"{name}{{{text}}} {numbers[0]!r}" if text else f"{name} {numbers[0]!r}"


def _histogram(name: str, family: Family, members: Iterable[tuple[Labels, Sequence[float]]]) -> Iterator[str]:
    bounds = [f'le="{bound!r}"}}' for bound in family.bounds] + ['le="+Inf"}']
    for labels, numbers in members:
        text = _text(family, labels)
        bucket = f"{name}_bucket{{{text}," if text else f"{name}_bucket{{"
        place = f"{{{text}}}" if text else ""
        counts = [int(count) for count in accumulate(numbers[:-1])]
        yield from [f"{bucket}{bound} {count}" for bound, count in zip(bounds, counts, strict=True)]
        yield f"{name}_sum{place} {numbers[-1]!r}"
        yield f"{name}_count{place} {counts[-1]}"


def _text(family: Family, labels: Labels) -> str:
    named = zip(family.labels, labels, strict=True)
    # To Prometheus an empty label is none.
    return ",".join([f'{name}="{value.translate(_ESCAPES)}"' for name, value in named if value])


class SeriesCollector(Collector):
    """Gives series to a registry of `prometheus_client`, for whoever serves or pushes them by its means.

    Args:
        numbered: Returns the numbers of the series.
        prefix: The prefix of all names, with its underscore.
    """

    def __init__(self, numbered: NumberedSource, prefix: str) -> None:
        self._numbered = numbered
        self._prefix = prefix

    def collect(self) -> Iterable[Metric]:
        """Yields the families with their samples."""
        now = time.time()
        for family, members in sorted(self._numbered.numbered().items(), key=lambda one: one[0].name):
            name = family.full_name(self._prefix)
            metric = Metric(name.removesuffix("_total"), family.help, family.kind)
            for labels, numbers in shown_series(family, members, now):
                named = {label: value for label, value in zip(family.labels, labels, strict=True) if value}
                _add(metric, name, family, named, numbers)
            if metric.samples:
                yield metric


def _add(metric: Metric, name: str, family: Family, labels: dict[str, str], numbers: Sequence[float]) -> None:
    if family.kind != "histogram":
        metric.add_sample(name, labels, numbers[0])
        return
    count = 0.0
    for bound, count in zip([*map(repr, family.bounds), "+Inf"], accumulate(numbers[:-1]), strict=True):
        metric.add_sample(f"{name}_bucket", {**labels, "le": bound}, count)
    metric.add_sample(f"{name}_sum", labels, numbers[-1])
    metric.add_sample(f"{name}_count", labels, count)
