"""A page of a list that is read by keyset."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Page:
    """A place in a list that is ordered by (time, id), newest first."""

    limit: int
    before: tuple[datetime, str] | None = None
