"""Cost reports for programs that embed the library: usage times prices (guide 6.2).

Amounts are exact decimals. They are rounded once: `amount_due` is, and what it is made of is not.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from threading import Lock
from typing import ClassVar, Final

from taskforce.application.reporting.usage import Sums, UsageAggregation, UsageType, token_counts
from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.ids import new_id
from taskforce.core.domain.metering.currencies import parse_currency
from taskforce.core.domain.metering.money import parse_amount, plain, product, rounded, total
from taskforce.core.domain.metering.prices import TokenPrices, Unit
from taskforce.core.domain.metering.tokens import TokenPart

MAX_ADJUSTMENTS: Final = 1_000
MAX_REASON: Final = 500
SYSTEM: Final = "system"
"""The author of adjustments where a program names none."""
THOUSAND_TOKENS: Final = "1K tokens"


@dataclass(frozen=True, slots=True)
class ModelPricing:
    """The price of a model, for 1,000 tokens.

    Attributes:
        model_name: The model's name, as usage names it.
        input_token_price: Price of 1,000 tokens of prompts.
        output_token_price: Price of 1,000 tokens of replies.
        currency: A code of ISO 4217.
        notes: A remark for people.
        cached_token_price: Price of 1,000 tokens from the provider's cache; None has the input's.
        cache_write_token_price: Price of 1,000 tokens written to the cache; None has the input's.
        reasoning_token_price: Price of 1,000 tokens of reasoning; None has the output's.

    Raises:
        Invalid: `amount_invalid` or `currency_unknown`.
    """

    model_name: str
    input_token_price: Decimal
    output_token_price: Decimal
    currency: str = "USD"
    notes: str = ""
    cached_token_price: Decimal | None = None
    cache_write_token_price: Decimal | None = None
    reasoning_token_price: Decimal | None = None

    def __post_init__(self) -> None:
        parse_currency(self.currency)
        for name in ("input", "output", "cached", "cache_write", "reasoning"):
            price = getattr(self, f"{name}_token_price")
            if price is not None:
                parse_amount(price, f"{name}_token_price")

    def prices(self) -> Mapping[TokenPart, Decimal]:
        """Returns the price of 1,000 tokens of every part."""
        own = {
            TokenPart.INPUT: self.input_token_price,
            TokenPart.OUTPUT: self.output_token_price,
            TokenPart.CACHED: self.cached_token_price,
            TokenPart.CACHE_WRITE: self.cache_write_token_price,
            TokenPart.REASONING: self.reasoning_token_price,
        }
        return TokenPrices({part: price for part, price in own.items() if price is not None}).of(0)


@dataclass(frozen=True, slots=True)
class LineItem:
    """A line of a report.

    Attributes:
        description: What it is for, for people.
        quantity: How many units.
        unit: The unit, for example `1K tokens`.
        unit_price: The price of one unit; 0 of what has no price.
        total: The exact amount: quantity times unit price.
        priced: Whether a price is known. Without one the line is no zero: it is missing in the report's total.
    """

    description: str
    quantity: Decimal
    unit: str
    unit_price: Decimal
    total: Decimal
    priced: bool = True


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A discount, credit or surcharge, with who made it and why."""

    amount: Decimal
    reason: str
    author: str
    at: datetime


@dataclass(slots=True)
class CostReport:
    """The costs of a tenant in a period, in one currency.

    Attributes:
        report_id: Its id.
        tenant_id: The tenant.
        period_start: The beginning of the period.
        period_end: The end of the period.
        currency: A code of ISO 4217.
        line_items: Its lines.
        created_at: The time when it was made, UTC.
        in_other_currencies: Reports of what was priced in other currencies, which cannot be added up with this one.
    """

    report_id: str
    tenant_id: str
    period_start: datetime
    period_end: datetime
    currency: str
    line_items: tuple[LineItem, ...]
    created_at: datetime
    in_other_currencies: tuple["CostReport", ...] = ()
    _adjustments: list[Adjustment] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock, repr=False, compare=False)

    @property
    def subtotal(self) -> Decimal:
        """Returns the exact sum of the lines."""
        return total(item.total for item in self.line_items)

    @property
    def adjustments(self) -> Decimal:
        """Returns the exact sum of the adjustments."""
        with self._lock:
            return total(one.amount for one in self._adjustments)

    @property
    def total(self) -> Decimal:
        """Returns the exact sum of lines and adjustments."""
        return total((self.subtotal, self.adjustments))

    @property
    def amount_due(self) -> Decimal:
        """Returns the total, rounded to the decimals of its currency, half to even."""
        return rounded(self.total, self.currency)

    @property
    def unpriced(self) -> tuple[LineItem, ...]:
        """Returns the lines without a price."""
        return tuple(item for item in self.line_items if not item.priced)

    def apply_adjustment(self, amount: Decimal, reason: str, author: str = SYSTEM) -> Adjustment:
        """Adds a discount, credit or surcharge.

        Args:
            amount: The amount in the report's currency; negative is a discount.
            reason: Why, for people.
            author: Who makes it.

        Raises:
            Invalid: `amount_invalid`, `reason_invalid`, or `adjustments_limit_reached`.
        """
        checked = parse_amount(amount, "amount", negative=True)
        if not reason.strip() or len(reason) > MAX_REASON:
            raise Invalid("reason_invalid", f"A reason has 1 to {MAX_REASON} characters.")
        made = Adjustment(checked, reason, author, datetime.now(UTC))
        with self._lock:
            if len(self._adjustments) >= MAX_ADJUSTMENTS:
                raise Invalid("adjustments_limit_reached", f"A report has at most {MAX_ADJUSTMENTS:,} adjustments.")
            self._adjustments.append(made)
        return made

    def to_dict(self) -> dict[str, object]:
        """Returns it as JSON data; amounts are texts, for JSON's numbers are not exact."""
        with self._lock:
            adjusted = tuple(self._adjustments)
        return {
            "report_id": self.report_id,
            "tenant_id": self.tenant_id,
            "period_start": self.period_start.isoformat(),
            "period_end": self.period_end.isoformat(),
            "created_at": self.created_at.isoformat(),
            "currency": self.currency,
            "line_items": [_line(item) for item in self.line_items],
            "subtotal": plain(self.subtotal),
            "adjustments": [
                {"amount": plain(one.amount), "reason": one.reason, "author": one.author, "at": one.at.isoformat()}
                for one in adjusted
            ],
            "total": plain(self.total),
            "amount_due": str(self.amount_due),
            "unpriced": [item.description for item in self.unpriced],
            "in_other_currencies": [one.to_dict() for one in self.in_other_currencies],
        }


