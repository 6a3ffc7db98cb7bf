"""One attempt after another to deliver an event to a webhook."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from taskforce.application.audit.events import system_event
from taskforce.application.shielding import shielded
from taskforce.application.webhooks.endpoints import destination
from taskforce.core.domain.errors import Limited
from taskforce.core.domain.ids import missing
from taskforce.core.domain.tenants.tenant import TenantStatus
from taskforce.core.domain.webhooks.delivery import (
    ATTEMPT_SECONDS,
    KEPT_BYTES,
    Answered,
    Attempt,
    Delivery,
    DeliveryState,
    DeliveryStatus,
)
from taskforce.core.domain.webhooks.endpoint import Secrets, Webhook
from taskforce.core.domain.webhooks.signatures import signed
from taskforce.core.interfaces.clock import Clock
from taskforce.core.interfaces.repositories.webhooks import WebhookPost
from taskforce.core.interfaces.store import Records, Store

AT_ONCE = 50
AT_ONCE_OF_A_TENANT = 10

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Delivered:
    """What came of an attempt.

    Attributes:
        status: Where the delivery stands now.
        wait: How long until the next attempt; None when there is none.
        summary: In a few words, for operators; names neither the receiver nor what it said.
    """

    status: DeliveryStatus
    wait: timedelta | None = None
    summary: str = ""


@dataclass
class ConcurrencyLimit:
    """How many attempts this process makes at once: receivers that hang must not take the place of agents' work."""

    in_all: int = AT_ONCE
    of_a_tenant: int = AT_ONCE_OF_A_TENANT
    _taken: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def taken(self, tenant_id: str) -> Iterator[None]:
        """Takes a lane until the block ends.

        Raises:
            Limited: `deliveries_busy`: they are all taken; the attempt is made later.
        """
        if self._taken[tenant_id] >= self.of_a_tenant or self._taken.total() >= self.in_all:
            raise Limited("deliveries_busy", "Other deliveries are under way; this one is tried later.")
        self._taken[tenant_id] += 1
        try:
            yield
        finally:
            self._taken[tenant_id] -= 1
            if not self._taken[tenant_id]:
                del self._taken[tenant_id]


