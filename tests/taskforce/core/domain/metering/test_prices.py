"""Costs of calls, by hand."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.metering.prices import (
    MAX_TIERS,
    Price,
    PriceTier,
    Resource,
    TokenPrices,
    Unit,
    UnitPrice,
    cost_of,
    model_charge,
    unit_charge,
)
from taskforce.core.domain.metering.tokens import TokenCounts, TokenPart

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)


def per_million(tiers: Mapping[int, Mapping[str, str]] | None = None, **prices: str) -> TokenPrices:
    stated = TokenPrices(
        {TokenPart(part): Decimal(price) for part, price in prices.items()},
        tuple(
            PriceTier(above, {TokenPart(part): Decimal(price) for part, price in own.items()})
            for above, own in (tiers or {}).items()
        ),
    )
    return stated.times(-Unit.MILLION.zeros)


def cost(counts: TokenCounts, tokens: TokenPrices) -> str:
    return str(cost_of(counts, Price("m", "USD", tokens, "test")).normalize())


SONNET = per_million(input="3", output="15", cached="0.30", cache_write="3.75")


@pytest.mark.parametrize(
    ("counts", "tokens", "expected"),
    [
        # 5,005 uncached at 1.25, 257,955 cached at 0.125 and 1,744 at 10 a million, below the tier of another model.
        (
            TokenCounts(262_960, 1_744, cached=257_955),
            per_million(input="1.25", output="10", cached="0.125"),
            "0.055940625",
        ),
        # 3 uncached at 3, 12,304 written to the cache at 3.75, 550 at 15.
        (TokenCounts(12_307, 550, cache_write=12_304), SONNET, "0.054399"),
        # Cached tokens without a price of their own cost what input costs: once.
        (TokenCounts(1_000, 0, cached=1_000), per_million(input="2", output="8"), "0.002"),
        # Reasoning is part of the output: 300 at 60, 150 at 10, and 50 of audio at 80.
        (
            TokenCounts(0, 500, reasoning=300, audio_output=50),
            per_million(input="1", output="10", reasoning="60", audio_output="80"),
            "0.0235",
        ),
        (TokenCounts(0, 500, reasoning=300), per_million(input="1", output="10"), "0.005"),
        (TokenCounts(100, 0, audio_input=40), per_million(input="1", output="1", audio_input="32"), "0.00134"),
        (TokenCounts(), SONNET, "0"),
    ],
)  # fmt: skip
def test_what_a_call_costs(counts: TokenCounts, tokens: TokenPrices, expected: str) -> None:
    assert cost(counts, tokens) == expected


GEMINI = per_million(
    {200_000: {"input": "2.50", "output": "15", "cached": "0.25"}}, input="1.25", output="10", cached="0.125"
)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (TokenCounts(200_000, 10), "0.2501"),
        (TokenCounts(200_001, 10), "0.5001525"),
        # The whole prompt decides, also where most of it is cached: 5,005 at 2.50, 257,955 at 0.25, 1,744 at 15.
        (TokenCounts(262_960, 1_744, cached=257_955), "0.10316125"),
    ],
)
def test_a_larger_prompt_has_the_prices_of_its_tier_for_all_of_its_tokens(counts: TokenCounts, expected: str) -> None:
    assert cost(counts, GEMINI) == expected


def test_a_tier_keeps_the_prices_that_it_does_not_state() -> None:
    tokens = per_million({1_000: {"input": "4"}, 100: {"output": "20"}}, input="2", output="10", cached="1")
    assert cost(TokenCounts(101, 1), tokens) == "0.000222"
    assert cost(TokenCounts(1_001, 1, cached=1), tokens) == "0.004021"


@given(
    st.integers(0, 10**12), st.integers(0, 10**12), st.integers(0, 10**6), st.decimals(0, 1_000, places=12)
)  # fmt: skip
def test_with_one_price_for_all_parts_a_call_costs_its_tokens_times_it(
    prompt: int, reply: int, part: int, price: Decimal
) -> None:
    counts = TokenCounts(prompt, reply, cached=part, cache_write=part, reasoning=part, audio_input=part)
    tokens = TokenPrices({TokenPart.INPUT: price, TokenPart.OUTPUT: price}).times(-6)
    whole = int(price.scaleb(12)) * counts.total
    assert cost_of(counts, Price("m", "USD", tokens, "test")) == Decimal(whole) / 10**18 or whole >= 10**28


@pytest.mark.parametrize(
    ("prices", "tiers", "code"),
    [
        ({"input": "1"}, {}, "price_incomplete"),
        ({"output": "1", "cached": "1"}, {}, "price_incomplete"),
        ({"input": "1", "output": "1"}, {0: {}}, "price_tiers_invalid"),
        ({"input": "1", "output": "1"}, {bound: {} for bound in range(1, MAX_TIERS + 2)}, "price_tiers_invalid"),
    ],
)
def test_prices_that_do_not_add_up_are_refused(
    prices: Mapping[str, str], tiers: Mapping[int, Mapping[str, str]], code: str
) -> None:
    with pytest.raises(Invalid) as refused:
        per_million(tiers, **prices)
    assert refused.value.code == code


def test_units_are_exact_both_ways() -> None:
    assert Unit.MILLION.each(Decimal("0.15")) == Decimal("0.00000015")
    for unit in Unit:
        assert unit.of(unit.each(Decimal("0.123456789012"))) == Decimal("0.123456789012")


class Book:
    """Two prices, for all times."""

    def price(self, model: str, at: datetime) -> Price | None:
        return Price(model, "USD", SONNET, "test") if model == "known" else None

    def unit_price(self, resource: Resource, name: str, at: datetime) -> UnitPrice | None:
        each = Decimal("0.000000000004")
        return UnitPrice(resource, name, "EUR", each, "test") if resource is Resource.STORAGE else None


def test_a_charge_says_what_the_price_came_from_and_an_unknown_price_is_none() -> None:
    charge = model_charge(Book(), "known", TokenCounts(1_000_000, 0), NOW)
    assert charge is not None
    assert (charge.cost, charge.currency, charge.source) == (Decimal(3), "USD", "test")
    assert model_charge(Book(), "unknown", TokenCounts(), NOW) is None
    stored = unit_charge(Book(), Resource.STORAGE, "", NOW, quantity=10**12)
    assert stored is not None
    assert (stored.cost, stored.currency) == (Decimal(4), "EUR")
    assert unit_charge(Book(), Resource.TOOL, "calculator", NOW) is None
