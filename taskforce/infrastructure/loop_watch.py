"""Watch over an event loop: what holds it keeps every tenant waiting."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

EVERY_SECONDS = 0.05
LONGEST_SECONDS = 0.1

_log = structlog.get_logger(__name__)


def _warn(seconds: float) -> None:
    _log.warning("loop.held", ms=round(seconds * 1_000))


class LoopWatch:
    """Measures by how much a timer comes late, which is how long the loop was held before it.

    Args:
        report: Called with the seconds for which the loop was held, where they are more than `longest`.
        longest: How long the loop may be held, in seconds.
    """

    def __init__(self, report: Callable[[float], None] = _warn, longest: float = LONGEST_SECONDS) -> None:
        self._report = report
        self._longest = longest
        self._loop = asyncio.get_running_loop()
        self._due = 0.0
        self._next: asyncio.TimerHandle | None = None
        self._wait()

    def stop(self) -> None:
        """Ends the watch."""
        if self._next is not None:
            self._next.cancel()

    def _wait(self) -> None:
        self._due = self._loop.time() + EVERY_SECONDS
        self._next = self._loop.call_at(self._due, self._look)

    def _look(self) -> None:
        late = self._loop.time() - self._due
        if late > self._longest:
            self._report(late)
        self._wait()


@contextmanager
def watched_loop() -> Iterator[None]:
    """Logs `loop.held` with the milliseconds while the block lasts, whenever the running loop was held too long."""
    watch = LoopWatch()
    try:
        yield
    finally:
        watch.stop()
