"""Routes of a tenant's webhooks, and of the deliveries that were sent to each."""

from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Response

from api.auth.caller import Caller, Context, actor_of
from api.auth.guard import Allowed
from api.composition import GatewayContext
from api.schemas.pages import PageOut
from api.schemas.webhooks import (
    DeliveryOut,
    RotationIn,
    ShownWebhookOut,
    WebhookChangeIn,
    WebhookIn,
    WebhookOut,
    delivery_out,
    shown_out,
    webhook_out,
)
from api.web.pagination import Cursor, Limit, page, parse_place, place_cursor
from taskforce.application.webhooks import delivery_log, endpoints
from taskforce.core.domain.errors import Unavailable
from taskforce.core.domain.ids import parse_id
from taskforce.core.domain.paging import Page
from taskforce.core.domain.webhooks.delivery import Delivery
from taskforce.core.interfaces.identity import Permission

PREFIX = "/admin/webhooks"
router = APIRouter(prefix=PREFIX, tags=["webhooks"])

Manager = Annotated[Caller, Allowed(Permission.POLICY_MANAGE)]


@router.get("", name="list_webhooks")
async def list_webhooks(
    caller: Manager, context: Context, limit: Limit = 20, cursor: Cursor = None
) -> PageOut[WebhookOut]:
    """Lists webhooks, newest first, without their secrets; those of the deployment's profile are not included."""
    wanted = Page(limit + 1, parse_place(cursor))
    found = await endpoints.list_webhooks(context.database, actor_of(context, caller), wanted)
    return page(
        PageOut[WebhookOut],
        map(webhook_out, found[:limit]),
        found=found,
        limit=limit,
        cursor_of=lambda last: place_cursor(last.created_at, last.webhook_id),
    )


@router.post("", status_code=201, name="create_webhook")
async def create_webhook(body: WebhookIn, caller: Manager, context: Context, response: Response) -> ShownWebhookOut:
    """Creates a webhook. `secret` is in this answer only."""
    actor, wanted = actor_of(context, caller), body.wanted()
    shown = await endpoints.create_webhook(context.database, actor, context.webhook_urls, wanted, context.definitions)
    response.headers["location"] = _path(shown.webhook.webhook_id)
    return shown_out(shown)


@router.get("/{webhook_id}", name="read_webhook")
async def read_webhook(webhook_id: str, caller: Manager, context: Context) -> WebhookOut:
    """Returns one webhook, without its secret."""
    return webhook_out(await endpoints.find_webhook(context.database, actor_of(context, caller), _id(webhook_id)))


@router.put("/{webhook_id}", name="change_webhook")
async def change_webhook(webhook_id: str, body: WebhookChangeIn, caller: Manager, context: Context) -> WebhookOut:
    """Changes a webhook; what is left out stays as it is."""
    actor = actor_of(context, caller)
    changed = await endpoints.change_webhook(
        context.database, actor, context.webhook_urls, _id(webhook_id), body.change()
    )
    return webhook_out(changed)


@router.delete("/{webhook_id}", status_code=204, name="delete_webhook")
async def delete_webhook(webhook_id: str, caller: Manager, context: Context) -> None:
    """Removes a webhook with its secret; deliveries that wait for another attempt are not sent any more."""
    await endpoints.delete_webhook(context.database, actor_of(context, caller), _id(webhook_id))


@router.post("/{webhook_id}/rotate", name="rotate_webhook_secret")
async def rotate_secret(webhook_id: str, body: RotationIn, caller: Manager, context: Context) -> ShownWebhookOut:
    """Replaces the webhook's secret, which is in this answer only; the old one stays valid for the overlap."""
    actor = actor_of(context, caller)
    shown = await endpoints.rotate_secret(context.database, actor, _id(webhook_id), body.secret, body.overlap)
    return shown_out(shown)


@router.post("/{webhook_id}/test", status_code=202, name="test_webhook")
async def test_webhook(webhook_id: str, caller: Manager, context: Context, response: Response) -> DeliveryOut:
    """Sends a `test` event, once; the result is read at the delivery's own address."""
    sent = await delivery_log.send_test(context.database, actor_of(context, caller), _id(webhook_id))
    return await _sent(sent, caller, context, response)


@router.get("/{webhook_id}/deliveries", name="list_deliveries")
async def list_deliveries(
    webhook_id: str, caller: Manager, context: Context, limit: Limit = 20, cursor: Cursor = None
) -> PageOut[DeliveryOut]:
    """Lists the webhook's deliveries, newest first, with every attempt."""
    wanted, actor = Page(limit + 1, parse_place(cursor)), actor_of(context, caller)
    found = await delivery_log.list_deliveries(context.database, actor, _id(webhook_id), wanted)
    return page(
        PageOut[DeliveryOut],
        map(delivery_out, found[:limit]),
        found=found,
        limit=limit,
        cursor_of=lambda last: place_cursor(last.created_at, last.delivery_id),
    )


@router.get("/{webhook_id}/deliveries/{delivery_id}", name="read_delivery")
async def read_delivery(webhook_id: str, delivery_id: str, caller: Manager, context: Context) -> DeliveryOut:
    """Returns one delivery with every attempt."""
    actor, which = actor_of(context, caller), (_id(webhook_id), parse_id(delivery_id, "delivery"))
    return delivery_out(await delivery_log.find_delivery(context.database, actor, *which))


@router.post("/{webhook_id}/deliveries/{delivery_id}/redeliver", status_code=202, name="redeliver")
async def redeliver(
    webhook_id: str, delivery_id: str, caller: Manager, context: Context, response: Response
) -> DeliveryOut:
    """Sends the same event once more, with its id and its body, as a delivery of its own."""
    actor, which = actor_of(context, caller), (_id(webhook_id), parse_id(delivery_id, "delivery"))
    return await _sent(await delivery_log.redeliver(context.database, actor, *which), caller, context, response)


async def _sent(delivery: Delivery, caller: Caller, context: GatewayContext, response: Response) -> DeliveryOut:
    # The delivery is committed: when Temporal does not answer, the sweeper starts its workflow later.
    with suppress(Unavailable):
        await context.workflow_client.deliveries.start(caller.tenant_id, delivery.delivery_id, delivery.what.event)
    response.headers["location"] = f"{_path(delivery.webhook_id)}/deliveries/{delivery.delivery_id}"
    return delivery_out(delivery)


def _id(webhook_id: str) -> str:
    return parse_id(webhook_id, "webhook")


def _path(webhook_id: str) -> str:
    return f"/api/v1{PREFIX}/{webhook_id}"
