"""Watch over an event loop: what holds it keeps every tenant waiting."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

EVERY_SECONDS = 0.05
LONGEST_SECONDS = 0.1

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LoopHold:
    """A time in which a loop ran nothing else.

    Attributes:
        seconds: How long it was. On a machine with too much to do, other processes may have had most of it.
        cpu_seconds: How long the loop's thread worked of it, at least.
    """

    seconds: float
    cpu_seconds: float


def _warn(hold: LoopHold) -> None:
    _log.warning("loop.held", ms=round(hold.seconds * 1_000), cpu_ms=round(hold.cpu_seconds * 1_000))


class LoopWatch:
    """Measures by how much a timer comes late, which is how long the loop was held before it.

    Args:
        report: Called with each hold that was longer than `longest`.
        longest: How long the loop may be held, in seconds.
    """

    def __init__(self, report: Callable[[LoopHold], None] = _warn, longest: float = LONGEST_SECONDS) -> None:
        self._report = report
        self._longest = longest
        self._loop = asyncio.get_running_loop()
        self._due = self._worked = 0.0
        self._next: asyncio.TimerHandle | None = None
        self._wait()

    def stop(self) -> None:
        """Ends the watch."""
        if self._next is not None:
            self._next.cancel()

    def _wait(self) -> None:
        self._due, self._worked = self._loop.time() + EVERY_SECONDS, time.thread_time()
        self._next = self._loop.call_at(self._due, self._look)

    def _look(self) -> None:
        late = self._loop.time() - self._due
        if late > self._longest:
            # What it worked until the timer was due may be among it.
            worked = time.thread_time() - self._worked - EVERY_SECONDS
            self._report(LoopHold(late, max(worked, 0.0)))
        self._wait()


@contextmanager
def watched_loop() -> Iterator[None]:
    """Logs `loop.held` with the milliseconds while the block lasts, whenever the running loop was held too long."""
    watch = LoopWatch()
    try:
        yield
    finally:
        watch.stop()
