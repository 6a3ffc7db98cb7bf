"""Checks of untrusted JSON: depth, numbers, texts and number of values."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice

from taskforce.core.domain.canonical_json import is_exact
from taskforce.core.domain.errors import Invalid

MAX_DEPTH = 60
# Possessive quantifiers: an unterminated string must not cost quadratic time.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.?+)*+(?:"|\Z)', re.DOTALL)
_NOT_KEPT = re.compile("[\x00\ud800-\udfff]")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def check_document(value: object, what: str) -> None:
    """Requires parsed JSON that can be stored as `jsonb`, hashed and walked through recursively.

    Args:
        value: Parsed JSON.
        what: The noun for the error, for example `context`.

    Raises:
        Invalid: `<what>_malformed` when it is nested deeper than 60 levels, or holds a number that canonical JSON does
            not represent exactly: an infinite one, or a whole one with more digits than a float.
    """
    for part, depth in _parts(value):
        if depth > MAX_DEPTH or (isinstance(part, int | float) and not is_exact(part)):
            text = (
                f"The {what} must not be nested deeper than {MAX_DEPTH} levels, and every number must be finite, and "
                "have no more digits than a float if it is larger than 10^21."
            )
            raise Invalid(f"{what}_malformed", text)


def check_texts(value: object, what: str) -> None:
    """Requires texts that PostgreSQL stores unchanged, for content that must be stored exactly as sent.

    Args:
        value: Parsed JSON that `check_document` has accepted.
        what: The noun for the error.

    Raises:
        Invalid: `<what>_malformed` when a text holds NUL or a lone surrogate.
    """
    for part, _ in _parts(value):
        names = [str(name) for name in part] if isinstance(part, Mapping) else []
        if any(map(_NOT_KEPT.search, [part, *names] if isinstance(part, str) else names)):
            raise Invalid(f"{what}_malformed", f"No text in the {what} may hold NUL or a lone surrogate.")


def parts_in(value: object, most: int) -> int:
    """Counts the values of a document, itself and containers included.

    Args:
        value: Parsed JSON.
        most: Number above which counting stops.
    """
    return sum(1 for _ in islice(_parts(value), most + 1))


def values_in(text: bytes, most: int) -> int:
    """Estimates the number of values in unparsed JSON, whose parsing may cost far more than its size suggests.

    Args:
        text: Untrusted JSON text.
        most: Number at which counting may stop.

    Returns:
        At least the number of values, or anything above `most`; exactly that number where no array or object is empty.
    """
    # Fast path: with the marks inside strings counted too, most documents are still within the limit.
    if (rough := 1 + _marks(text, 0, len(text))) <= most:
        return rough
    found, end = 1, 0
    for strings, string in enumerate(_STRING.finditer(text)):
        found += _marks(text, end, string.start())
        end = string.end()
        # Each value has one key at most, so more strings than twice the values mean more values, or malformed JSON.
        if max(found, strings // 2) > most:
            return most + 1
    return found + _marks(text, end, len(text))


def _marks(text: bytes, start: int, end: int) -> int:
    return text.count(b",", start, end) + text.count(b"[", start, end) + text.count(b"{", start, end)


def walk(value: object) -> Iterator[object]:
    """Iterates over all values of a document, itself first."""
    return (part for part, _ in _parts(value))


def _parts(value: object) -> Iterator[tuple[object, int]]:
    """Iterates over all values of a document with their depths; callers stop where it is too deep."""
    # A stack of our own: recursion would fail on the nesting that callers look for.
    waiting = [(value, 0)]
    while waiting:
        part, depth = waiting.pop()
        yield part, depth
        if isinstance(part, Mapping):
            waiting += [(child, depth + 1) for child in part.values()]
        elif isinstance(part, list | tuple):
            waiting += [(child, depth + 1) for child in part]


def moment(value: object) -> datetime | None:
    """Parses a time by RFC 3339, with its zone.

    Args:
        value: Parsed JSON.

    Returns:
        The time, UTC; None for anything else.
    """
    # `fromisoformat` accepts more than RFC 3339, such as dates without a time.
    if not isinstance(value, str) or _MOMENT.fullmatch(value) is None:
        return None
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


Json = Mapping[str, object]
