"""The protocol of the clock, which is injected wherever the time matters."""

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Returns the time; tests pass one of their own."""

    def __call__(self) -> datetime:
        """Returns the time now, UTC."""
        ...


def utc_now() -> datetime:
    """Returns the system's time, UTC."""
    return datetime.now(UTC)
