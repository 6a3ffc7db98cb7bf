"""Heartbeats while an activity waits, so that a dead worker is noticed and a cancellation arrives."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from temporalio import activity

EVERY_SECONDS = 2.0
# What is done sooner is told nobody: each heartbeat is a call to the server.
FIRST_SECONDS = 0.5


@asynccontextmanager
async def heartbeating() -> AsyncIterator[None]:
    """Heartbeats until the block ends; a local activity has no heartbeat and needs none."""
    if activity.info().is_local:
        yield
        return
    beating = asyncio.create_task(_beat())
    try:
        yield
    finally:
        beating.cancel()
        with suppress(asyncio.CancelledError):
            await beating


async def _beat() -> None:
    await asyncio.sleep(FIRST_SECONDS)
    while True:
        activity.heartbeat()
        await asyncio.sleep(EVERY_SECONDS)
