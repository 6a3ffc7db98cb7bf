"""Heartbeats while an activity waits, so that a dead worker is noticed and a cancellation arrives."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context

from temporalio import activity

EVERY_SECONDS = 2.0
# What is done sooner is told nobody: each heartbeat is a call to the server, and by it alone a cancellation arrives.
FIRST_SECONDS = 0.5


@contextmanager
def heartbeating() -> Iterator[None]:
    """Heartbeats until the block ends; a local activity has no heartbeat and needs none."""
    if activity.info().is_local:
        yield
        return
    beats = _Beats()
    try:
        yield
    finally:
        beats.stop()


class _Beats:
    """A timer that heartbeats, again and again: cheaper than a task for what mostly ends before the first."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        # The SDK finds the activity by its context.
        self._context = copy_context()
        self._next = self._loop.call_later(FIRST_SECONDS, self._beat, context=self._context)

    def stop(self) -> None:
        """Heartbeats no more."""
        self._next.cancel()

    def _beat(self) -> None:
        activity.heartbeat()
        self._next = self._loop.call_later(EVERY_SECONDS, self._beat, context=self._context)