def _line(item: LineItem) -> dict[str, object]:
    return {
        "description": item.description,
        "quantity": plain(item.quantity),
        "unit": item.unit,
        "unit_price": plain(item.unit_price) if item.priced else None,
        "total": plain(item.total) if item.priced else None,
        "priced": item.priced,
    }


def _usd(model: str, price: str, output: str, cached: str | None = None) -> ModelPricing:
    return ModelPricing(
        model, Decimal(price), Decimal(output), cached_token_price=None if cached is None else Decimal(cached)
    )


class CostCalculator:
    """Makes reports of usage; threads may share it.

    Args:
        currency: The currency of reports in which nothing has a price.
        clock: Returns the time, UTC.

    Raises:
        Invalid: `currency_unknown`.
    """

    DEFAULT_PRICING: ClassVar[Mapping[str, ModelPricing]] = {
        one.model_name: one
        for one in (
            _usd("gpt-4o", "0.0025", "0.01", "0.00125"),
            _usd("gpt-4o-mini", "0.00015", "0.0006", "0.000075"),
            _usd("gpt-4.1", "0.002", "0.008", "0.0005"),
            _usd("gpt-4.1-mini", "0.0004", "0.0016", "0.0001"),
            _usd("o4-mini", "0.0011", "0.0044", "0.000275"),
            _usd("claude-haiku-4-5", "0.001", "0.005", "0.0001"),
            _usd("claude-sonnet-4-5", "0.003", "0.015", "0.0003"),
            _usd("claude-opus-4-5", "0.005", "0.025", "0.0005"),
        )
    }
    """List prices of common models; a test compares them with the bundled map."""

    def __init__(self, currency: str = "USD", clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._currency = parse_currency(currency)
        self._clock = clock
        self._pricing = dict(self.DEFAULT_PRICING)
        self._lock = Lock()

    def set_pricing(self, model: str, pricing: ModelPricing) -> None:
        """Sets the price of a model, in place of an earlier one; reports that were made stay as they are."""
        with self._lock:
            self._pricing[model] = pricing

    def get_pricing(self, model: str) -> ModelPricing | None:
        """Returns the price of a model; None where none is known."""
        with self._lock:
            return self._pricing.get(model)

    def generate_report(self, aggregation: UsageAggregation, currency: str | None = None) -> CostReport:
        """Makes a report of the tokens of an aggregation, by model; what has no price is a line that says so.

        Args:
            aggregation: The usage.
            currency: The report's currency; what is priced in another one is told apart. None is the calculator's.

        Raises:
            Invalid: `currency_unknown`.
        """
        own = self._currency if currency is None else parse_currency(currency)
        lines: dict[str, list[LineItem]] = {own: []}
        for model, sums in sorted(aggregation.by_model.items()):
            pricing = self.get_pricing(model)
            code = own if pricing is None else pricing.currency
            lines.setdefault(code, []).extend(_lines(model, sums, pricing))
        reports = {code: self._report(aggregation, code, tuple(items)) for code, items in lines.items()}
        others = tuple(report for code, report in sorted(reports.items()) if code != own)
        return replace(reports[own], in_other_currencies=others)

    def _report(self, aggregation: UsageAggregation, currency: str, items: tuple[LineItem, ...]) -> CostReport:
        return CostReport(
            report_id=new_id(),
            tenant_id=aggregation.tenant_id,
            period_start=aggregation.period_start,
            period_end=aggregation.period_end,
            currency=currency,
            line_items=items,
            created_at=self._clock(),
        )


def _lines(model: str, sums: Sums, pricing: ModelPricing | None) -> Iterator[LineItem]:
    parts = dict(token_counts(sums).parts())
    # An embedding model has no replies, and its tokens are those of its input.
    parts[TokenPart.INPUT] += sums.get(UsageType.EMBEDDING_TOKENS, 0)
    prices = None if pricing is None else pricing.prices()
    for part, tokens in parts.items():
        if tokens:
            name = part.value.replace("_", " ")
            quantity = Unit.THOUSAND.each(Decimal(tokens))
            price = Decimal(0) if prices is None else prices[part]
            priced = "" if prices is not None else " (unpriced)"
            yield LineItem(
                description=f"{model} {name} tokens{priced}",
                quantity=quantity,
                unit=THOUSAND_TOKENS,
                unit_price=price,
                total=product(quantity, price),
                priced=prices is not None,
            )
