"""JSON that came from outside: what of it can be kept, hashed and walked through."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from math import isfinite

from taskforce.core.domain.errors import Invalid

MAX_DEPTH = 60
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def check_document(value: object, what: str) -> None:
    """Refuses parsed JSON that no `jsonb` column, no hash or no recursive walk could take.

    Args:
        value: What a JSON parser returned.
        what: The noun for the error, for example `context`.

    Raises:
        Invalid: `<what>_malformed`: it is nested deeper than 60 levels, or holds a number without a finite value.
    """
    waiting = [(value, 0)]
    while waiting:
        part, depth = waiting.pop()
        if depth > MAX_DEPTH or (isinstance(part, float) and not isfinite(part)):
            text = f"The {what} must not be nested deeper than {MAX_DEPTH} levels, and every number must be finite."
            raise Invalid(f"{what}_malformed", text)
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
