"""The log of deliveries: looked at, sent once more, tested; and the start of what is queued."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from taskforce.application.principals import Actor
from taskforce.application.roles import held_now
from taskforce.application.webhooks import webhook_event
from taskforce.core.domain.deliveries import Delivery, DeliveryStatus, Standing
from taskforce.core.domain.errors import DomainError
from taskforce.core.domain.ids import missing, new_id
from taskforce.core.domain.webhook_signatures import Happened
from taskforce.core.domain.webhooks import TEST_EVENT, Webhook
from taskforce.core.interfaces.identity import Permission
from taskforce.core.interfaces.records import Clock, Records, Store
from taskforce.core.interfaces.stored import Page
from taskforce.core.interfaces.webhook_records import QueuedDeliveries

QUEUED_BATCH = 500
SWEEP_SECONDS = 5.0
LATE = timedelta(seconds=5)
GATHER_SECONDS = 0.02
REMEMBERED = timedelta(seconds=60)

_log = structlog.get_logger(__name__)


async def list_deliveries(store: Store, acting: Actor, webhook_id: str, page: Page) -> Sequence[Delivery]:
    """A page of what was sent to a webhook, newest first.

    Raises:
        Missing: `webhook_not_found`.
    """
    async with store.tenant(acting.standing.tenant.tenant_id) as records:
        await _webhook(records, webhook_id)
        return await records.deliveries.page(webhook_id, page)


async def find_delivery(store: Store, acting: Actor, webhook_id: str, delivery_id: str) -> Delivery:
    """One delivery to a webhook.

    Raises:
        Missing: `webhook_not_found` or `delivery_not_found`.
    """
    async with store.tenant(acting.standing.tenant.tenant_id) as records:
        await _webhook(records, webhook_id)
        return await _delivery(records, webhook_id, delivery_id)


async def redeliver(store: Store, acting: Actor, webhook_id: str, delivery_id: str) -> Delivery:
    """Queues the same event once more, under its own id, so that a receiver that has had it can tell.

    Raises:
        Missing: `webhook_not_found` or `delivery_not_found`.
        Conflict: `webhook_disabled`.
        Forbidden: As `held_now`.
    """
    async with store.tenant(acting.standing.tenant.tenant_id) as records:
        await held_now(records, acting, Permission.POLICY_MANAGE)
        webhook = await _webhook(records, webhook_id)
        earlier = await _delivery(records, webhook_id, delivery_id)
        webhook.require_enabled()
        again = replace(
            earlier,
            delivery_id=new_id(),
            created_at=acting.now,
            standing=Standing(DeliveryStatus.QUEUED),
            attempts=(),
            redelivery_of=delivery_id,
            finished_at=None,
        )
        await records.deliveries.add(again)
        told = {"delivery_id": again.delivery_id, "redelivery_of": delivery_id}
        await records.audit.append(webhook_event(acting, "webhook.redeliver", webhook, told))
    return again


async def send_test(store: Store, acting: Actor, webhook_id: str) -> Delivery:
    """Queues a `test` event to a webhook; it is tried once.

    Raises:
        Missing: `webhook_not_found`.
        Conflict: `webhook_disabled`.
        Forbidden: As `held_now`.
    """
    tenant_id = acting.standing.tenant.tenant_id
    async with store.tenant(tenant_id) as records:
        await held_now(records, acting, Permission.POLICY_MANAGE)
        webhook = await _webhook(records, webhook_id)
        webhook.require_enabled()
        subject = {"tenant_id": tenant_id, "webhook_id": webhook_id, "asked_by": acting.standing.user.user_id}
        what = Happened(new_id(), TEST_EVENT, subject, acting.now)
        delivery = Delivery(new_id(), webhook_id, what, acting.now)
        await records.deliveries.add(delivery)
        told = {"delivery_id": delivery.delivery_id}
        await records.audit.append(webhook_event(acting, "webhook.test", webhook, told))
    return delivery


async def settle_deliveries(store: Store, ended: Sequence[tuple[str, str]], now: datetime) -> None:
    """Ends the rows of deliveries whose workflow an operator has terminated; one that has ended stays as it is."""
    for tenant_id, delivery_id in ended:
        async with store.tenant(tenant_id) as records:
            await records.deliveries.stop(delivery_id, now)


class StartDelivery(Protocol):
    """Starts the workflow of a committed delivery; starting it again is harmless."""

    def __call__(self, tenant_id: str, delivery_id: str, event: str) -> Awaitable[None]:
        """Starts it by its ids."""
        ...


class Starting:
    """Starts what is queued: at once what this process has queued, and what a crash has left behind.

    Args:
        queued: The door that sees the queued deliveries of all tenants.
        start: Starts one.
        clock: The time.
    """

    def __init__(self, queued: QueuedDeliveries, start: StartDelivery, clock: Clock) -> None:
        self._queued = queued
        self._start = start
        self._clock = clock
        self._started: dict[str, datetime] = {}

    async def sweep(self, before: datetime) -> int:
        """Starts what was queued before a time, and says how many that were.

        Raises:
            DomainError: What kept the last of those that could not be started; the others are started all the same.
        """
        self._forget()
        started, refused = 0, None
        for tenant_id, delivery_id, event in await self._queued.queued_deliveries(before, QUEUED_BATCH):
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

    async def go_on(self, told: asyncio.Event) -> None:
        """Sweeps whenever something was queued, and every few seconds, until it is cancelled.

        Args:
            told: Set when this process has committed something that may have queued deliveries.
        """
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_SECONDS):
                    await told.wait()
            before = self._clock() + LATE if told.is_set() else self._clock() - LATE
            # What happens at the same moment is looked for once.
            await asyncio.sleep(GATHER_SECONDS)
            told.clear()
            try:
                await self.sweep(before)
            except Exception as error:  # noqa: BLE001 - a sweeper outlives whatever befalls one sweep
                _log.warning("deliveries.sweep_failed", error=type(error).__name__, detail=str(error)[:300])

    def _forget(self) -> None:
        since = self._clock() - REMEMBERED
        self._started = {one: at for one, at in self._started.items() if at > since}


@asynccontextmanager
async def starting(
    queued: QueuedDeliveries, told: asyncio.Event, start: StartDelivery, clock: Clock
) -> AsyncIterator[None]:
    """While the block lasts: starts what is queued; see `Starting`."""
    task = asyncio.create_task(Starting(queued, start, clock).go_on(told))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _webhook(records: Records, webhook_id: str) -> Webhook:
    webhook = await records.webhooks.get(webhook_id)
    if webhook is None:
        raise missing("webhook")
    return webhook


async def _delivery(records: Records, webhook_id: str, delivery_id: str) -> Delivery:
    delivery = await records.deliveries.get(delivery_id)
    if delivery is None or delivery.webhook_id != webhook_id:
        raise missing("delivery")
    return delivery
