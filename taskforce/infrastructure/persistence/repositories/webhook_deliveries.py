"""Repository of webhook deliveries and their attempts in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by, insert

from models.tables.webhooks import WebhookAttemptRow, WebhookDeliveryRow
from taskforce.core.domain.paging import Page
from taskforce.core.domain.webhooks.delivery import OPEN, Attempt, Delivery, DeliveryState, DeliveryStatus
from taskforce.core.domain.webhooks.endpoint import FixedWebhooks
from taskforce.core.domain.webhooks.signatures import WebhookMessage
from taskforce.core.interfaces.metrics import DeliveryTried
from taskforce.infrastructure.persistence.connection import Connection, DeferredWrite, Query, Row
from taskforce.infrastructure.persistence.repositories.webhooks import WEBHOOKS
from taskforce.infrastructure.persistence.repository import (
    Codec,
    Repository,
    newest,
    storable,
    storable_json,
    table,
    where,
)

DELIVERIES, _ATTEMPTS = table(WebhookDeliveryRow), table(WebhookAttemptRow)
_ATTEMPT = Codec(Attempt)
_SAID = ("tenant_id", "event_id", "event", "subject", "at", "created_at", "sweep_at", "status")
_UUIDS = ARRAY(DELIVERIES.c.delivery_id.type)


def _queueing() -> Query:
    """Builds a row for each webhook that wants the event; `Webhook.wants` decides so for the deployment's own."""
    wanted = sa.or_(WEBHOOKS.c.events.is_(None), _named("event") == sa.any_(WEBHOOKS.c.events))
    bound = sa.or_(
        WEBHOOKS.c.definition_id.is_(None),
        WEBHOOKS.c.definition_id == sa.bindparam("definition_id", type_=WEBHOOKS.c.definition_id.type),
    )
    own = sa.select(WEBHOOKS.c.webhook_id).where(where(WEBHOOKS), WEBHOOKS.c.enabled, wanted, bound)
    fixed = sa.select(sa.func.unnest(sa.bindparam("fixed", type_=_UUIDS)).label("webhook_id"))
    receivers = own.union_all(fixed).subquery()
    # Random ids, made in SQL because only it knows how many there will be; no list is ordered by them.
    made = {"delivery_id": sa.func.gen_random_uuid(), "webhook_id": receivers.c.webhook_id}
    said = {name: _named(name) for name in _SAID}
    return Query(sa.insert(DELIVERIES).from_select([*made, *said], sa.select(*made.values(), *said.values())))


def _tries() -> sa.ColumnElement[object]:
    """Selects the attempts of a delivery in the same snapshot as its row: read apart, they could be ahead of it."""
    names = ("number", "at", "http_status", "error", "excerpt", "duration_ms")
    pairs: list[object] = []
    for name in names:
        pairs += [sa.literal(name, sa.Text()), _ATTEMPTS.c[name]]
    mine = sa.and_(_ATTEMPTS.c.tenant_id == DELIVERIES.c.tenant_id, _ATTEMPTS.c.delivery_id == DELIVERIES.c.delivery_id)
    listed = sa.func.jsonb_agg(aggregate_order_by(sa.func.jsonb_build_object(*pairs), _ATTEMPTS.c.number))
    return sa.select(listed).where(mine).scalar_subquery().label("attempts")


def _named(name: str) -> "sa.BindParameter[object]":
    return sa.bindparam(name, type_=DELIVERIES.c[name].type)


_OF = where(DELIVERIES, "delivery_id")
_STILL_OPEN = sa.text("status IN ('queued', 'pending')")  # as in the partial index `webhook_deliveries_open`
_QUEUE = DeferredWrite(announced=_queueing())
_ADD = Query(sa.insert(DELIVERIES))
_LOGGED = sa.select(DELIVERIES, _tries())
_GET = Query(_LOGGED.where(_OF))
_BEGIN = Query(sa.update(DELIVERIES).where(_OF, DELIVERIES.c.status == DeliveryStatus.QUEUED.value), sets=("status",))
_STAND = Query(sa.update(DELIVERIES).where(_OF, _STILL_OPEN), sets=("status", "next_attempt_at", "finished_at"))
_OF_WEBHOOK = where(DELIVERIES, "webhook_id")
_STOP_ALL = Query(
    sa.update(DELIVERIES).where(_OF_WEBHOOK, _STILL_OPEN), sets=("status", "next_attempt_at", "finished_at")
)
_TRIED = Query(insert(_ATTEMPTS).on_conflict_do_nothing())


