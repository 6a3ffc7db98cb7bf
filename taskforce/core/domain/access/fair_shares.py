"""Fair shares of a bounded number of places, so that no holder keeps the others from theirs.

The rule is the dynamic threshold of shared buffers (Choudhury and Hahne, 1998): a holder gets another place while it
holds fewer than so many times what is free. With a half, alone it gets a third of all, of two each a quarter; with four
times, alone four fifths. Some are always free for whoever comes next. Unlike fixed quotas it needs to know neither the
holders nor their number.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from taskforce.core.domain.errors import DomainError, Limited

TENANT_BUSY: Final = "tenant_busy"
"""Code of the error for work whose tenant has its share of a process in use."""
TURN_SECONDS: Final = 30.0
"""How long a model call waits in a worker for its tenant's turn; its activity's timeout has room for that."""

_Waiting = deque["asyncio.Future[None]"]


class FairShares:
    """Counts who holds how many places, within one process.

    Args:
        places: The number of places.
        busy: Makes the error for a holder that has its share in use.
        times: How many times what is free a holder may have: a half for what may hang, and more for what is given back
            soon.

    Attributes:
        places: The number of places.
    """

    def __init__(self, places: int, busy: Callable[[], DomainError], times: float = 0.5) -> None:
        self.places = places
        self._times = times
        self._busy = busy
        self._held: Counter[str] = Counter()
        self._taken = 0
        self._waiting: dict[str, _Waiting] = {}

    def held_by(self, holder: str) -> int:
        """Returns the number of places that a holder has."""
        return self._held[holder]

    @property
    def waiting(self) -> int:
        """Returns the number of those who wait for a place."""
        return sum(map(len, self._waiting.values()))

    def take(self, holder: str) -> None:
        """Takes a place, to be given back by `release`.

        Raises:
            DomainError: The holder has its share in use.
        """
        if not self._has_room(holder):
            raise self._busy()
        self._hold(holder)

    def release(self, holder: str) -> None:
        """Gives a place back, and hands what is free to those who wait."""
        self._taken -= 1
        self._held[holder] -= 1
        # Otherwise the counter would keep an entry for every holder there ever was.
        if not self._held[holder]:
            del self._held[holder]
        self._admit()

    @contextmanager
    def taken(self, holder: str) -> Iterator[None]:
        """Holds a place until the block ends.

        Raises:
            DomainError: The holder has its share in use.
        """
        self.take(holder)
        try:
            yield
        finally:
            self.release(holder)

    @asynccontextmanager
    async def awaited(self, holder: str, seconds: float) -> AsyncIterator[None]:
        """Holds a place until the block ends, and waits for it before.

        Args:
            holder: The holder.
            seconds: The longest wait.

        Raises:
            DomainError: The holder had its share in use all that time.
        """
        await self.wait(holder, seconds)
        try:
            yield
        finally:
            self.release(holder)

    async def wait(self, holder: str, seconds: float) -> None:
        """Takes a place, to be given back by `release`, and waits for it; who came first of a holder goes first.

        Args:
            holder: The holder.
            seconds: The longest wait.

        Raises:
            DomainError: The holder had its share in use all that time.
        """
        if holder not in self._waiting and self._has_room(holder):
            self._hold(holder)
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(holder, deque()).append(turn)
        try:
            async with asyncio.timeout(seconds):
                await turn
        except (TimeoutError, asyncio.CancelledError) as error:
            # The place may have come in the very moment in which the wait ended.
            if turn.done() and not turn.cancelled():
                if isinstance(error, TimeoutError):
                    return
                self.release(holder)
            else:
                self._forget(holder, turn)
            if isinstance(error, TimeoutError):
                raise self._busy() from None
            raise

    def _has_room(self, holder: str) -> bool:
        return self._held[holder] < self._times * (self.places - self._taken)

    def _hold(self, holder: str) -> None:
        self._taken += 1
        self._held[holder] += 1

    def _admit(self) -> None:
        # One place each in turn: the share of whoever waits with many grows no faster than that of the others.
        admitted = True
        while admitted:
            admitted = False
            for holder in [one for one in self._waiting if self._has_room(one)]:
                # Who was admitted before has made the room smaller.
                admitted |= self._has_room(holder) and self._admit_first(holder)

    def _admit_first(self, holder: str) -> bool:
        turn = self._waiting[holder][0]
        self._forget(holder, turn)
        # Its wait was ended in this turn of the loop, and it has not run since.
        if not turn.done():
            self._hold(holder)
            turn.set_result(None)
        return True

    def _forget(self, holder: str, turn: "asyncio.Future[None]") -> None:
        waiting = self._waiting.get(holder)
        if waiting is None or turn not in waiting:
            return
        waiting.remove(turn)
        if not waiting:
            del self._waiting[holder]


def tenant_busy(retry_after: float) -> Limited:
    """Makes the error for work whose tenant has its share of a process in use.

    Args:
        retry_after: Seconds after which another try makes sense.
    """
    return Limited(TENANT_BUSY, "The tenant has its share of this process in use. Try again.", retry_after=retry_after)
