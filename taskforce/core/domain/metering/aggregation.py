"""Aggregations of usage: by which dimensions, over which period, with which filters, and the sums that they give."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from functools import cached_property
from operator import attrgetter
from typing import Final, Self

from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.metering.currencies import parse_currency
from taskforce.core.domain.metering.money import total
from taskforce.core.domain.metering.periods import CalendarDays, Period, TimeStep
from taskforce.core.domain.metering.usage import UsageKind

BUCKET_DIMENSIONS: Final[Mapping[str, str]] = {
    "user": "user_id",
    "agent": "agent_id",
    "agent_version": "agent_version",
    "model": "model",
    "provider": "provider",
    "tool": "tool",
    "department": "department",
    "cost_center": "cost_center",
    "kind": "kind",
    "currency": "currency",
}
"""Dimensions that buckets have, each with its column."""
RECORD_DIMENSIONS: Final[Mapping[str, str]] = {"session": "session_id", "run": "run_id"}
"""Dimensions that only the records themselves have."""
TAG: Final = "tag:"
"""What the dimension of a tag begins with; its key follows."""
MOST_DIMENSIONS: Final = 7
MOST_VALUES: Final = 100
MOST_GROUPS: Final = 5_000
"""Groups of an aggregation at most, those of every step counted."""
MEASURED_KINDS: Final = ("storage", "api")
"""Kinds of usage without records: what the rollup measures and counts."""
KINDS: Final = (*UsageKind, *MEASURED_KINDS)
"""Kinds of usage."""
UNPRICED_KINDS: Final = ("model", "embedding")
"""Kinds of records that have a price; without one they are unpriced."""
_TAG_KEY: Final = re.compile(r"[a-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class UsageSums:
    """Sums of usage.

    Attributes:
        records: Number of records: calls of models and tools, and executions of agents.
        failed: Those without a usable outcome.
        input_tokens, output_tokens: All tokens of prompts and of replies.
        cached_tokens, cache_write_tokens, audio_input_tokens: Those among the input tokens.
        reasoning_tokens, audio_output_tokens: Those among the output tokens.
        wasted_tokens: Tokens of failed calls.
        estimated_tokens: Tokens that the provider did not report.
        duration_ms: Milliseconds.
        unpriced: Number of records without a price.
        quantity: Of storage byte-hours, of API calls their number.
        costs: The exact cost by currency.
    """

    records: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    wasted_tokens: int = 0
    estimated_tokens: int = 0
    duration_ms: int = 0
    unpriced: int = 0
    quantity: Decimal = Decimal()
    costs: Mapping[str, Decimal] = field(default_factory=dict, hash=False)

    @property
    def tokens(self) -> int:
        """Returns the number of all tokens."""
        return self.input_tokens + self.output_tokens

    @classmethod
    def of(cls, parts: Sequence[Self]) -> Self:
        """Returns the sums of all parts; there may be many thousands."""
        counts = (sum(column) for column in zip(*map(_counts, parts), strict=True))
        costs: dict[str, list[Decimal]] = {}
        for part in parts:
            for currency, cost in part.costs.items():
                costs.setdefault(currency, []).append(cost)
        return cls(
            **dict(zip(COUNTS, counts, strict=False)),
            quantity=total(part.quantity for part in parts),
            costs={currency: total(costs[currency]) for currency in sorted(costs)},
        )

    def __add__(self, other: Self) -> Self:
        """Returns the sums of both."""
        return self.of((self, other))


COUNTS: Final = tuple(name for name in UsageSums.__dataclass_fields__ if name not in {"quantity", "costs"})
"""The sums that are whole numbers, by the names of their columns."""
_counts = attrgetter(*COUNTS)


@dataclass(frozen=True)
class UsageFilter:
    """Which usage is meant.

    Attributes:
        period: The period.
        values: The values of dimensions, any of which it has; the empty text stands for none.

    Raises:
        Invalid: `dimension_unknown`, `filter_invalid`, `kind_unknown` or `currency_unknown`.
    """

    period: Period
    values: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, values in self.values.items():
            check_dimension(name)
            if not 0 < len(values) <= MOST_VALUES:
                raise Invalid("filter_invalid", f"A filter has 1 to {MOST_VALUES} values.")
        # These are closed sets: a slip would be answered by sums of nothing.
        for kind in filter(None, self.values.get("kind", ())):
            if kind not in KINDS:
                raise Invalid("kind_unknown", f"Usage has these kinds: {', '.join(KINDS)}.")
        for currency in filter(None, self.values.get("currency", ())):
            parse_currency(currency)

    @property
    def reads_records(self) -> bool:
        """Returns whether only the records themselves tell."""
        return any(name not in BUCKET_DIMENSIONS for name in self.values)


@dataclass(frozen=True)
class AggregationQuery:
    """A question about usage.

    Attributes:
        which: The usage that is meant.
        dimensions: By what it is grouped, besides time.
        step: The division of the period.
        zone: The time zone of the steps.
        most: Groups of a step at most; None for as many as may be.

    Raises:
        Invalid: `dimension_unknown`, `dimensions_invalid` or `step_too_fine`.
    """

    which: UsageFilter
    dimensions: tuple[str, ...] = ()
    step: TimeStep = TimeStep.NONE
    zone: tzinfo = UTC
    most: int | None = None

    def __post_init__(self) -> None:
        for name in self.dimensions:
            check_dimension(name)
        if len(set(self.dimensions)) < len(self.dimensions) or len(self.dimensions) > MOST_DIMENSIONS:
            text = f"An aggregation is by {MOST_DIMENSIONS} dimensions at most, by each once."
            raise Invalid("dimensions_invalid", text)
        assert self.bounds

    @cached_property
    def bounds(self) -> tuple[datetime, ...]:
        """Returns the bounds of the steps, UTC."""
        return self.which.period.bounds(self.step, self.zone)

    @property
    def groups(self) -> int:
        """Returns the number of groups that a step may have; the rest of them becomes one group more."""
        most = max(MOST_GROUPS // (len(self.bounds) - 1), 1)
        return most if self.most is None else min(most, self.most)

    @property
    def reads_records(self) -> bool:
        """Returns whether it reads the records themselves, which retention may have erased, and not the buckets."""
        return self.which.reads_records or any(name not in BUCKET_DIMENSIONS for name in self.dimensions)

    @cached_property
    def days(self) -> CalendarDays | None:
        """Returns the whole days of the time zone that its steps consist of; None where the buckets have to tell."""
        if self.reads_records or self.step in {TimeStep.QUARTER, TimeStep.HOUR}:
            return None
        return self.which.period.days(self.zone)


@dataclass(frozen=True, slots=True)
class UsageGroup:
    """A group of an aggregation.

    Attributes:
        start: Beginning of its step, UTC.
        end: End of its step, UTC.
        key: The values of the dimensions, in their order; None for the groups that are not told one by one.
        sums: Its sums.
    """

    start: datetime
    end: datetime
    key: tuple[str, ...] | None
    sums: UsageSums


@dataclass(frozen=True, slots=True)
class Aggregation:
    """The answer to an `AggregationQuery`.

    Attributes:
        query: The question.
        groups: The groups, by time, then the largest first; steps without usage have none.
        whole_since: With `query.reads_records` the time since which all records are kept, UTC; None when all are.
    """

    query: AggregationQuery
    groups: Sequence[UsageGroup]
    whole_since: datetime | None = None

    @property
    def total(self) -> UsageSums:
        """Returns the sums of the whole period."""
        return UsageSums.of([group.sums for group in self.groups])

    @property
    def truncated(self) -> bool:
        """Returns whether some groups are not told one by one."""
        return any(group.key is None for group in self.groups)

    @property
    def whole(self) -> bool:
        """Returns whether all of the period's usage is still known."""
        since = self.whole_since
        return since is None or not self.query.reads_records or since <= self.query.which.period.start


def check_dimension(name: str) -> None:
    """Requires that there is a dimension of a name.

    Raises:
        Invalid: `dimension_unknown`.
    """
    if name in BUCKET_DIMENSIONS or name in RECORD_DIMENSIONS:
        return
    if not (name.startswith(TAG) and _TAG_KEY.fullmatch(name.removeprefix(TAG))):
        known = ", ".join([*BUCKET_DIMENSIONS, *RECORD_DIMENSIONS])
        raise Invalid("dimension_unknown", f"Usage has these dimensions: {known}, and {TAG}<key>.")
