"""Amounts and currencies."""

from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.metering.currencies import CURRENCIES, parse_currency
from taskforce.core.domain.metering.money import parse_amount, plain, product, rounded, scaled, total

LARGEST = Decimal("999999999999.999999999999")


LONG = ("1" * 13, "0." + "1" * 13, "9" * 10_000)
NUMBERS = (Decimal("NaN"), Decimal("Infinity"), Decimal("1E+12"), -1, 10**12)


@pytest.mark.parametrize(
    "text",
    ["NaN", "-1", "Infinity", "1e3", "1_000", "1,5", "", " 1", "1 ", ".5", "5.", "\u0663", *LONG, *NUMBERS],
)
def test_what_is_no_amount_is_refused(text: str | int | Decimal) -> None:
    with pytest.raises(Invalid) as refused:
        parse_amount(text, "input")
    assert refused.value.code == "amount_invalid"
    assert refused.value.message.startswith("input: ")


def test_no_float_and_no_boolean_is_taken() -> None:
    for value in (0.1, True, None):
        with pytest.raises(Invalid):
            parse_amount(value, "input")  # type: ignore[arg-type]


def test_amounts_are_taken_as_they_are_written() -> None:
    assert parse_amount("2.50", "input") == Decimal("2.5")
    assert parse_amount(3, "input") == 3
    assert parse_amount(Decimal("1E-12"), "input") == Decimal("0.000000000001")
    assert parse_amount(str(LARGEST), "input") == LARGEST
    assert parse_amount("-5.00", "amount", negative=True) == -5


@given(st.decimals(min_value=0, max_value=LARGEST, places=12), st.integers(0, 10**19))
def test_products_are_exact_whatever_the_precision_of_the_thread(price: Decimal, count: int) -> None:
    with localcontext() as context:
        context.prec = 3
        each = scaled(price, -9)
        found = product(each, count)
    # The price of a token has 21 decimals here, as a whole number of them the product must be that of whole numbers.
    assert int(scaled(found, 21)) == int(scaled(price, 12)) * count


def test_sums_are_exact_where_floats_and_short_contexts_are_not() -> None:
    tiny = Decimal("0.000000000000000001")
    assert total([LARGEST, tiny, -LARGEST]) == tiny
    assert total([]) == 0


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        ("0.125", "USD", "0.12"),
        ("0.135", "USD", "0.14"),
        ("-0.005", "EUR", "-0.00"),
        ("1.5", "JPY", "2"),
        ("0.00065", "KWD", "0.001"),
    ],
)
def test_money_is_rounded_to_the_decimals_of_its_currency(amount: str, currency: str, expected: str) -> None:
    assert str(rounded(Decimal(amount), currency)) == expected


def test_amounts_are_written_plainly() -> None:
    written = {"1E-7": "0.0000001", "2.50": "2.5", "1E+3": "1000", "0.0": "0", "-0.00": "0", "100": "100"}
    assert {text: plain(Decimal(text)) for text in written} == written


def test_currencies_are_those_of_the_standard() -> None:
    assert {"USD": 2, "EUR": 2, "JPY": 0, "KWD": 3, "CLF": 4}.items() <= CURRENCIES.items()
    assert {"XAU", "XXX", "XTS", "BTC", "usd"}.isdisjoint(CURRENCIES)
    assert parse_currency("CHF") == "CHF"


@pytest.mark.parametrize(
    ("text", "hint"),
    [("usd", "did you mean USD?"), ("EURO", "did you mean EUR?"), ("$", "for example USD."), ("9" * 999, "ISO 4217")],
)
def test_an_unknown_currency_is_refused_with_the_nearest_one(text: str, hint: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_currency(text)
    assert refused.value.code == "currency_unknown"
    assert hint in refused.value.message
