"""Protection of short work from cancellation of its caller."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import TypeVar

Result = TypeVar("Result")


async def shielded(work: Coroutine[object, object, Result]) -> Result:
    """Completes a coroutine also if its caller is cancelled meanwhile; the cancellation is raised afterwards.

    Args:
        work: Work of milliseconds that must not be lost, for example storing a reply that was paid for.

    Returns:
        The coroutine's result.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        # The cancellation is what the caller must see, whatever became of the work.
        with suppress(Exception):
            await task
        raise
