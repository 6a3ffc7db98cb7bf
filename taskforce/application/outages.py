"""Writes that go on while the database is away, for what would be lost otherwise."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from taskforce.core.domain.errors import Unavailable

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 5.0

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class AttemptControl:
    """The attempt of an activity, as the step that it performs knows it.

    Attributes:
        is_over: Asked when the attempt is cancelled: whether no other attempt follows.
        waiting: Entered while the step waits for the database, which is no work.
    """

    is_over: Callable[[], bool] = lambda: False
    waiting: Callable[[], AbstractContextManager[None]] = nullcontext


async def store_patiently(
    store: Callable[[], Awaitable[Result]], patience: timedelta, control: AttemptControl
) -> Result:
    """Stores something, again and again while the database is away; a cancellation is raised afterwards.

    Where another attempt follows a cancelled one, as when a worker shuts down, one more try is its last.

    Args:
        store: Stores it in a transaction of its own; repeating it changes nothing.
        patience: Time after which a failed try is the last.
        control: The attempt.

    Returns:
        The result of the try that succeeded.

    Raises:
        Unavailable: That of the last try.
    """
    hurry = asyncio.Event()
    storing = asyncio.ensure_future(_stored(store, patience, control, hurry))
    try:
        return await asyncio.shield(storing)
    except asyncio.CancelledError:
        if not control.is_over():
            hurry.set()
        # The cancellation is what the caller must see, whatever became of the work.
        with suppress(Exception):
            await storing
        raise


async def _stored(
    store: Callable[[], Awaitable[Result]], patience: timedelta, control: AttemptControl, hurry: asyncio.Event
) -> Result:
    try:
        return await store()
    except Unavailable as error:
        away = error
    until, pause = asyncio.get_running_loop().time() + patience.total_seconds(), FIRST_PAUSE
    with control.waiting():
        while not hurry.is_set() and asyncio.get_running_loop().time() + pause < until:
            with suppress(TimeoutError):
                await asyncio.wait_for(hurry.wait(), pause)
            try:
                return await store()
            except Unavailable as error:
                away = error
            pause = min(2 * pause, LONGEST_PAUSE)
    raise away
