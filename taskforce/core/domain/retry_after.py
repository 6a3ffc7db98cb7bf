"""The `Retry-After` header of HTTP responses (RFC 9110, section 10.2.3)."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_WAIT_SECONDS = 86_400.0


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Parses `Retry-After`, or OpenAI's `retry-after-ms`, which takes precedence.

    Args:
        headers: Response headers; case-insensitive as httpx's, or with lower-case names.
        now: The time, UTC, from which a date is counted.

    Returns:
        Seconds from now, 0 to a day; None when both are missing or malformed.
    """
    milliseconds, text = headers.get("retry-after-ms"), headers.get("retry-after")
    if milliseconds is not None and (exact := _seconds(milliseconds)) is not None:
        return _bounded(exact / 1000)
    if text is None:
        return None
    seconds = _seconds(text)
    return _bounded(_until(text, now) if seconds is None else seconds)


def _seconds(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _until(text: str, now: datetime) -> float | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return ((date if date.tzinfo else date.replace(tzinfo=UTC)) - now).total_seconds()


def _bounded(seconds: float | None) -> float | None:
    return None if seconds is None else min(max(seconds, 0.0), LONGEST_WAIT_SECONDS)
