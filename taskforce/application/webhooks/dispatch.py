"""Start of the workflows of queued webhook deliveries, at once after the commit of this process.

What it leaves behind, since Temporal does not answer or the process dies, a sweep of the workers starts.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Protocol

import structlog

from taskforce.application.sweeps import DueSweep
from taskforce.core.domain.traces import DELIVERY, TENANT
from taskforce.core.interfaces.clock import Clock
from taskforce.core.interfaces.due_rows import DueKind, DueRow, DueStore
from taskforce.core.interfaces.repositories.webhooks import QueuedTenants
from taskforce.core.interfaces.tracing import NO_TRACING, SpanKind, SpanStart, Tracer

_log = structlog.get_logger(__name__)


AHEAD = timedelta(seconds=5)
"""Room for the clocks of other machines, whose deliveries this process may see."""


GATHER_SECONDS = 0.02


class StartDelivery(Protocol):
    """Starts the workflow of a committed delivery; starting it again is harmless."""

    def __call__(self, tenant_id: str, delivery_id: str, event: str) -> Awaitable[bool]:
        """Starts the workflow; returns False where it was started before.

        Args:
            tenant_id: The tenant.
            delivery_id: The delivery.
            event: The name of the event.
        """
        ...


class DeliveryDispatcher:
    """Starts the deliveries of the tenants for whom this process has queued some, a share of each in turn.

    Args:
        store: The queued deliveries.
        queued: The tenants.
        start: Starts the workflow of one.
        clock: The time, UTC.
        tracer: Traces the starts, each in the trace of its event.
    """

    def __init__(
        self,
        store: DueStore,
        queued: QueuedTenants,
        start: StartDelivery,
        clock: Clock,
        *,
        tracer: Tracer = NO_TRACING,
    ) -> None:
        self._queued = queued
        self._tracer = tracer
        self._start = start
        self._clock = clock
        self._due = DueSweep(store, DueKind.DELIVERY_START, self._look, clock=clock)

    async def go_on(self) -> None:
        """Starts deliveries after each commit that may have queued some, until it is cancelled."""
        while True:
            await self._queued.wait()
            # Waits briefly, so that one query finds the tenants of several concurrent commits.
            await asyncio.sleep(GATHER_SECONDS)
            try:
                await self.turn()
            except Exception as error:  # noqa: BLE001 - what is left behind now is started by a sweep
                _report(error)

    async def turn(self) -> None:
        """Starts a share of each tenant's deliveries; those who have more are left for the next turn."""
        turn = await self._due.serve_among(self._queued.take(), self._clock() + AHEAD)
        if turn.refused is not None:
            _report(turn.refused)
        self._queued.add(*turn.unserved)

    async def _look(self, tenant_id: str, row: DueRow) -> bool:
        with self._tracer.span(_sent(tenant_id, row), parent=self._queued.cause(row.event_id) or ""):
            await self._start(tenant_id, row.row_id, row.label)
        return True


def _sent(tenant_id: str, row: DueRow) -> SpanStart:
    facts = {TENANT: tenant_id, DELIVERY: row.row_id}
    return SpanStart(f"send {row.label}", SpanKind.PRODUCER, facts)


def _report(error: Exception) -> None:
    _log.warning("deliveries.not_started", error=type(error).__name__, detail=str(error)[:300])


@asynccontextmanager
async def starting(
    store: DueStore, queued: QueuedTenants, start: StartDelivery, clock: Clock, *, tracer: Tracer = NO_TRACING
) -> AsyncIterator[None]:
    """Runs a `DeliveryDispatcher` in the background until the block ends."""
    task = asyncio.create_task(DeliveryDispatcher(store, queued, start, clock, tracer=tracer).go_on())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
