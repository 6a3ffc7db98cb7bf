"""The clock of one reply: it allows a time to the first token, one between two tokens, and one in all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from taskforce.core.domain.runs.reply_times import BETWEEN_TOKENS, FIRST_TOKEN, WHOLE_REPLY, ReplyTimes


class ReplyLateError(Exception):
    """Reports that a reply has used up one of its times.

    Attributes:
        limit: Name of the limit, as in `ReplyTimes`.
        seconds: Its value.
    """

    def __init__(self, limit: str, seconds: float) -> None:
        super().__init__(limit)
        self.limit = limit
        self.seconds = seconds


@dataclass(slots=True)
class ReplyTimer:
    """Ends the reading of a reply when one of its times is over.

    Args:
        times: The limits.
        end: The event loop's time at which the whole reply must be there.
        whole_only: Whether only the whole counts, for a model that does not stream.
    """

    times: ReplyTimes
    end: float
    whole_only: bool = False
    _timer: asyncio.Timeout = field(init=False)
    _limit: str = field(init=False, default=WHOLE_REPLY)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs the clock.

        Raises:
            ReplyLateError: A time is over.
        """
        self._timer = asyncio.timeout_at(self._due(FIRST_TOKEN))
        try:
            async with self._timer:
                yield
        except TimeoutError:
            # A library's own timeout passes as it is.
            if not self._timer.expired():
                raise
            raise ReplyLateError(self._limit, getattr(self.times, self._limit)) from None

    def token(self) -> None:
        """Takes note of a token."""
        if not self._timer.expired():
            self._timer.reschedule(self._due(BETWEEN_TOKENS))

    def _due(self, limit: str) -> float:
        due = asyncio.get_running_loop().time() + getattr(self.times, limit)
        is_whole = self.whole_only or due >= self.end
        self._limit = WHOLE_REPLY if is_whole else limit
        return self.end if is_whole else due
