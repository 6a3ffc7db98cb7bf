"""Announces events to those who asked to hear of them."""

from collections.abc import Mapping
from datetime import datetime

from taskforce.core.domain.ids import new_id
from taskforce.core.domain.webhooks.endpoint import EVENTS
from taskforce.core.domain.webhooks.signatures import Happened
from taskforce.core.interfaces.store import Records


async def announce(
    records: Records, event: str, subject: Mapping[str, object], now: datetime, *, definition_id: str | None = None
) -> None:
    """Queues one delivery for each of the tenant's webhooks that wants the event, in the transaction of what happened.

    It is one statement that is written with what else waits; the deliveries are started after the commit.

    Args:
        records: The records of the transaction in which it happens.
        event: One of `EVENTS`.
        subject: What it is about, plain JSON and small: ids and states, never secrets. `tenant_id` is added.
        now: When it happens, UTC.
        definition_id: The approval definition that the request is decided under.
    """
    assert event in EVENTS, event
    told = {"tenant_id": records.tenant_id, **subject}
    await records.deliveries.queue(Happened(new_id(), event, told, now), definition_id)
