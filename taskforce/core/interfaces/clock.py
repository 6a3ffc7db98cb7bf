"""The clock that is injected wherever the time matters."""

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """The time, as an argument that tests can choose."""

    def __call__(self) -> datetime:
        """Now, UTC."""
        ...


def utc_now() -> datetime:
    """The time, for everything that takes a clock."""
    return datetime.now(UTC)
