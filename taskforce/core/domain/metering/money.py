"""Amounts of money and of what is priced: exact decimals, rounded once, when a report is issued."""

import re
from collections.abc import Iterable, Sequence
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal, Inexact, InvalidOperation, Overflow
from typing import Final

from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.metering.currencies import CURRENCIES

MOST_DIGITS: Final = 12
"""Digits that an amount which a caller sends may have before its point, and after it."""

_AMOUNT = re.compile(rf"(-?)([0-9]{{1,{MOST_DIGITS}}})(\.[0-9]{{1,{MOST_DIGITS}}})?")
# A price has 24 decimals at most, and a count 19 digits: so nothing that is real comes near, and a fault raises.
_EXACT = Context(prec=500, traps=[Inexact, InvalidOperation, Overflow])
_ROUNDED = Context(prec=500)
_SMALLEST = Decimal(1).scaleb(-24)


def product(one: Decimal, other: Decimal | int) -> Decimal:
    """Multiplies exactly, whatever the precision of the thread's decimal context is."""
    return _EXACT.multiply(one, Decimal(other))


def total(amounts: Iterable[Decimal]) -> Decimal:
    """Adds up exactly; 0 for none."""
    added = Decimal(0)
    for amount in amounts:
        added = _EXACT.add(added, amount)
    return added


def scaled(amount: Decimal, powers_of_ten: int) -> Decimal:
    """Multiplies an amount by a power of ten, exactly.

    Args:
        amount: The amount.
        powers_of_ten: The exponent; negative divides.
    """
    return _EXACT.scaleb(amount, powers_of_ten)


def rounded(amount: Decimal, currency: str) -> Decimal:
    """Rounds an amount to the decimals of its currency, half to even.

    Args:
        amount: The exact amount.
        currency: A code of `CURRENCIES`.
    """
    return _quantized(amount, currency, ROUND_HALF_EVEN)


def allotted(amounts: Sequence[Decimal], whole: Decimal, currency: str) -> tuple[Decimal, ...]:
    """Rounds amounts so that they add up to a rounded whole: the method of the largest remainder.

    Each is rounded down to the decimals of the currency; what is then missing goes, a smallest coin each, to those of
    which most was cut off. So none differs from its exact amount by a whole coin.

    Args:
        amounts: The exact amounts.
        whole: Their sum, rounded down or up to the decimals of the currency.
        currency: A code of `CURRENCIES`.

    Raises:
        ValueError: The whole is not their rounded sum.
    """
    floors = [_quantized(amount, currency, ROUND_FLOOR) for amount in amounts]
    coin = _coin(currency)
    coins = int(_EXACT.divide_int(_EXACT.subtract(whole, total(floors)), coin))
    if not 0 <= coins <= len(amounts):
        raise ValueError("The whole is not the rounded sum of the amounts.")
    by_cut = sorted(range(len(amounts)), key=lambda one: (_EXACT.subtract(floors[one], amounts[one]), one))
    lucky = frozenset(by_cut[:coins])
    return tuple(_EXACT.add(floor, coin) if one in lucky else floor for one, floor in enumerate(floors))


def apportioned(amount: Decimal, weights: Sequence[Decimal]) -> tuple[Decimal, ...]:
    """Divides an amount in proportion to weights, to 24 decimals; the parts add up to it exactly.

    Args:
        amount: The amount, of 0 or more.
        weights: The weights, of 0 or more; one at least is above 0.
    """
    whole, left, parts = total(weights), amount, list[Decimal]()
    for weight in weights[:-1]:
        share = _ROUNDED.divide(product(amount, weight), whole).quantize(_SMALLEST, ROUND_FLOOR, _ROUNDED)
        parts.append(share)
        left = _EXACT.subtract(left, share)
    return (*parts, left)


def average(amount: Decimal, quantity: Decimal) -> Decimal:
    """Divides an amount by a quantity, to 24 decimals, half to even."""
    return _ROUNDED.divide(amount, quantity).quantize(_SMALLEST, ROUND_HALF_EVEN, _ROUNDED)


def is_in_coins(amount: Decimal, currency: str) -> bool:
    """Returns whether an amount has no more decimals than its currency."""
    return _quantized(amount, currency, ROUND_FLOOR) == amount


def _coin(currency: str) -> Decimal:
    return Decimal(1).scaleb(-CURRENCIES[currency])


def _quantized(amount: Decimal, currency: str, rounding: str) -> Decimal:
    return amount.quantize(_coin(currency), rounding=rounding, context=_ROUNDED)


def plain(amount: Decimal) -> str:
    """Writes an amount with all its digits, without an exponent and without zeros at its end; for JSON and people."""
    text = format(amount, "f")
    short = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if short in {"", "-0"} else short


def parse_amount(text: str | int | Decimal, name: str, *, negative: bool = False) -> Decimal:
    """Validates an amount that a caller sent.

    Args:
        text: Digits with a point, for example `2.50`: below 10^12, and with 12 decimals at most. No float is taken.
        name: Its name in the error.
        negative: Whether it may be below 0.

    Raises:
        Invalid: `amount_invalid`, also for NaN, infinities and exponents.
    """
    written = format(text, "f") if isinstance(text, Decimal) and text.is_finite() else str(text)
    # A program may send a float all the same, whose digits are not those that it was written with.
    fit = not isinstance(text, bool | float) and len(written) <= 2 * MOST_DIGITS + 2
    parts = _AMOUNT.fullmatch(written) if fit else None
    if parts is None or (parts[1] and not negative):
        sign = "" if negative else "of 0 or more "
        wanted = f"is an amount {sign}below 10^{MOST_DIGITS} with {MOST_DIGITS} decimals at most, for example 2.50."
        raise Invalid("amount_invalid", f"{name}: {wanted}")
    return Decimal(written)
