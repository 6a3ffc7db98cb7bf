"""Retries of a failed model call: their pauses, and the status that is shown meanwhile."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

MESSAGE_SHOWN = 500
MOST_LOST_WORKERS = 20
"""Attempts in a row whose worker was lost and that are no failures of the model; more look as if the call did it."""
WORKER_SHUTDOWN: Final = "WorkerShutdown"
"""Temporal's code for an attempt that was broken off because its worker stopped."""
_FIRST_PAUSE = 1.0
_MOST_DOUBLINGS = 12


@dataclass(frozen=True, slots=True)
class ModelRetry:
    """The next retry of a failed model call, or why a step waits: a kill switch, or the database.

    Attributes:
        attempt: Number of the attempt, from 2; 1 for a step that waits.
        at: Time of the attempt, UTC; for a step that waits, the time since which it does.
        code: Error code of the last failure.
        message: Message of the last failure, without secrets.
    """

    attempt: int
    at: datetime
    code: str
    message: str

    @property
    def is_wait(self) -> bool:
        """Returns whether it tells why a step waits, and not of a model call's next attempt."""
        return self.attempt == 1


def pause_before(attempt: int, longest: float, retry_after: float | None, spread: float) -> timedelta:
    """Returns the pause before an attempt: exponential up to the longest, or the provider's `Retry-After` if longer.

    Args:
        attempt: Number of the attempt, from 2.
        longest: Longest exponential pause, in seconds.
        retry_after: Seconds that the provider asks to wait; None when it does not.
        spread: Jitter from 0 to 1; it adds up to a tenth, so that runs that failed together do not retry together.
    """
    # The exponent is capped, or attempts without end would overflow the float.
    doubled = min(longest, _FIRST_PAUSE * 2 ** min(attempt - 2, _MOST_DOUBLINGS))
    return timedelta(seconds=max(doubled, retry_after or 0.0) * (1 + spread / 10))


def gives_up(waited: timedelta, pause: timedelta, patience: float) -> bool:
    """Tells whether the next attempt would come after the patience is over.

    Args:
        waited: Time for which the call has failed, since its first failure.
        pause: Time until the next attempt.
        patience: Seconds from the first failure during which the call is retried.
    """
    return (waited + pause).total_seconds() > patience
