"""Deliveries to real receivers, by a real Temporal: taken, refused, tried again, stopped."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import uuid4

import pytest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle

from taskforce.application.webhooks import delivery
from taskforce.core.domain.tenants.tenant import TenantStatus
from taskforce.core.domain.webhooks.delivery import DeliveryStatus, workflow_id
from taskforce.core.domain.webhooks.endpoint import Secrets, WebhookFormat, new_secret
from taskforce.infrastructure.net.guarded_http import GuardedHttp
from taskforce.infrastructure.persistence.database import Database
from tests.fixtures.isolated_sweeps import Alone, sweeps
from tests.fixtures.missions import now
from tests.fixtures.stack import PROOF_KEY
from tests.fixtures.webhook_receivers import Receiver, check_guide, check_standard, receiving
from tests.fixtures.webhooks import SUBJECT, Hooks
from tests.taskforce.infrastructure.net.hosts import Names
from worker import WorkerParts, build_worker
from workflows.client.client import WorkflowClient
from workflows.runtime.search_attributes import STATUS, TENANT


@dataclass(frozen=True)
class Post:
    """A receiver, and a worker that may reach it."""

    receiver: Receiver
    workflow_client: WorkflowClient


@pytest.fixture(scope="module")
async def post(temporal: Client, parts: WorkerParts) -> AsyncIterator[Post]:
    queue = f"webhooks-{uuid4().hex[:12]}"
    async with receiving() as receiver:
        http = GuardedHttp(frozenset({receiver.place, "127.0.0.1:1"}), resolve=Names(["10.0.0.5"]))
        async with build_worker(temporal, queue, replace(parts, http=http)):
            yield Post(receiver, WorkflowClient(temporal, queue, PROOF_KEY))
        await http.aclose()


@pytest.fixture
def receiver(post: Post) -> Receiver:
    post.receiver.got.clear()
    post.receiver.answer(200)
    return post.receiver


@pytest.fixture
def hooks(database: Database, post: Post, tenant: str) -> Hooks:
    return Hooks(database, post.workflow_client, tenant)


def handle(temporal: Client, hooks: Hooks, delivery_id: str) -> "WorkflowHandle[object, object]":
    return temporal.get_workflow_handle(workflow_id(hooks.tenant_id, delivery_id))


async def test_an_event_arrives_signed_and_is_logged(hooks: Hooks, receiver: Receiver, temporal: Client) -> None:
    receiver.answer(204)
    webhook, secret = await hooks.make(receiver.url("/hook?token=x"))
    delivery_id = await hooks.send(webhook)
    delivery = await hooks.ended(delivery_id)
    [got] = receiver.got
    check_standard(got, secret, now().timestamp())
    assert got.path == "/hook?token=x"
    assert got.event_id == delivery.what.event_id
    assert got.json()["type"] == "request_approved"
    assert got.json()["data"] == {"tenant_id": hooks.tenant_id, **SUBJECT}
    assert delivery.state.status is DeliveryStatus.DELIVERED
    [attempt] = delivery.attempts
    assert (attempt.number, attempt.http_status, attempt.error) == (1, 204, None)
    assert delivery.finished_at is not None

    assert await handle(temporal, hooks, delivery_id).result() == "delivered"
    described = await handle(temporal, hooks, delivery_id).describe()
    assert described.typed_search_attributes[TENANT] == hooks.tenant_id
    assert described.typed_search_attributes[STATUS] == "delivered"


async def test_a_receiver_of_the_guides_format_is_told_in_it(hooks: Hooks, receiver: Receiver) -> None:
    webhook, secret = await hooks.make(receiver.url(), format=WebhookFormat.GUIDE)
    await hooks.ended(await hooks.send(webhook))
    [got] = receiver.got
    check_guide(got, secret)
    assert got.json()["payload"] == {"tenant_id": hooks.tenant_id, **SUBJECT}


async def test_after_a_failure_the_same_event_comes_again_with_a_new_signature(
    hooks: Hooks, receiver: Receiver
) -> None:
    receiver.answer(500, 200, body=b"out of order" * 200)
    webhook, secret = await hooks.make(receiver.url())
    delivery_id = await hooks.send(webhook)
    waiting = await hooks.after(delivery_id, 1)
    [attempt] = waiting.attempts
    assert (attempt.http_status, attempt.error) == (500, "The receiver answered 500.")
    assert len(attempt.excerpt) == 1_024
    assert waiting.state.status is DeliveryStatus.PENDING
    assert waiting.state.next_attempt_at is not None
    due = waiting.state.next_attempt_at - attempt.at
    assert timedelta(seconds=5) <= due < timedelta(seconds=8)

    delivery = await hooks.ended(delivery_id)
    assert [attempt.http_status for attempt in delivery.attempts] == [500, 200]
    first, second = receiver.got
    assert (first.body, first.event_id) == (second.body, second.event_id)
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]
    for got in (first, second):
        check_standard(got, secret, now().timestamp())


async def test_a_receiver_that_asks_for_time_gets_it(hooks: Hooks, receiver: Receiver) -> None:
    receiver.answer(429, Retry_After="3600")
    webhook, _ = await hooks.make(receiver.url())
    delivery = await hooks.after(await hooks.send(webhook), 1)
    assert delivery.state.next_attempt_at is not None
    wait = delivery.state.next_attempt_at - delivery.attempts[0].at
    assert timedelta(minutes=60) <= wait < timedelta(minutes=61)


async def test_a_receiver_that_is_gone_disables_its_webhook(hooks: Hooks, receiver: Receiver) -> None:
    receiver.answer(503, 410, 200)
    webhook, _ = await hooks.make(f"{receiver.url()}?token=hush")
    waiting = await hooks.send(webhook)
    await hooks.after(waiting, 1)
    gone = await hooks.ended(await hooks.send(webhook))
    assert (gone.state.status, gone.attempts[0].http_status) == (DeliveryStatus.FAILED, 410)
    found = await hooks.webhook(webhook.webhook_id)
    assert found is not None
    assert (found.enabled, found.disabled_by) == (False, "gone")
    assert (await hooks.ended(waiting)).state.status is DeliveryStatus.STOPPED
    [event] = await hooks.audited("webhook.disable")
    assert (event.actor_id, event.resource_id, event.outcome) == ("system", webhook.webhook_id, "disabled")
    assert event.details == {"destination": f"http://{receiver.place}", "stopped_deliveries": 1}
    await hooks.announce()
    assert len(await hooks.deliveries(webhook)) == 2


async def test_a_redirect_is_a_failure_and_never_followed(hooks: Hooks, receiver: Receiver) -> None:
    receiver.answer(302, Location=receiver.url("/elsewhere"))
    webhook, _ = await hooks.make(receiver.url())
    delivery = await hooks.after(await hooks.send(webhook), 1)
    assert delivery.attempts[0].error == "The receiver answered 302; redirects are not followed."
    assert delivery.state.status is DeliveryStatus.PENDING
    assert [got.path for got in receiver.got] == ["/hook"]


async def test_a_receiver_that_hangs_is_given_up(
    hooks: Hooks, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "ATTEMPT_SECONDS", 0.3)
    receiver.hang()
    webhook, _ = await hooks.make(receiver.url())
    [attempt] = (await hooks.after(await hooks.send(webhook), 1)).attempts
    assert attempt.error == f"{receiver.place} did not answer within 0.3 seconds."
    assert attempt.http_status is None
    assert attempt.duration_ms >= 300


async def test_a_receiver_that_is_not_there_is_tried_again(hooks: Hooks) -> None:
    webhook, _ = await hooks.make("http://127.0.0.1:1/")
    delivery = await hooks.after(await hooks.send(webhook), 1)
    assert "127.0.0.1:1 cannot be reached" in str(delivery.attempts[0].error)
    assert delivery.state.status is DeliveryStatus.PENDING


async def test_a_place_that_is_not_public_is_not_asked(hooks: Hooks) -> None:
    for host in ("10.0.0.5", "leads-inside.example.com"):
        webhook, _ = await hooks.make(f"https://{host}/hook")
        delivery = await hooks.after(await hooks.send(webhook), 1)
        assert delivery.attempts[0].error == f"{host} is not a public internet address, so it may not be asked."


async def test_while_a_secret_is_rotated_both_are_good(hooks: Hooks, receiver: Receiver) -> None:
    webhook, old = await hooks.make(receiver.url())
    new = new_secret()
    await hooks.rotate(webhook.webhook_id, Secrets(old).rotated(new, now(), timedelta(hours=1)))
    await hooks.ended(await hooks.send(webhook))
    for secret in (old, new):
        check_standard(receiver.got[0], secret, now().timestamp())
    await hooks.rotate(webhook.webhook_id, Secrets(new, old, now()))
    await hooks.ended(await hooks.send(webhook))
    assert len(receiver.got[1].headers["webhook-signature"].split(" ")) == 1
    check_standard(receiver.got[1], new, now().timestamp())


async def test_an_operator_who_cancels_a_delivery_stops_it(hooks: Hooks, receiver: Receiver, temporal: Client) -> None:
    receiver.answer(500)
    webhook, _ = await hooks.make(receiver.url())
    delivery_id = await hooks.send(webhook)
    await hooks.after(delivery_id, 1)
    await handle(temporal, hooks, delivery_id).cancel()
    assert (await hooks.ended(delivery_id)).state.status is DeliveryStatus.STOPPED
    async with asyncio.timeout(60):
        running = WorkflowExecutionStatus.RUNNING
        while (await handle(temporal, hooks, delivery_id).describe()).status is running:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.02)
    assert (await handle(temporal, hooks, delivery_id).describe()).status is WorkflowExecutionStatus.CANCELED


async def test_a_delivery_that_an_operator_terminates_is_stopped_by_a_sweep(
    hooks: Hooks, receiver: Receiver, temporal: Client, post: Post, parts: WorkerParts
) -> None:
    receiver.answer(500)
    webhook, _ = await hooks.make(receiver.url())
    delivery_id = await hooks.send(webhook)
    await hooks.after(delivery_id, 1)
    await handle(temporal, hooks, delivery_id).terminate()
    async with sweeps(Alone(hooks.database, hooks.tenant_id), post.workflow_client, parts.live):
        assert (await hooks.ended(delivery_id)).state.status is DeliveryStatus.STOPPED


async def test_nothing_is_sent_for_a_tenant_that_was_disabled(hooks: Hooks, receiver: Receiver) -> None:
    webhook, _ = await hooks.make(receiver.url())
    await hooks.announce()
    async with hooks.database.tenant(hooks.tenant_id) as records:
        tenant = await records.tenant.locked()
        assert tenant is not None
        await records.tenant.save(replace(tenant, status=TenantStatus.DISABLED))
    [delivery] = await hooks.deliveries(webhook)
    await hooks.start(delivery.delivery_id)
    assert (await hooks.ended(delivery.delivery_id)).state.status is DeliveryStatus.STOPPED
    assert receiver.got == []


async def test_a_second_start_of_a_delivery_is_none(hooks: Hooks, receiver: Receiver) -> None:
    webhook, _ = await hooks.make(receiver.url())
    delivery_id = await hooks.send(webhook)
    await hooks.start(delivery_id)
    await hooks.ended(delivery_id)
    await hooks.start(delivery_id)
    assert len((await hooks.delivery(delivery_id)).attempts) == len(receiver.got) == 1
