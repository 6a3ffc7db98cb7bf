"""What has begun and must not stop half-way, whoever is cancelled meanwhile."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import TypeVar

Result = TypeVar("Result")


async def shielded(work: Coroutine[object, object, Result]) -> Result:
    """Does something to its end; a caller that is cancelled meanwhile is cancelled after it.

    Args:
        work: What takes milliseconds and is not to be lost: storing what was paid for.

    Returns:
        Its result.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with suppress(Exception):
            await task
        raise
