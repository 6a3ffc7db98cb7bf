"""Canonical JSON (RFC 8785), so that equal content has equal hashes wherever they are computed."""

import hashlib
import json
from collections.abc import Mapping
from decimal import Decimal
from math import isfinite

# ECMAScript writes numbers from 1e-6 to below 1e21 without an exponent.
_MOST_DIGITS = 21
_LEAST_PLAIN_POINT = -5


def canonical_json(value: object) -> str:
    """Serializes JSON-compatible content in canonical form: keys sorted, no spaces, each number in one spelling.

    An `int` keeps all of its digits, where the RFC would round it to a double.

    Args:
        value: Parsed JSON with finite numbers only.
    """
    if isinstance(value, Mapping):
        members = sorted(value.items(), key=lambda member: _units(member[0]))
        return "{" + ",".join(f"{_text(name)}:{canonical_json(part)}" for name, part in members) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(canonical_json(part) for part in value) + "]"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    return _number(value)


def canonical_hash(value: object) -> str:
    """Returns the SHA-256 in hex over the canonical form."""
    return hashlib.sha256(canonical_json(value).encode("utf-8", "surrogatepass")).hexdigest()


def is_exact(number: float) -> bool:
    """Tells whether the canonical form represents a number exactly, so that no other number has the same form.

    Args:
        number: An int or a float.
    """
    if not isinstance(number, int) or abs(number) < 10**_MOST_DIGITS:
        return isfinite(number)
    try:
        return Decimal(repr(float(number))) == number
    except OverflowError:
        return False


def _units(name: str) -> bytes:
    # RFC 8785, section 3.2.3: keys are sorted by UTF-16 code units, not by code points.
    return name.encode("utf-16-be", "surrogatepass")


def _text(text: str) -> str:
    # RFC 8785, section 3.2.2.2: nothing is escaped but what JSON demands.
    return json.dumps(text, ensure_ascii=False)


def _number(value: object) -> str:
    if not isinstance(value, int | float):
        raise TypeError(f"{type(value).__name__} is not JSON")
    if isinstance(value, int) and abs(value) < 10**_MOST_DIGITS:
        return str(value)
    return _as_javascript(float(value))


def _as_javascript(number: float) -> str:
    """Formats the shortest digits that round-trip, as ECMAScript's `Number::toString` does."""
    sign, figures, exponent = Decimal(repr(number)).normalize().as_tuple()
    # ECMAScript writes -0 as 0.
    digits, minus = "".join(map(str, figures)), "-" if sign and number else ""
    point = len(digits) + int(exponent)
    if len(digits) <= point <= _MOST_DIGITS:
        return f"{minus}{digits}{'0' * (point - len(digits))}"
    if _LEAST_PLAIN_POINT <= point <= 0:
        return f"{minus}0.{'0' * -point}{digits}"
    if 0 < point < len(digits):
        return f"{minus}{digits[:point]}.{digits[point:]}"
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{minus}{digits[0]}{fraction}e{point - 1:+d}"