class DeliveryRepository(Repository):
    """Stores deliveries to webhooks with their attempts; fulfils `Deliveries`.

    Args:
        connection: The connection, in a transaction.
        tenant_id: The tenant.
        fixed: The deployment's own webhooks.

    Attributes:
        queued: The ids of the events of which deliveries may have been queued that are to be started after the commit.
    """

    def __init__(self, connection: Connection, tenant_id: str, fixed: FixedWebhooks) -> None:
        super().__init__(connection, tenant_id)
        self._fixed = fixed
        self.queued: list[str] = []

    async def queue(self, message: WebhookMessage, definition_id: str | None) -> None:
        """Queues a delivery to each webhook that subscribes to the event; written when the transaction ends."""
        wanting = [one for one, fixed in self._fixed.items() if fixed.webhook.wants(message.event, definition_id)]
        times = {"created_at": message.at, "sweep_at": message.at}
        values = {**_happened(message), **times, "status": DeliveryStatus.QUEUED.value}
        chosen = {"of_tenant_id": self._tenant_id, "definition_id": definition_id, "fixed": wanting}
        await self._connection.later(_QUEUE, {"tenant_id": self._tenant_id, **values, **chosen})
        self.queued.append(message.event_id)

    async def add(self, delivery: Delivery) -> None:
        """Queues one delivery."""
        values = {
            "tenant_id": self._tenant_id,
            "delivery_id": delivery.delivery_id,
            "webhook_id": delivery.webhook_id,
            "created_at": delivery.created_at,
            "sweep_at": delivery.created_at,
            "status": delivery.state.status.value,
            "next_attempt_at": None,
            "finished_at": None,
            "redelivery_of": delivery.redelivery_of,
        }
        await self._connection.change(_ADD, {**values, **_happened(delivery.what)})
        self.queued.append(delivery.what.event_id)

    async def get(self, delivery_id: str) -> Delivery | None:
        """Returns one delivery with its attempts."""
        row = await self._connection.first(_GET, self._of(delivery_id=delivery_id))
        return None if row is None else _delivery(row)

    async def begin(self, delivery_id: str) -> Delivery | None:
        """Returns a delivery as `get` does, and marks a queued one as in progress."""
        of = self._of(delivery_id=delivery_id)
        await self._connection.change(_BEGIN, {**of, "status": DeliveryStatus.PENDING.value})
        return await self.get(delivery_id)

    async def page(self, webhook_id: str, page: Page) -> Sequence[Delivery]:
        """Returns a page of a webhook's deliveries with their attempts, newest first."""
        of_webhook = sa.and_(DELIVERIES.c.tenant_id == self._tenant_id, DELIVERIES.c.webhook_id == webhook_id)
        query = newest(_LOGGED.where(of_webhook), DELIVERIES.c.created_at, DELIVERIES.c.delivery_id, page)
        return [_delivery(row) for row in await self._listed(query)]

    async def tried(self, delivery_id: str, attempt: Attempt, state: DeliveryState, now: datetime) -> None:
        """Stores an attempt, and the state of an open delivery after it; a stored attempt stays unchanged."""
        values = {
            "tenant_id": self._tenant_id,
            "delivery_id": delivery_id,
            "number": attempt.number,
            "at": attempt.at,
            "http_status": attempt.http_status,
            "error": None if attempt.error is None else storable(attempt.error),
            "excerpt": storable(attempt.excerpt),
            "duration_ms": attempt.duration_ms,
        }
        # A retried activity finds its attempt here already, and must not change the delivery's state a second time.
        if await self._connection.change(_TRIED, values):
            self._connection.facts.append(DeliveryTried(state.status.value, attempt.duration_ms / 1_000))
            await self._connection.change(_STAND, {**self._of(delivery_id=delivery_id), **_standing(state, now)})

    async def stop(self, delivery_id: str, now: datetime) -> None:
        """Ends an open delivery without sending it."""
        await self._connection.change(_STAND, {**self._of(delivery_id=delivery_id), **_standing(_STOPPED, now)})

    async def stop_all(self, webhook_id: str, now: datetime) -> int:
        """Ends all open deliveries of a webhook without sending them."""
        values = {**self._of(webhook_id=webhook_id), **_standing(_STOPPED, now)}
        return await self._connection.change(_STOP_ALL, values)


_STOPPED = DeliveryState(DeliveryStatus.STOPPED)


def _happened(message: WebhookMessage) -> dict[str, object]:
    return {
        "event_id": message.event_id,
        "event": message.event,
        "subject": storable_json(message.subject),
        "at": message.at,
    }


def _standing(state: DeliveryState, now: datetime) -> dict[str, object]:
    return {
        "status": state.status.value,
        "next_attempt_at": state.next_attempt_at,
        "finished_at": None if state.status in OPEN else now,
    }


def _delivery(row: Row) -> Delivery:
    return Delivery(
        delivery_id=row.delivery_id,
        webhook_id=row.webhook_id,
        what=WebhookMessage(row.event_id, row.event, row.subject, row.at),
        created_at=row.created_at,
        state=DeliveryState(DeliveryStatus(row.status), row.next_attempt_at),
        attempts=tuple(_ATTEMPT.load(attempt) for attempt in row.attempts or ()),
        redelivery_of=row.redelivery_of,
        finished_at=row.finished_at,
    )
