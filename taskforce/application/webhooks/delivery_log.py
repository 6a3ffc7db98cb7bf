"""Deliveries of a webhook: listed, repeated and tested by people."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import structlog

from taskforce.application.identity.principals import Actor
from taskforce.application.identity.roles import require_current
from taskforce.application.webhooks.endpoints import webhook_event
from taskforce.core.domain.ids import missing, new_id
from taskforce.core.domain.paging import Page
from taskforce.core.domain.webhooks.delivery import Delivery, DeliveryState, DeliveryStatus
from taskforce.core.domain.webhooks.endpoint import TEST_EVENT, Webhook
from taskforce.core.domain.webhooks.signatures import WebhookMessage
from taskforce.core.interfaces.identity import Permission
from taskforce.core.interfaces.store import Records, Store

_log = structlog.get_logger(__name__)


async def list_deliveries(store: Store, actor: Actor, webhook_id: str, page: Page) -> Sequence[Delivery]:
    """Lists a page of the deliveries of a webhook, newest first.

    Raises:
        Missing: `webhook_not_found`.
    """
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        await _webhook(records, webhook_id)
        return await records.deliveries.page(webhook_id, page)


async def find_delivery(store: Store, actor: Actor, webhook_id: str, delivery_id: str) -> Delivery:
    """Finds a delivery of a webhook.

    Raises:
        Missing: `webhook_not_found` or `delivery_not_found`.
    """
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        await _webhook(records, webhook_id)
        return await _delivery(records, webhook_id, delivery_id)


async def redeliver(store: Store, actor: Actor, webhook_id: str, delivery_id: str) -> Delivery:
    """Queues a delivery of the same event, which keeps its event id, so that the receiver recognises a duplicate.

    Raises:
        Missing: `webhook_not_found` or `delivery_not_found`.
        Conflict: `webhook_disabled`.
        Forbidden: As `require_current`.
    """
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        await require_current(records, actor, Permission.POLICY_MANAGE)
        webhook = await _webhook(records, webhook_id)
        earlier = await _delivery(records, webhook_id, delivery_id)
        webhook.require_enabled()
        again = replace(
            earlier,
            delivery_id=new_id(),
            created_at=actor.now,
            state=DeliveryState(DeliveryStatus.QUEUED),
            attempts=(),
            redelivery_of=delivery_id,
            finished_at=None,
        )
        await records.deliveries.add(again)
        details = {"delivery_id": again.delivery_id, "redelivery_of": delivery_id}
        await records.audit.append(webhook_event(actor, "webhook.redeliver", webhook, details))
    return again


async def send_test(store: Store, actor: Actor, webhook_id: str) -> Delivery:
    """Queues a `test` event for a webhook; it has a single attempt.

    Raises:
        Missing: `webhook_not_found`.
        Conflict: `webhook_disabled`.
        Forbidden: As `require_current`.
    """
    tenant_id = actor.principal.tenant.tenant_id
    async with store.tenant(tenant_id) as records:
        await require_current(records, actor, Permission.POLICY_MANAGE)
        webhook = await _webhook(records, webhook_id)
        webhook.require_enabled()
        subject = {"tenant_id": tenant_id, "webhook_id": webhook_id, "asked_by": actor.principal.user.user_id}
        message = WebhookMessage(new_id(), TEST_EVENT, subject, actor.now)
        delivery = Delivery(new_id(), webhook_id, message, actor.now)
        await records.deliveries.add(delivery)
        details = {"delivery_id": delivery.delivery_id}
        await records.audit.append(webhook_event(actor, "webhook.test", webhook, details))
    return delivery


async def settle_delivery(store: Store, tenant_id: str, delivery_id: str, now: datetime) -> None:
    """Stops a delivery whose workflow is gone, as when an operator terminates it; one that has ended is unchanged.

    Args:
        store: The tenants' data.
        tenant_id: The tenant.
        delivery_id: The delivery.
        now: The time, UTC.
    """
    async with store.tenant(tenant_id) as records:
        await records.deliveries.stop(delivery_id, now)


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
