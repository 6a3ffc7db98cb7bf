"""Cost reports of programs that embed the library, by hand."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from taskforce.application.reporting import CostCalculator, UsageTracker
from taskforce.application.reporting.cost import CostReport, ModelPricing
from taskforce.application.reporting.usage import UsageType
from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.metering.prices import Unit
from taskforce.core.domain.metering.tokens import TokenPart
from taskforce.infrastructure.llm.price_map import read_price_map

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)


@pytest.fixture
def tracker() -> UsageTracker:
    return UsageTracker(clock=lambda: NOW)


def report(tracker: UsageTracker, *pricing: ModelPricing, currency: str | None = None) -> CostReport:
    calculator = CostCalculator()
    for one in pricing:
        calculator.set_pricing(one.model_name, one)
    return calculator.generate_report(tracker.get_aggregation("acme", NOW, NOW), currency)


def test_default_prices_are_those_of_the_bundled_map() -> None:
    bundled = read_price_map()
    for model, pricing in CostCalculator.DEFAULT_PRICING.items():
        price = bundled.price(model)
        assert price is not None, model
        for part in (TokenPart.INPUT, TokenPart.OUTPUT, TokenPart.CACHED):
            assert Unit.THOUSAND.of(price.tokens.of(0)[part]) == pricing.prices()[part], (model, part)


def test_cached_and_reasoning_tokens_are_lines_of_their_own_and_charged_once(tracker: UsageTracker) -> None:
    tracker.record_tokens("acme", 262_960, 1_744, "m", cached_tokens=257_955, reasoning_tokens=1_000)
    price = ModelPricing("m", Decimal("0.00125"), Decimal("0.01"), cached_token_price=Decimal("0.000125"))
    made = report(tracker, price)
    # 5.005 at 0.00125, 257.955 at 0.000125, 0.744 and 1 at 0.01.
    assert [(item.description, item.total) for item in made.line_items] == [
        ("m input tokens", Decimal("0.00625625")),
        ("m cached tokens", Decimal("0.032244375")),
        ("m output tokens", Decimal("0.00744")),
        ("m reasoning tokens", Decimal("0.01")),
    ]
    assert (made.total, made.amount_due) == (Decimal("0.055940625"), Decimal("0.06"))


def test_many_small_lines_are_rounded_once(tracker: UsageTracker) -> None:
    prices = [ModelPricing(f"m{number}", Decimal("0.004"), Decimal(0)) for number in range(10)]
    for one in prices:
        tracker.record_tokens("acme", 1_000, 0, one.model_name)
    made = report(tracker, *prices)
    assert (made.subtotal, made.amount_due) == (Decimal("0.04"), Decimal("0.04"))


def test_a_model_without_a_price_is_told_and_is_no_zero(tracker: UsageTracker) -> None:
    tracker.record_tokens("acme", 1_000, 10, "unheard-of")
    tracker.record_tokens("acme", 1_000, 0, "gpt-4o")
    made = report(tracker)
    assert [item.description for item in made.unpriced] == [
        "unheard-of input tokens (unpriced)",
        "unheard-of output tokens (unpriced)",
    ]
    lines = made.to_dict()["line_items"]
    assert isinstance(lines, list)
    assert [(line["total"], line["priced"]) for line in lines] == [("0.0025", True), (None, False), (None, False)]


def test_other_currencies_are_reported_apart(tracker: UsageTracker) -> None:
    tracker.record_tokens("acme", 1_000, 0, "gpt-4o")
    tracker.record_tokens("acme", 1_000, 0, "mistral")
    tracker.record_tokens("acme", 1_500, 0, "sakura")
    prices = (
        ModelPricing("mistral", Decimal("0.5"), Decimal(1), currency="EUR"),
        ModelPricing("sakura", Decimal(1), Decimal(1), currency="JPY"),
    )
    made = report(tracker, *prices)
    assert (made.currency, made.total) == ("USD", Decimal("0.0025"))
    assert [(one.currency, one.amount_due) for one in made.in_other_currencies] == [
        ("EUR", Decimal("0.50")),
        ("JPY", Decimal(2)),
    ]
    euros = report(tracker, *prices, currency="EUR")
    assert (euros.currency, euros.total) == ("EUR", Decimal("0.5"))
    assert [one.currency for one in euros.in_other_currencies] == ["JPY", "USD"]


def test_embedding_tokens_cost_what_input_costs(tracker: UsageTracker) -> None:
    tracker.record("acme", UsageType.EMBEDDING_TOKENS, 3_000, model="embedder")
    assert report(tracker, ModelPricing("embedder", Decimal("0.02"), Decimal(0))).total == Decimal("0.06")


def test_an_adjustment_has_an_amount_a_reason_and_an_author(tracker: UsageTracker) -> None:
    made = report(tracker)
    one = made.apply_adjustment(Decimal("-5.00"), "Discount", author="ada")
    assert (one.author, made.adjustments, made.total) == ("ada", Decimal(-5), Decimal(-5))
    for amount, reason in ((Decimal("NaN"), "x"), (Decimal(10) ** 12, "x"), (Decimal(1), " "), (Decimal(1), "x" * 501)):
        with pytest.raises(Invalid):
            made.apply_adjustment(amount, reason)
    assert made.total == -5


@pytest.mark.parametrize(
    ("price", "currency", "code"),
    [("-0.01", "USD", "amount_invalid"), ("NaN", "USD", "amount_invalid"), ("1", "usd", "currency_unknown")],
)
def test_a_price_that_is_none_is_refused(price: str, currency: str, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        ModelPricing("m", Decimal(price), Decimal(1), currency=currency)
    assert refused.value.code == code


def test_an_unknown_currency_is_refused(tracker: UsageTracker) -> None:
    with pytest.raises(Invalid, match="did you mean EUR"):
        report(tracker, currency="EURO")
