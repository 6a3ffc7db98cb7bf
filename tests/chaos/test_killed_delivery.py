"""`kill -9` of a worker after a receiver has got a delivery and before that is noted: it comes again, as itself."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from taskforce.core.domain.webhooks.delivery import DeliveryStatus
from taskforce.infrastructure.persistence.database import Database
from tests.chaos.worker_process import Crew, Order
from tests.fixtures.missions import Missions, now
from tests.fixtures.scripted_llm import ScriptedLLM
from tests.fixtures.stack import DatabaseUrls, StackAddress
from tests.fixtures.webhook_receivers import Receiver, check_standard, receiving
from tests.fixtures.webhooks import Hooks


@pytest.fixture(scope="module")
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as running:
        yield running


@pytest.fixture(scope="module")
async def messengers(
    stack: StackAddress, postgres: DatabaseUrls, llm: ScriptedLLM, place: Path, task_queue: str, receiver: Receiver
) -> AsyncIterator[Crew]:
    order = Order(postgres.app, stack.temporal, task_queue, llm.url, str(place), allowed=(receiver.place,))
    async with Crew(order) as workers:
        yield workers


async def test_a_delivery_whose_worker_is_killed_before_it_is_noted_comes_again_under_the_same_id(
    messengers: Crew, endangered: Missions, database: Database, receiver: Receiver
) -> None:
    hooks = Hooks(database, endangered.workflow_client, endangered.tenant_id)
    webhook, secret = await hooks.make(receiver.url())
    receiver.hang()
    await messengers.hire()
    delivery_id = await hooks.send(webhook)
    await receiver.until(1, seconds=120)
    await messengers.kill()
    assert (await hooks.delivery(delivery_id)).attempts == ()

    receiver.answer(200)
    await messengers.hire()
    first, second = await receiver.until(2, seconds=120)
    delivery = await hooks.ended(delivery_id)
    assert delivery.state.status is DeliveryStatus.DELIVERED
    assert [attempt.number for attempt in delivery.attempts] == [1]
    assert (first.event_id, first.body) == (second.event_id, second.body)
    for got in (first, second):
        check_standard(got, secret, now().timestamp())
