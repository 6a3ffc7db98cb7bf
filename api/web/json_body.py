"""Strict JSON of request bodies: UTF-8, and nothing that PostgreSQL or a later reader could not represent."""

import asyncio
import json
import math

from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.json_limits import values_in

MAX_DEPTH = 40
MAX_VALUES = 10_000
LARGEST_INTEGER = 2**63 - 1

# Above this size the check takes longer than handing it to a thread.
_LARGE = 32_768


async def check_body(body: bytes) -> None:
    """Requires strict JSON, checking large bodies off the event loop; see `check_json`."""
    if len(body) > _LARGE:
        await asyncio.to_thread(check_json, body)
    else:
        check_json(body)


def check_json(body: bytes) -> None:
    """Requires that a body is strict JSON.

    Args:
        body: The body as received.

    Raises:
        Invalid: `json_invalid`: not UTF-8, not JSON, NaN or Infinity, an integer beyond 64 bits, nested too deeply, too
            many values, a key twice in one object, or a text with NUL or half a character.
    """
    # Counted before parsing: a value of two bytes becomes a Python object of a hundred.
    if values_in(body, MAX_VALUES) > MAX_VALUES:
        raise _invalid(f"it has more than {MAX_VALUES} values")
    try:
        text = body.decode("utf-8")
        value = json.loads(
            text,
            parse_constant=_no_constant,
            parse_int=_integer,
            parse_float=_number,
            object_pairs_hook=_unique,
        )
    except UnicodeDecodeError:
        raise _invalid("it is not UTF-8") from None
    except RecursionError:
        raise _invalid(f"it is nested deeper than {MAX_DEPTH} levels") from None
    except json.JSONDecodeError as error:
        raise _invalid(f"line {error.lineno}, column {error.colno}") from None
    _check(value, MAX_DEPTH)


def _check(value: object, room: int) -> None:
    if room == 0:
        raise _invalid(f"it is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, list):
        for each in value:
            _check(each, room - 1)
    elif isinstance(value, dict):
        for name, each in value.items():
            _check_text(name)
            _check(each, room - 1)


def _check_text(text: str) -> None:
    if "\x00" in text:
        raise _invalid("a text holds the character NUL")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise _invalid("a text holds half of a surrogate pair")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _invalid("an object has a key twice")
    return found


def _integer(digits: str) -> int:
    if len(digits) > len(str(-LARGEST_INTEGER)) or abs(int(digits)) > LARGEST_INTEGER:
        raise _invalid("an integer is beyond 64 bits; send it as a text")
    return int(digits)


def _number(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise _invalid("a number is too large")
    return number


def _no_constant(name: str) -> object:
    raise _invalid(f"{name} is not JSON")


def _invalid(what: str) -> Invalid:
    return Invalid("json_invalid", f"The body is not the JSON that we accept: {what}.")
