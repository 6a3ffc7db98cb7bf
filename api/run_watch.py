"""Subscription to one run's notifications, which ends when the process is about to end."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from api.composition import GatewayContext
from taskforce.application.runs.lifecycle import require_run
from taskforce.core.domain.runs.run import Run
from taskforce.infrastructure.persistence.notifications import Notice


class Watch:
    """Collects the notifications of one run while it is watched; see `watching`."""

    def __init__(self, queue: "asyncio.Queue[Notice]", closing: "asyncio.Task[bool]") -> None:
        self._queue = queue
        self._closing = closing

    @property
    def closed(self) -> bool:
        """Returns whether the process is about to end."""
        return self._closing.done()

    async def notices(self, seconds: float) -> Sequence[Notice]:
        """Waits for notifications.

        Args:
            seconds: The longest wait.

        Returns:
            All that have arrived, oldest first; none when the time is up or the process is about to end.
        """
        first = asyncio.ensure_future(self._queue.get())
        try:
            await asyncio.wait({first, self._closing}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Looked at before it is cancelled: a notice that was taken from the queue must not be lost.
            got = first.done()
            first.cancel()
        if not got:
            return ()
        found = [first.result()]
        while not self._queue.empty():
            found.append(self._queue.get_nowait())
        return found


@asynccontextmanager
async def watching(context: GatewayContext, tenant_id: str, run_id: str) -> AsyncIterator[Watch]:
    """Subscribes to a run while the block lasts, and unsubscribes however it ends."""
    closing = asyncio.ensure_future(context.closing.wait())
    try:
        async with context.listener.follow(tenant_id, run_id) as queue:
            yield Watch(queue, closing)
    finally:
        closing.cancel()


async def wait_for_end(context: GatewayContext, tenant_id: str, run_id: str, seconds: float) -> Run | None:
    """Waits for a run to end.

    Args:
        context: The gateway's context.
        tenant_id: The tenant.
        run_id: The run.
        seconds: The longest wait.

    Returns:
        The run as it ended, or None when it has not.
    """
    now = asyncio.get_running_loop().time
    until = now() + seconds
    # Watched before the first look: an end between the two would be seen only at the next poll.
    async with watching(context, tenant_id, run_id) as watch:
        while True:
            run = await require_run(context.database, tenant_id, run_id)
            if run.status.is_final:
                return run
            if watch.closed or now() >= until:
                return None
            await _changed(watch, min(until - now(), context.rhythm.poll))


async def _changed(watch: Watch, seconds: float) -> None:
    now = asyncio.get_running_loop().time
    until = now() + seconds
    while not watch.closed and now() < until:
        # Pieces of text come many times a second, and none of them is the end.
        if any(notice.text is None for notice in await watch.notices(until - now())):
            return
