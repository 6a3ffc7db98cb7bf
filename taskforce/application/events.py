"""Announcement of events to the webhooks of a tenant."""

from collections.abc import Mapping
from datetime import datetime

from taskforce.core.domain.ids import new_id
from taskforce.core.domain.webhooks.endpoint import EVENTS
from taskforce.core.domain.webhooks.signatures import WebhookMessage
from taskforce.core.interfaces.store import Records


async def announce(
    records: Records, event: str, subject: Mapping[str, object], now: datetime, *, definition_id: str | None = None
) -> None:
    """Queues a delivery of an event to each subscribed webhook of the tenant, in the caller's transaction.

    It takes one statement, sent with the transaction's other pending ones. The deliveries are started after the commit.

    Args:
        records: The tenant's records, in the transaction of the event.
        event: The name of the event, one of `EVENTS`.
        subject: The data of the event, small plain JSON: ids and states, never secrets. `tenant_id` is added.
        now: The time of the event, UTC.
        definition_id: The approval definition of the request that the event concerns, if any.
    """
    assert event in EVENTS, event
    payload = {"tenant_id": records.tenant_id, **subject}
    await records.deliveries.queue(WebhookMessage(new_id(), event, payload, now), definition_id)
