"""Three days of attempts, in seconds: the server's time is skipped, the receiver is real."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from taskforce.core.domain.webhooks.delivery import WAITS, DeliveryStatus
from taskforce.infrastructure.net.guarded_http import GuardedHttp
from taskforce.infrastructure.persistence.database import Database
from tests.fixtures.stack import PROOF_KEY
from tests.fixtures.webhook_receivers import Receiver, check_standard, receiving
from tests.fixtures.webhooks import Hooks
from tests.time_skipping.conftest import Skipping
from worker import build_worker
from workflows.client.client import WorkflowClient

pytestmark = pytest.mark.time_skipping
A_MOMENT = timedelta(minutes=2)
"""What an attempt itself may take on a slow machine: more than any, and less than what tells two waits apart."""


@dataclass(frozen=True)
class Post:
    receiver: Receiver
    workflow_client: WorkflowClient


@pytest.fixture(scope="module")
async def post(skipping: Skipping) -> AsyncIterator[Post]:
    client, queue = skipping.env.client, "skipping-webhooks"
    async with receiving() as receiver:
        parts = replace(skipping.parts, http=GuardedHttp(frozenset({receiver.place})))
        async with build_worker(client, queue, parts):
            yield Post(receiver, WorkflowClient(client, queue, PROOF_KEY))


@pytest.fixture
def receiver(post: Post) -> Receiver:
    post.receiver.got.clear()
    post.receiver.answer(200)
    return post.receiver


@pytest.fixture
def hooks(database: Database, post: Post, tenant: str) -> Hooks:
    return Hooks(database, post.workflow_client, tenant)


def apart(times: list[datetime]) -> list[timedelta]:
    return [later - earlier for earlier, later in pairwise(times)]


async def test_a_receiver_that_is_away_for_three_days_is_tried_ten_times_and_given_up(
    hooks: Hooks, receiver: Receiver, skipping: Skipping
) -> None:
    receiver.answer(503)
    webhook, _ = await hooks.make(receiver.url())
    delivery_id = await hooks.send(webhook)
    await hooks.after(delivery_id, 1)
    await skipping.env.sleep(timedelta(days=4))
    delivery = await hooks.ended(delivery_id)
    assert delivery.state.status is DeliveryStatus.FAILED
    assert [attempt.number for attempt in delivery.attempts] == list(range(1, 11))
    waits = apart([attempt.at for attempt in delivery.attempts])
    assert all(wait <= waited < wait + A_MOMENT for wait, waited in zip(WAITS, waits, strict=True)), waits
    assert len({got.event_id for got in receiver.got}) == len({got.body for got in receiver.got}) == 1
    assert len({got.headers["webhook-timestamp"] for got in receiver.got}) == 10


async def test_a_receiver_that_comes_back_on_the_second_day_is_told_what_it_missed(
    hooks: Hooks, receiver: Receiver, skipping: Skipping
) -> None:
    receiver.answer(*[502] * 7, 200)
    webhook, secret = await hooks.make(receiver.url())
    delivery_id = await hooks.send(webhook)
    await hooks.after(delivery_id, 1)
    await skipping.env.sleep(timedelta(days=2))
    delivery = await hooks.ended(delivery_id)
    assert delivery.state.status is DeliveryStatus.DELIVERED
    last = delivery.attempts[-1]
    assert (last.number, last.http_status) == (8, 200)
    assert last.at - delivery.attempts[0].at > timedelta(hours=31)
    check_standard(receiver.got[-1], secret, last.at.timestamp())


async def test_retry_after_is_honoured_and_then_the_schedule_again(
    hooks: Hooks, receiver: Receiver, skipping: Skipping
) -> None:
    receiver.answer_then((429, {"Retry-After": "7200"}), (503, {}), (503, {"Retry-After": "9999999"}), (200, {}))
    webhook, _ = await hooks.make(receiver.url())
    delivery_id = await hooks.send(webhook)
    await hooks.after(delivery_id, 1)
    await skipping.env.sleep(timedelta(days=2))
    delivery = await hooks.ended(delivery_id)
    waits = apart([attempt.at for attempt in delivery.attempts])
    expected = [timedelta(hours=2), timedelta(minutes=5), timedelta(days=1)]
    assert all(wait <= waited < wait + A_MOMENT for wait, waited in zip(expected, waits, strict=True)), waits


async def test_what_waits_is_not_sent_any_more_once_its_webhook_is_gone(
    hooks: Hooks, receiver: Receiver, skipping: Skipping
) -> None:
    receiver.answer(500)
    webhook, _ = await hooks.make(receiver.url())
    delivery_id = await hooks.send(webhook)
    await hooks.after(delivery_id, 1)
    async with hooks.database.tenant(hooks.tenant_id) as records:
        await records.webhooks.remove(webhook.webhook_id)
    await skipping.env.sleep(timedelta(hours=1))
    delivery = await hooks.ended(delivery_id)
    assert (delivery.state.status, len(delivery.attempts)) == (DeliveryStatus.STOPPED, 1)
    assert len(receiver.got) == 1
