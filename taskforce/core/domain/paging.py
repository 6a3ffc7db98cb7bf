"""Keyset pagination of lists."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a list ordered by (time, id), newest first; `before` is the key of the last entry of the page
    before.
    """

    limit: int
    before: tuple[datetime, str] | None = None
