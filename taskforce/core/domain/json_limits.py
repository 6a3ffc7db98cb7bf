"""JSON that came from outside: what of it can be kept, hashed and walked through."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from taskforce.core.domain.canonical_json import is_exact
from taskforce.core.domain.errors import Invalid

MAX_DEPTH = 60
_STRING = re.compile(rb'"(?:[^"\\]++|\\.?+)*+(?:"|\Z)', re.DOTALL)
_NOT_KEPT = re.compile("[\x00\ud800-\udfff]")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def check_document(value: object, what: str) -> None:
    """Refuses parsed JSON that no `jsonb` column, no hash or no recursive walk could take.

    Args:
        value: What a JSON parser returned.
        what: The noun for the error, for example `context`.

    Raises:
        Invalid: `<what>_malformed`: it is nested deeper than 60 levels, or holds a number that canonical JSON does not
            say exactly: an infinite one, or a whole one of so many digits that a float says another.
    """
    for part, depth in _parts(value):
        if depth > MAX_DEPTH or (isinstance(part, int | float) and not is_exact(part)):
            text = (
                f"The {what} must not be nested deeper than {MAX_DEPTH} levels, and every number must be finite, and "
                "have no more digits than a float if it is larger than 10^21."
            )
            raise Invalid(f"{what}_malformed", text)


def check_texts(value: object, what: str) -> None:
    """Refuses texts that PostgreSQL keeps as others, where exactly what was sent must be kept.

    Args:
        value: What `check_document` has passed.
        what: The noun for the error.

    Raises:
        Invalid: `<what>_malformed`: a text holds NUL, or half of a character.
    """
    for part, _ in _parts(value):
        names = [str(name) for name in part] if isinstance(part, Mapping) else []
        if any(map(_NOT_KEPT.search, [part, *names] if isinstance(part, str) else names)):
            raise Invalid(f"{what}_malformed", f"No text in the {what} may hold NUL or a lone surrogate.")


def parts_in(value: object) -> int:
    """How many values a document holds, itself and those that hold others included; each costs as much as a text."""
    return sum(1 for _ in _parts(value))


def values_in(text: bytes, most: int) -> int:
    """Counts the values of JSON that is not parsed yet, for parsing it costs far more than its bytes say.

    Args:
        text: The JSON, or what claims to be it.
        most: Where counting may stop.

    Returns:
        At least the number of values, or anything above `most`; exactly that number where no array or object is empty.
    """
    # Mostly the marks that stand in texts as well are few enough.
    if (rough := 1 + _marks(text, 0, len(text))) <= most:
        return rough
    found, end = 1, 0
    for strings, string in enumerate(_STRING.finditer(text)):
        found += _marks(text, end, string.start())
        end = string.end()
        # A value has one key at most: more texts than that are more values, or no JSON.
        if max(found, strings // 2) > most:
            return most + 1
    return found + _marks(text, end, len(text))


def _marks(text: bytes, start: int, end: int) -> int:
    return text.count(b",", start, end) + text.count(b"[", start, end) + text.count(b"{", start, end)


def walk(value: object) -> Iterator[object]:
    """Every value in a document, itself first; whoever walks may stop."""
    return (part for part, _ in _parts(value))


def _parts(value: object) -> Iterator[tuple[object, int]]:
    """Everything in a document, with its depth; whoever walks stops where it is too deep."""
    waiting = [(value, 0)]
    while waiting:
        part, depth = waiting.pop()
        yield part, depth
        if isinstance(part, Mapping):
            waiting += [(child, depth + 1) for child in part.values()]
        elif isinstance(part, list | tuple):
            waiting += [(child, depth + 1) for child in part]


def moment(value: object) -> datetime | None:
    """Reads a time as RFC 3339 writes it, with its zone; None for anything else.

    Args:
        value: Parsed JSON.

    Returns:
        The time, UTC.
    """
    if not isinstance(value, str) or _MOMENT.fullmatch(value) is None:
        return None
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


Json = Mapping[str, object]
