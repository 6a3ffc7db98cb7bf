"""The time that an activity works: what its run is told of it, whatever becomes of the attempt."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from models.messages.frame import Message


@dataclass(slots=True)
class _Work:
    """The work of an attempt: what is done, and since when it goes on; None while it waits for its turn.

    How far it has come is told by heartbeats, where an activity says so.
    """

    done: float
    since: float | None
    progress: Message | None = None

    def seconds(self) -> float:
        return self.done + (0 if self.since is None else time.monotonic() - self.since)


_WORK: ContextVar[_Work | None] = ContextVar("_WORK", default=None)


def worked_ms() -> int:
    """Returns the milliseconds that the running activity has worked; 0 outside of one.

    Those of earlier attempts are among them, as far as their heartbeats have told.
    """
    work = _WORK.get()
    return 0 if work is None else round(work.seconds() * 1_000)


def report_progress(progress: Message) -> None:
    """Says how far the running activity has come: the next heartbeats tell it to its next attempt."""
    work = _WORK.get()
    if work is not None:
        work.progress = progress


def reported_progress() -> tuple[Message, ...]:
    """Returns how far the running activity has come, if it has said so."""
    work = _WORK.get()
    return () if work is None or work.progress is None else (work.progress,)


def suspend_work() -> None:
    """Stops the clock of the running activity: what follows is waiting, until `resume_work`."""
    work = _WORK.get()
    if work is not None:
        work.done, work.since = work.seconds(), None


def resume_work() -> None:
    """Starts the clock of the running activity again."""
    work = _WORK.get()
    if work is not None:
        work.since = time.monotonic()


@contextmanager
def suspended_work() -> Iterator[None]:
    """Stops the clock of the running activity during a block that only waits."""
    suspend_work()
    try:
        yield
    finally:
        resume_work()


class WorkInterceptor(Interceptor):
    """Measures how long activities work."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        """Wraps an activity with the measurement."""
        return _WorkInboundInterceptor(next)


class _WorkInboundInterceptor(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002, ANN401 - the SDK's signature
        before = next((one for one in activity.info().heartbeat_details if isinstance(one, int)), 0)
        _WORK.set(_Work(before / 1_000, time.monotonic()))
        return await self.next.execute_activity(input)
