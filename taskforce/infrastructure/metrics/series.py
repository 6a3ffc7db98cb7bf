"""The series of a process: counting, within bounds for whatever labels come."""

import math
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from taskforce.infrastructure.metrics.families import FOLDED, Family
from taskforce.infrastructure.metrics.numbers import LocalNumbers, Numbers

OTHER = "other"
"""The label value of everything beyond a limit."""
LONGEST = 200
"""Longest label value, in characters."""
_OVERFLOW = 200
"""Series of a family beyond its limit, for what is then counted without its tenant."""
Labels = tuple[str, ...]
Numbered = Mapping[Family, Mapping[Labels, Sequence[float]]]
"""The numbers of each series; see `Family.size`."""


class NumberedSource(Protocol):
    """Has the numbers of series."""

    def numbered(self) -> Numbered:
        """Returns the numbers of all series."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of labels.

    Attributes:
        tenants: Tenants that are named, those first that are counted first.
        values: Values of each other label.
        series: Series of a family.
    """

    tenants: int = 1_000
    values: int = 500
    series: int = 5_000

    def of(self, label: str) -> int:
        """Returns how many values a label may have."""
        return self.tenants if label == "tenant_id" else self.values


@dataclass(slots=True)
class _Members:
    """The series of a family: the place of the numbers by labels."""

    family: Family
    places: dict[Labels, int] = field(default_factory=dict)


class SeriesStore:
    """Counts in series of bounded number; safe in threads.

    A label has so many values at most, and a family so many series. What comes beyond is counted as `other`: its
    tenant first, then all of its labels. So neither memory nor the exposition grows with what clients send.

    Args:
        numbers: Where the numbers are.
        limits: The bounds.
        named: Told of each new series before it is counted in.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        numbers: Numbers | None = None,
        limits: Limits | None = None,
        named: Callable[[Family, Labels, int], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._numbers: Numbers = LocalNumbers() if numbers is None else numbers
        self._limits = limits or Limits()
        self._named = named
        self._clock = clock
        self._members: dict[str, _Members] = {}
        self._seen: dict[str, set[str]] = {}
        self._lock = threading.Lock()

    def add(self, family: Family, labels: Labels = (), amount: float = 1.0) -> None:
        """Adds to a counter or gauge.

        Args:
            family: The family.
            labels: The values of its labels, in their order.
            amount: What is added; of a counter not negative.
        """
        with self._lock:
            place = self._place(family, labels)
            self._numbers.values[place] += amount
            if family.kind == "gauge":
                self._numbers.values[place + 1] = self._clock()

    def set(self, family: Family, labels: Labels, value: float) -> None:
        """Sets a gauge."""
        with self._lock:
            place = self._place(family, labels)
            self._numbers.values[place] = value
            self._numbers.values[place + 1] = self._clock()

    def observe(self, family: Family, labels: Labels, value: float) -> None:
        """Adds an observation to a histogram; a duration that a changed clock has made negative counts as 0.

        Args:
            family: The family.
            labels: The values of its labels, in their order.
            value: The observation; what is not finite is left out.
        """
        if not math.isfinite(value):
            return
        value = max(value, 0.0)
        with self._lock:
            place = self._place(family, labels)
            values = self._numbers.values
            values[place + bisect_left(family.bounds, value)] += 1
            values[place + len(family.bounds) + 1] += value

    def merge(self, numbered: Numbered) -> None:
        """Adds the counters and histograms of a process that has ended."""
        for family, members in numbered.items():
            for labels, numbers in members.items() if family.kind != "gauge" else ():
                with self._lock:
                    place = self._place(family, labels)
                    for offset, number in enumerate(numbers):
                        self._numbers.values[place + offset] += number

    def numbered(self) -> Numbered:
        """Returns a copy of the numbers of all series."""
        with self._lock:
            values = self._numbers.values
            return {
                one.family: {
                    labels: list(values[place : place + one.family.size]) for labels, place in one.places.items()
                }
                for one in self._members.values()
            }

    def _place(self, family: Family, labels: Labels) -> int:
        members = self._members.get(family.name)
        if members is None:
            members = self._members[family.name] = _Members(family)
        place = members.places.get(labels)
        return self._new(members, labels) if place is None else place

    def _new(self, members: _Members, labels: Labels) -> int:
        family = members.family
        if len(labels) != len(family.labels):
            raise ValueError(f"{family.name} has the labels {', '.join(family.labels) or 'none'}.")
        labels = tuple(self._bounded(name, value) for name, value in zip(family.labels, labels, strict=True))
        if labels not in members.places and len(members.places) >= self._limits.series:
            labels = self._folded(members, labels)
        place = members.places.get(labels)
        if place is None:
            place = self._numbers.take(family.size)
            if self._named is not None:
                self._named(family, labels, place)
            members.places[labels] = place
        return place

    def _bounded(self, label: str, value: str) -> str:
        seen = self._seen.setdefault(label, set())
        # A lone surrogate is not text, and no exposition may hold it.
        value = value[:LONGEST].encode("utf-8", "replace").decode()
        if value in seen or value == OTHER:
            return value
        if len(seen) < self._limits.of(label):
            seen.add(value)
            return value
        self._fold(label)
        return OTHER

    def _folded(self, members: _Members, labels: Labels) -> Labels:
        self._fold("series")
        named = members.family.labels
        tenantless = tuple(OTHER if name == "tenant_id" else value for name, value in zip(named, labels, strict=True))
        if tenantless in members.places or len(members.places) < self._limits.series + _OVERFLOW:
            return tenantless
        return (OTHER,) * len(labels)

    def _fold(self, label: str) -> None:
        place = self._place(FOLDED, (label,))
        self._numbers.values[place] += 1
