"""Service levels: requests, errors and durations of what a tenant calls, and objectives for them.

Durations are kept as counts of buckets, so that those of several processes and minutes add up; percentiles of them are
exact to the width of a bucket, which is half of its lower bound.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Final

_STEPS: Final = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
BOUNDS: Final[tuple[float, ...]] = (
    *(round(step * 10.0**power, 4) for power in (-3, -2, -1, 0, 1, 2) for step in _STEPS),
    1_000.0,
    1_800.0,
    3_600.0,
    14_400.0,
    86_400.0,
)
"""The upper bounds of the buckets, in seconds; stored counts are in this order, so a change needs a migration."""
BURN_WINDOWS: Final[Mapping[str, tuple[timedelta, float]]] = MappingProxyType(
    {"1h": (timedelta(hours=1), 14.4), "6h": (timedelta(hours=6), 6.0), "3d": (timedelta(days=3), 1.0)}
)
"""The windows of burn rates, each with the rate at which it alarms (The Site Reliability Workbook, chapter 5)."""
_FIRST_SERVER_ERROR: Final = 500


class ServiceKind(StrEnum):
    """The kind of what is called."""

    ENDPOINT = "endpoint"
    AGENT = "agent"
    MODEL = "model"


def is_error_status(status: int) -> bool:
    """Returns whether an HTTP status counts as an error of the service; what the caller did wrong does not."""
    return status >= _FIRST_SERVER_ERROR


@dataclass(frozen=True, slots=True)
class ServiceStatistics:
    """Sums of requests.

    Attributes:
        requests: Their number.
        errors: How many of them failed.
        seconds: The sum of their durations.
        longest: The longest duration, in seconds.
        counts: How many took no longer than each of `BOUNDS` and longer than the one before; last, all beyond.
    """

    requests: int = 0
    errors: int = 0
    seconds: float = 0.0
    longest: float = 0.0
    counts: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)

    @classmethod
    def of(cls, durations: Sequence[float], errors: int = 0) -> "ServiceStatistics":
        """Sums up single durations, in seconds."""
        counts = [0] * (len(BOUNDS) + 1)
        for one in durations:
            counts[bisect_left(BOUNDS, one)] += 1
        return cls(len(durations), errors, sum(durations), max(durations, default=0.0), tuple(counts))

    def __add__(self, other: "ServiceStatistics") -> "ServiceStatistics":
        """Returns the sums of both."""
        return ServiceStatistics(
            self.requests + other.requests,
            self.errors + other.errors,
            self.seconds + other.seconds,
            max(self.longest, other.longest),
            tuple(a + b for a, b in zip(self.counts, other.counts, strict=True)),
        )

    @property
    def error_rate(self) -> float:
        """Returns the share of errors, 0 to 1; 0 without a request."""
        return self.errors / self.requests if self.requests else 0.0

    def quantile(self, share: float) -> float:
        """Returns the duration in seconds within which a share of the requests was done; 0 without a request.

        Within a bucket durations are taken for evenly spread.

        Args:
            share: The share, 0 to 1; 0.95 for the 95th percentile.
        """
        wanted, done, lower = share * sum(self.counts), 0, 0.0
        for bound, count in zip((*BOUNDS, self.longest), self.counts, strict=True):
            upper = min(bound, self.longest)
            if count and done + count >= wanted:
                return lower + (upper - lower) * (wanted - done) / count
            done, lower = done + count, bound
        return self.longest

    def within(self, seconds: float) -> float:
        """Returns how many requests took no longer; of the bucket that holds the bound, its share.

        Args:
            seconds: The bound.
        """
        done, lower = 0.0, 0.0
        for bound, count in zip((*BOUNDS, max(self.longest, BOUNDS[-1])), self.counts, strict=True):
            if seconds < bound:
                return done + (count * (seconds - lower) / (bound - lower) if bound > lower else 0)
            done, lower = done + count, bound
        return done


@dataclass(frozen=True, slots=True)
class Objective:
    """An objective of service.

    Attributes:
        kind: What is called.
        name: The template of the route, the agent or the model; a pattern with `*`.
        availability: The share of requests that are to succeed, above 0 and below 1; None without such an objective.
        latency_seconds: The duration within which `latency_share` of the requests are to be done; None without.
        latency_share: That share, above 0 and below 1.
    """

    kind: ServiceKind
    name: str
    availability: float | None = None
    latency_seconds: float | None = None
    latency_share: float = 0.95

    def covers(self, kind: ServiceKind, name: str) -> bool:
        """Returns whether the objective holds for what is called."""
        return kind is self.kind and fnmatchcase(name, self.name)

    def availability_burn(self, statistics: ServiceStatistics) -> float | None:
        """Returns how fast errors use up what the objective allows: 1 uses it up by the end of its period."""
        return None if self.availability is None else statistics.error_rate / (1 - self.availability)

    def latency_burn(self, statistics: ServiceStatistics) -> float | None:
        """Returns how fast slow requests use up what the objective allows."""
        if self.latency_seconds is None:
            return None
        if not statistics.requests:
            return 0.0
        slow = 1 - statistics.within(self.latency_seconds) / statistics.requests
        return max(slow, 0.0) / (1 - self.latency_share)


def objective_of(objectives: Sequence[Objective], kind: ServiceKind, name: str) -> Objective | None:
    """Returns the first objective that covers what is called."""
    return next((one for one in objectives if one.covers(kind, name)), None)


def quantile_of(ordered: Sequence[float], share: float) -> float:
    """Returns a quantile of single values, between the two that are next to it; 0 without a value.

    Args:
        ordered: The values, ascending.
        share: The share, 0 to 1.
    """
    if not ordered:
        return 0.0
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)