class DeliveryAttempts:
    """The use cases behind the activities of the `WebhookDelivery` workflow.

    Args:
        store: The tenants' data.
        post: The guarded way out.
        clock: The time.
    """

    def __init__(self, store: Store, post: WebhookPost, clock: Clock) -> None:
        self._store = store
        self._post = post
        self._clock = clock
        self._lanes = ConcurrencyLimit()

    async def attempt(self, tenant_id: str, delivery_id: str, number: int) -> Delivered:
        """Makes an attempt and keeps what came of it; one that was kept before is not made again.

        An attempt whose process died before it was kept is made again, under the same id: at least once, that is.

        Raises:
            Missing: `delivery_not_found`.
            Limited: `deliveries_busy`.
            Unavailable: `encryption_key_missing` or `encryption_key_wrong`.
        """
        with self._lanes.taken(tenant_id):
            async with self._store.tenant(tenant_id) as records:
                delivery = await _begun(records, delivery_id)
                target = await self._target(records, delivery, number)
            if target is None:
                return await self._as_it_stands(tenant_id, delivery_id)
            webhook, secrets = target
            attempt, answered = await self._send(delivery, webhook, secrets, number)
        return await shielded(self._keep(tenant_id, delivery, webhook, attempt, answered))

    async def stop(self, tenant_id: str, delivery_id: str) -> None:
        """Ends a delivery that an operator has cancelled."""
        async with self._store.tenant(tenant_id) as records:
            await records.deliveries.stop(delivery_id, self._clock())

    async def _target(self, records: Records, delivery: Delivery, number: int) -> tuple[Webhook, Secrets] | None:
        """Where to send it; None when nothing is to be sent, and the row says why."""
        kept = any(attempt.number == number for attempt in delivery.attempts)
        if kept or delivery.state.status.is_final:
            return None
        tenant = await records.tenant.get()
        target = await records.webhooks.target(delivery.webhook_id)
        if target is None or not target[0].enabled or tenant is None or tenant.status is not TenantStatus.ACTIVE:
            await records.deliveries.stop(delivery.delivery_id, self._clock())
            return None
        return target

    async def _as_it_stands(self, tenant_id: str, delivery_id: str) -> Delivered:
        async with self._store.tenant(tenant_id) as records:
            state = (await _found(records, delivery_id)).state
        return Delivered(state.status, state.wait(self._clock()), state.status.value)

    async def _send(
        self, delivery: Delivery, webhook: Webhook, secrets: Secrets, number: int
    ) -> tuple[Attempt, Answered]:
        began = self._clock()
        request = signed(delivery.what, webhook.format, secrets.at(began), began)
        answered = await self._post.post(
            webhook.url, headers=request.headers, body=request.body, seconds=ATTEMPT_SECONDS, most_bytes=KEPT_BYTES
        )
        spent = int((self._clock() - began).total_seconds() * 1_000)
        attempt = Attempt(number, began, answered.http_status, answered.error, answered.excerpt, spent)
        return attempt, answered

    async def _keep(
        self, tenant_id: str, delivery: Delivery, webhook: Webhook, attempt: Attempt, answered: Answered
    ) -> Delivered:
        now = self._clock()
        state = delivery.after(attempt.number, answered, now)
        async with self._store.tenant(tenant_id) as records:
            # Before the delivery, as everybody does who locks both: nobody waits for one another in a circle.
            gone = await records.webhooks.locked(webhook.webhook_id) if answered.gone else None
            await records.deliveries.tried(delivery.delivery_id, attempt, state, now)
            # One that was led elsewhere meanwhile is not gone; one of the deployment's own is changed in its profile.
            if gone is not None and gone.enabled and gone.url == webhook.url:
                await _disable(records, gone, now)
            # Somebody may have disabled the webhook meanwhile, which stands.
            state = (await _found(records, delivery.delivery_id)).state
        _tell(tenant_id, delivery, webhook, attempt, state)
        return Delivered(state.status, state.wait(now), _summary(attempt))


async def _begun(records: Records, delivery_id: str) -> Delivery:
    delivery = await records.deliveries.begin(delivery_id)
    if delivery is None:
        raise missing("delivery")
    return delivery


async def _found(records: Records, delivery_id: str) -> Delivery:
    delivery = await records.deliveries.get(delivery_id)
    if delivery is None:
        raise missing("delivery")
    return delivery


async def _disable(records: Records, webhook: Webhook, now: datetime) -> None:
    """Disables a webhook whose receiver is gone, and stops what waits for it."""
    await records.webhooks.save(webhook.switched(enabled=False, now=now, by="gone"))
    stopped = await records.deliveries.stop_all(webhook.webhook_id, now)
    event = system_event(
        "webhook.disable",
        "webhook",
        webhook.webhook_id,
        now,
        outcome="disabled",
        reason="the receiver answered 410 Gone",
        destination=destination(webhook),
        stopped_deliveries=stopped,
    )
    await records.audit.append(event)


def _summary(attempt: Attempt) -> str:
    said = "no answer" if attempt.http_status is None else str(attempt.http_status)
    return f"attempt {attempt.number}: {said}"


def _tell(tenant_id: str, delivery: Delivery, webhook: Webhook, attempt: Attempt, state: DeliveryState) -> None:
    _log.info(
        "webhook.attempted",
        tenant_id=tenant_id,
        webhook_id=webhook.webhook_id,
        delivery_id=delivery.delivery_id,
        event_name=delivery.what.event,
        destination=destination(webhook),
        attempt=attempt.number,
        http_status=attempt.http_status,
        duration_ms=attempt.duration_ms,
        status=state.status.value,
    )
