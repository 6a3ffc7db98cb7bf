"""Delivery attempts of webhook events."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from taskforce.application.audit.events import system_event
from taskforce.application.shielding import shielded
from taskforce.application.webhooks.endpoints import destination
from taskforce.core.domain.access.fair_shares import FairShares
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

AT_ONCE = 60
"""Attempts in this process at a time: slow receivers do not occupy the worker, nor those of one tenant the others'."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Delivered:
    """The result of an attempt.

    Attributes:
        status: The status of the delivery.
        wait: The time until the next attempt; None where there is none.
        summary: A few words for operators, without the receiver's address or response.
    """

    status: DeliveryStatus
    wait: timedelta | None = None
    summary: str = ""


class DeliveryAttempts:
    """Use cases of the activities of the `WebhookDelivery` workflow.

    Args:
        store: The tenants' data.
        post: The guarded HTTP client of webhooks.
        clock: The time, UTC.
    """

    def __init__(self, store: Store, post: WebhookPost, clock: Clock) -> None:
        self._store = store
        self._post = post
        self._clock = clock
        self._lanes = FairShares(AT_ONCE, _busy)

    async def attempt(self, tenant_id: str, delivery_id: str, number: int) -> Delivered:
        """Makes an attempt and stores its result; an attempt whose result is stored is not made again.

        If the process dies before the result is stored, the attempt is made again under the same id: deliveries are
        at-least-once.

        Args:
            tenant_id: The tenant.
            delivery_id: The delivery.
            number: The number of the attempt, from 1.

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
            attempt, answered = await self._send(tenant_id, delivery, webhook, secrets, number=number)
        # Stored also if the activity is cancelled now, for the receiver has the event.
        return await shielded(self._keep(tenant_id, delivery, webhook, attempt, answered))

    async def stop(self, tenant_id: str, delivery_id: str) -> None:
        """Stops a delivery that an operator has cancelled."""
        async with self._store.tenant(tenant_id) as records:
            await records.deliveries.stop(delivery_id, self._clock())

    async def _target(self, records: Records, delivery: Delivery, number: int) -> tuple[Webhook, Secrets] | None:
        """Finds the webhook and its secrets; None where nothing is to be sent, which the delivery's row explains."""
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
        self, tenant_id: str, delivery: Delivery, webhook: Webhook, secrets: Secrets, *, number: int
    ) -> tuple[Attempt, Answered]:
        began = self._clock()
        request = signed(delivery.what, webhook.format, secrets.at(began), began)
        answered = await self._post.post(
            webhook.url,
            tenant_id=tenant_id,
            headers=request.headers,
            body=request.body,
            seconds=ATTEMPT_SECONDS,
            most_bytes=KEPT_BYTES,
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
            # The webhook is locked before the delivery, here as elsewhere, against deadlocks.
            gone = await records.webhooks.locked(webhook.webhook_id) if answered.gone else None
            await records.deliveries.tried(delivery.delivery_id, attempt, state, now)
            # Not if its URL was changed meanwhile; and a webhook of the profile has no row here to be disabled.
            if gone is not None and gone.enabled and gone.url == webhook.url:
                await _disable(records, gone, now)
            # Read again: the delivery may have been stopped meanwhile by a change of the webhook.
            state = (await _found(records, delivery.delivery_id)).state
        _tell(tenant_id, delivery, webhook, attempt, state)
        return Delivered(state.status, state.wait(now), _summary(attempt))


def _busy() -> Limited:
    return Limited("deliveries_busy", "Other deliveries are under way; this one is tried later.")


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
    """Disables a webhook whose receiver answered 410 Gone, and stops its other deliveries."""
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
