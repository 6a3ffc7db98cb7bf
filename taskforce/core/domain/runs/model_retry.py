"""When a model call that failed is made again, and what people are told meanwhile."""

from dataclasses import dataclass
from datetime import datetime, timedelta

MESSAGE_SHOWN = 500
_FIRST_PAUSE = 1.0
_MOST_DOUBLINGS = 12


@dataclass(frozen=True, slots=True)
class ModelRetry:
    """The next try of a model call that failed.

    Attributes:
        attempt: Its number, from 2.
        at: When it is made, UTC.
        code: The code of the failure before it.
        message: That failure for people; it holds no secret.
    """

    attempt: int
    at: datetime
    code: str
    message: str


def pause_before(attempt: int, longest: float, asked: float | None, spread: float) -> timedelta:
    """The pause before a try: doubled each time up to the longest, or what the provider asks for if that is more.

    Args:
        attempt: The number of the try, from 2.
        longest: Seconds at most.
        asked: Seconds that the provider asks to wait, if it does.
        spread: From 0 to 1: runs that failed together come back up to a tenth apart.
    """
    doubled = min(longest, _FIRST_PAUSE * 2 ** min(attempt - 2, _MOST_DOUBLINGS))
    return timedelta(seconds=max(doubled, asked or 0.0) * (1 + spread / 10))


def gives_up(waited: timedelta, pause: timedelta, patience: float) -> bool:
    """Whether the next try would come too late.

    Args:
        waited: Time since the first failure.
        pause: Time until the next try.
        patience: Seconds in which it is tried again.
    """
    return (waited + pause).total_seconds() > patience
