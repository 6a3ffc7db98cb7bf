"""Cost reports: what a period has cost, line by line, rounded once so that lines and groups add up to the total."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from itertools import groupby
from operator import attrgetter
from typing import Final, Self

from taskforce.core.domain.errors import Conflict, Invalid
from taskforce.core.domain.metering.aggregation import TAG, check_dimension
from taskforce.core.domain.metering.currencies import CURRENCIES, parse_currency
from taskforce.core.domain.metering.money import allotted, is_in_coins, parse_amount, rounded, total
from taskforce.core.domain.metering.periods import LATE, counted_until
from taskforce.core.domain.visible_text import is_visible

GROUPS: Final = ("department", "cost_center", "agent", "user", "model")
"""Dimensions that a report can be grouped by, besides tags."""
MOST_GROUP_BY: Final = 2
MOST_ADJUSTMENTS: Final = 1_000
LONGEST_REASON: Final = 500


class ReportStatus(StrEnum):
    """The status of a cost report."""

    PREVIEW = "preview"
    """Not stored."""
    DRAFT = "draft"
    """Stored; its lines are those of the moment at which it is read."""
    ISSUED = "issued"
    """Frozen: nothing of it changes any more."""


@dataclass(frozen=True, slots=True)
class CostLine:
    """A line of a cost report.

    Attributes:
        dimensions: The values of the dimensions that the report is grouped by; None for what has none.
        other: Whether it is the rest, of groups that are not told one by one; then it has no dimensions.
        kind: The kind of resource, as of usage records, or `storage` and `api`; None for the rest.
        model, provider, tool: What was used.
        part: The part of a model's tokens, as `TokenPart`; `tokens` for all of them together; None without tokens.
        quantity: How many units.
        unit: `tokens`, `executions`, `queries`, `calls`, `byte-hours` or `records`.
        unit_price: The price of one unit; None without a price, and for the rest.
        averaged: Whether the unit price is the average of several prices.
        currency: ISO 4217 code; None without a price.
        cost: The exact cost, as it was recorded; None without a price.
        amount: The cost in the report: rounded so that all amounts add up to the total; None without a price.
    """

    dimensions: Mapping[str, str | None] = field(hash=False)
    other: bool
    kind: str | None
    model: str | None
    provider: str | None
    tool: str | None
    part: str | None
    quantity: Decimal
    unit: str
    unit_price: Decimal | None = None
    averaged: bool = False
    currency: str | None = None
    cost: Decimal | None = None
    amount: Decimal | None = None

    @property
    def group(self) -> tuple[bool, tuple[str, ...]]:
        """Returns the key of its group."""
        return self.other, tuple(value or "" for value in self.dimensions.values())

    @property
    def description(self) -> str:
        """Returns what it is for, for people."""
        what = self.model or self.tool or ""
        kind = {"run": "agent executions", "rag_query": "RAG queries", "api": "API calls", None: "other usage"}
        named = kind.get(self.kind, self.kind or "")
        part = "" if self.part is None else f"{self.part.replace('_', ' ')} tokens".replace("tokens tokens", "tokens")
        return ", ".join(text for text in (named, what, part) if text)


@dataclass(frozen=True, slots=True)
class WastedTokens:
    """Tokens of failed calls; what they have cost is within the lines.

    Attributes:
        dimensions, other: As of `CostLine`.
        model, provider: The model.
        currency: The currency of their cost; None without a price.
        tokens: Their number.
    """

    dimensions: Mapping[str, str | None] = field(hash=False)
    other: bool
    model: str | None
    provider: str | None
    currency: str | None
    tokens: int


@dataclass(frozen=True, slots=True)
class CostAdjustment:
    """A discount, credit or surcharge.

    Attributes:
        amount: The amount, of no more decimals than its currency; negative is a discount.
        currency: ISO 4217 code.
        reason: Why, for people.
        author: The user who made it.
        at: The time, UTC.

    Raises:
        Invalid: `currency_unknown`, `amount_invalid` or `reason_invalid`.
    """

    amount: Decimal
    currency: str
    reason: str
    author: str
    at: datetime

    @classmethod
    def stated(cls, amount: str, currency: str, reason: str, author: str, at: datetime) -> Self:
        """Makes an adjustment of what a caller states.

        Raises:
            Invalid: `currency_unknown`, `amount_invalid` or `reason_invalid`.
        """
        known = parse_currency(currency)
        parsed = parse_amount(amount, "amount", negative=True)
        if not parsed:
            raise Invalid("amount_invalid", "amount: an adjustment of 0 changes nothing.")
        if not is_in_coins(parsed, known):
            raise Invalid("amount_invalid", f"amount: an amount in {known} has {CURRENCIES[known]} decimals at most.")
        if not (0 < len(reason) <= LONGEST_REASON and reason.strip() and is_visible(reason)):
            raise Invalid("reason_invalid", f"A reason has 1 to {LONGEST_REASON} visible characters.")
        return cls(rounded(parsed, known), known, reason, author, at)


@dataclass(frozen=True, slots=True)
class GroupTotal:
    """The amount of a group, of all its lines in one currency."""

    dimensions: Mapping[str, str | None] = field(hash=False)
    other: bool
    amount: Decimal


@dataclass(frozen=True, slots=True)
class CurrencyTotal:
    """The costs of a period in one currency.

    Attributes:
        currency: ISO 4217 code.
        cost: The exact sum of the lines.
        subtotal: The sum of the lines' amounts: `cost`, rounded half to even.
        adjustments: The sum of the adjustments.
        total: Subtotal and adjustments together.
        groups: The amounts of the groups, the largest first; they add up to the subtotal.
    """

    currency: str
    cost: Decimal
    subtotal: Decimal
    adjustments: Decimal
    total: Decimal
    groups: Sequence[GroupTotal] = field(hash=False)


@dataclass(frozen=True, slots=True)
class CostFacts:
    """The usage of a period as a report tells it, before it is rounded.

    Attributes:
        lines: The lines with a cost, without amounts.
        unpriced: The lines of usage whose price is not known.
        wasted: The tokens of failed calls.
    """

    lines: Sequence[CostLine]
    unpriced: Sequence[CostLine]
    wasted: Sequence[WastedTokens]


@dataclass(frozen=True, slots=True)
class ReportTerms:
    """The subject of a report.

    Attributes:
        start: Beginning of the period, UTC.
        end: End of the period, UTC, left out.
        time_zone: IANA name of the time zone that the period is told in.
        group_by: The dimensions of its groups.

    Raises:
        Invalid: `dimension_unknown` or `dimensions_invalid`.
    """

    start: datetime
    end: datetime
    time_zone: str
    group_by: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in self.group_by:
            if name not in GROUPS and not name.startswith(TAG):
                raise Invalid("dimension_unknown", f"A report is grouped by: {', '.join(GROUPS)}, and {TAG}<key>.")
            check_dimension(name)
        if len(self.group_by) > MOST_GROUP_BY or len(set(self.group_by)) < len(self.group_by):
            text = f"A report is grouped by {MOST_GROUP_BY} dimensions at most, by each once."
            raise Invalid("dimensions_invalid", text)


@dataclass(frozen=True, slots=True)
class DraftReport:
    """A stored report.

    Attributes:
        report_id: Its id.
        terms: What it is about.
        created_by: The user who made it.
        created_at: The time when it was made, UTC.
        adjustments: Its adjustments, in the order in which they were made.
    """

    report_id: str
    terms: ReportTerms
    created_by: str
    created_at: datetime
    adjustments: tuple[CostAdjustment, ...] = ()

    def adjusted(self, adjustment: CostAdjustment) -> Self:
        """Returns it with one adjustment more.

        Raises:
            Invalid: `adjustments_limit_reached`.
        """
        if len(self.adjustments) >= MOST_ADJUSTMENTS:
            raise Invalid("adjustments_limit_reached", f"A report has at most {MOST_ADJUSTMENTS:,} adjustments.")
        return replace(self, adjustments=(*self.adjustments, adjustment))

    def check_issuable(self, now: datetime) -> None:
        """Requires that its period is over, and that all usage of it can be counted.

        Raises:
            Conflict: `cost_report_period_open`.
        """
        end = self.terms.end
        if counted_until(now) < end:
            text = f"The period of this report ends at {end.isoformat()}. Issue it from {(end + LATE).isoformat()} on."
            raise Conflict("cost_report_period_open", text)


@dataclass(frozen=True, slots=True)
class CostReport:
    """A cost report.

    Attributes:
        report_id: Its id; None for a preview.
        tenant_id: The tenant.
        status: Its status.
        start, end, time_zone, group_by: As of `ReportTerms`.
        created_by, created_at: Who made it, and when, UTC.
        issued_by, issued_at: Who issued it, and when, UTC; None before.
        totals: What it comes to, by currency.
        lines: The lines with a price, whose amounts add up to the subtotals.
        unpriced: The lines of usage whose price is not known; they are in no sum.
        wasted: The tokens of failed calls; what they have cost is within the lines.
        adjustments: The adjustments.
    """

    report_id: str | None
    tenant_id: str
    status: ReportStatus
    start: datetime
    end: datetime
    time_zone: str
    group_by: tuple[str, ...]
    created_by: str
    created_at: datetime
    issued_by: str | None
    issued_at: datetime | None
    totals: Sequence[CurrencyTotal]
    lines: Sequence[CostLine]
    unpriced: Sequence[CostLine]
    wasted: Sequence[WastedTokens]
    adjustments: Sequence[CostAdjustment]

    @classmethod
    def of(cls, draft: DraftReport, tenant_id: str, facts: CostFacts, status: ReportStatus) -> Self:
        """Makes the report of a draft and of the usage of its period, and rounds it.

        Args:
            draft: The draft.
            tenant_id: The tenant.
            facts: The usage.
            status: The status; a preview has no id.
        """
        lines, totals = _rounded(facts.lines, draft.adjustments)
        return cls(
            report_id=None if status is ReportStatus.PREVIEW else draft.report_id,
            tenant_id=tenant_id,
            status=status,
            start=draft.terms.start,
            end=draft.terms.end,
            time_zone=draft.terms.time_zone,
            group_by=draft.terms.group_by,
            created_by=draft.created_by,
            created_at=draft.created_at,
            issued_by=None,
            issued_at=None,
            totals=totals,
            lines=lines,
            unpriced=facts.unpriced,
            wasted=facts.wasted,
            adjustments=draft.adjustments,
        )

    def issued(self, by: str, at: datetime) -> Self:
        """Returns it as it is issued."""
        return replace(self, status=ReportStatus.ISSUED, issued_by=by, issued_at=at)


def _rounded(
    lines: Sequence[CostLine], adjustments: Sequence[CostAdjustment]
) -> tuple[tuple[CostLine, ...], tuple[CurrencyTotal, ...]]:
    """Rounds the whole of each currency, then its groups so that they add up to it, then their lines likewise."""
    told, totals = list[CostLine](), list[CurrencyTotal]()
    for currency in sorted({*(line.currency or "" for line in lines), *(one.currency for one in adjustments)}):
        of_currency = _by_group([line for line in lines if line.currency == currency])
        costs = [_cost(group) for group in of_currency]
        subtotal = rounded(total(costs), currency)
        amounts, groups = allotted(costs, subtotal, currency), list[GroupTotal]()
        for group, amount in zip(of_currency, amounts, strict=True):
            shares = allotted([line.cost or Decimal() for line in group], amount, currency)
            told += [replace(line, amount=share) for line, share in zip(group, shares, strict=True)]
            groups.append(GroupTotal(group[0].dimensions, group[0].other, amount))
        adjusted = rounded(total(one.amount for one in adjustments if one.currency == currency), currency)
        due = total((subtotal, adjusted))
        totals.append(CurrencyTotal(currency, total(costs), subtotal, adjusted, due, tuple(groups)))
    return tuple(told), tuple(totals)


def _by_group(lines: Iterable[CostLine]) -> list[list[CostLine]]:
    """Returns the lines of each group, those that cost most first, and what is not told one by one last."""
    key = attrgetter("group")
    groups = [list(found) for _, found in groupby(sorted(lines, key=key), key)]
    return sorted(groups, key=lambda group: (group[0].other, -_cost(group), group[0].group))


def _cost(lines: Iterable[CostLine]) -> Decimal:
    return total(line.cost or Decimal() for line in lines)
