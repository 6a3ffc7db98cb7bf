"""Start of the workflows of queued webhook deliveries."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from taskforce.core.domain.errors import DomainError
from taskforce.core.interfaces.clock import Clock
from taskforce.core.interfaces.repositories.webhooks import QueuedDeliveries

_log = structlog.get_logger(__name__)

QUEUED_BATCH = 500


SWEEP_SECONDS = 5.0


LATE = timedelta(seconds=5)


GATHER_SECONDS = 0.02


REMEMBERED = timedelta(seconds=60)


class StartDelivery(Protocol):
    """Starts the workflow of a committed delivery; starting it again is harmless."""

    def __call__(self, tenant_id: str, delivery_id: str, event: str) -> Awaitable[None]:
        """Starts the workflow.

        Args:
            tenant_id: The tenant.
            delivery_id: The delivery.
            event: The name of the event.
        """
        ...


class DeliveryDispatcher:
    """Starts queued deliveries: those of this process at once, and those that a crash has left unstarted later.

    Args:
        queued: The queued deliveries of all tenants.
        start: Starts the workflow of one.
        clock: The time, UTC.
    """

    def __init__(self, queued: QueuedDeliveries, start: StartDelivery, clock: Clock) -> None:
        self._queued = queued
        self._start = start
        self._clock = clock
        self._started: dict[str, datetime] = {}

    async def sweep(self, before: datetime) -> int:
        """Starts the deliveries that were queued before a time.

        Returns:
            The number of started deliveries.

        Raises:
            DomainError: The last error of a start; the other deliveries are started all the same.
        """
        self._forget()
        started, refused = 0, None
        for tenant_id, delivery_id, event in await self._queued.queued_deliveries(before, QUEUED_BATCH):
            # Its row is still marked as queued until a worker takes it; a second start would be harmless but costly.
            if delivery_id in self._started:
                continue
            try:
                await self._start(tenant_id, delivery_id, event)
            except DomainError as error:
                refused = error
            else:
                self._started[delivery_id] = self._clock()
                started += 1
        if refused is not None:
            raise refused
        return started

    async def go_on(self, notified: asyncio.Event) -> None:
        """Sweeps after each commit that may have queued deliveries, and every `SWEEP_SECONDS`, until it is cancelled.

        Args:
            notified: The event that is set after such a commit of this process.
        """
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_SECONDS):
                    await notified.wait()
            # After a commit of this process: everything, with room for the clocks of other machines. Otherwise only
            # what another process should have started by now.
            before = self._clock() + LATE if notified.is_set() else self._clock() - LATE
            # Waits briefly, so that one query finds the deliveries of several concurrent commits.
            await asyncio.sleep(GATHER_SECONDS)
            notified.clear()
            try:
                await self.sweep(before)
            except Exception as error:  # noqa: BLE001 - an error of one sweep must not end the sweeper
                _log.warning("deliveries.sweep_failed", error=type(error).__name__, detail=str(error)[:300])

    def _forget(self) -> None:
        since = self._clock() - REMEMBERED
        self._started = {one: at for one, at in self._started.items() if at > since}


@asynccontextmanager
async def starting(
    queued: QueuedDeliveries, notified: asyncio.Event, start: StartDelivery, clock: Clock
) -> AsyncIterator[None]:
    """Runs a `DeliveryDispatcher` in the background until the block ends."""
    task = asyncio.create_task(DeliveryDispatcher(queued, start, clock).go_on(notified))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
