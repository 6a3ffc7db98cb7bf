"""One attempt to deliver, beside people who change its webhook at the same moment."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from taskforce.application.webhooks.delivery import Delivered, DeliveryAttempts
from taskforce.core.domain.webhooks.delivery import Answered, DeliveryStatus
from taskforce.infrastructure.persistence.database import Database
from tests.fixtures.locks import somebody_waits_for_a_lock
from tests.fixtures.missions import now
from tests.fixtures.webhooks import Hooks

URL = "https://hooks.example.com/"


class Gone:
    """A receiver that is gone, and does something before it says so."""

    def __init__(self, first: Callable[[], Awaitable[object]] | None = None) -> None:
        self.asked = 0
        self._first = first

    async def post(self, url: str, **_: object) -> Answered:
        self.asked += 1
        if self._first is not None:
            await self._first()
        return Answered(410, {})


@pytest.fixture
def hooks(database: Database, tenant: str) -> Hooks:
    return Hooks(database, None, tenant)


async def queued(hooks: Hooks) -> tuple[str, str]:
    webhook, _ = await hooks.make(URL)
    await hooks.announce()
    [delivery] = await hooks.deliveries(webhook)
    return webhook.webhook_id, delivery.delivery_id


async def test_a_webhook_that_was_led_elsewhere_meanwhile_is_not_gone(hooks: Hooks) -> None:
    webhook_id, delivery_id = await queued(hooks)

    async def move() -> None:
        async with hooks.database.tenant(hooks.tenant_id) as records:
            webhook = await records.webhooks.locked(webhook_id)
            assert webhook is not None
            await records.webhooks.save(replace(webhook, url="https://moved.example.com/"))

    await DeliveryAttempts(hooks.database, Gone(move), now).attempt(hooks.tenant_id, delivery_id, 1)
    found = await hooks.webhook(webhook_id)
    assert found is not None
    assert (found.enabled, found.url) == (True, "https://moved.example.com/")


async def test_whoever_disables_it_at_that_moment_is_waited_for_and_does_not_wait(hooks: Hooks) -> None:
    webhook_id, delivery_id = await queued(hooks)
    delivering = DeliveryAttempts(hooks.database, Gone(), now)
    async with hooks.database.tenant(hooks.tenant_id) as records:
        webhook = await records.webhooks.locked(webhook_id)
        assert webhook is not None
        attempt = asyncio.create_task(delivering.attempt(hooks.tenant_id, delivery_id, 1))
        await somebody_waits_for_a_lock(hooks.database, hooks.tenant_id)
        await records.webhooks.save(webhook.switched(enabled=False, now=now()))
        assert await records.deliveries.stop_all(webhook_id, now()) == 1
    assert await attempt == Delivered(DeliveryStatus.STOPPED, None, "attempt 1: 410")
    found = await hooks.webhook(webhook_id)
    assert found is not None
    assert found.disabled_by == "person"
    assert await hooks.audited("webhook.disable") == []


async def test_an_attempt_that_was_kept_is_not_made_again(hooks: Hooks) -> None:
    _, delivery_id = await queued(hooks)
    receiver = Gone()
    delivering = DeliveryAttempts(hooks.database, receiver, now)
    first = await delivering.attempt(hooks.tenant_id, delivery_id, 1)
    again = await delivering.attempt(hooks.tenant_id, delivery_id, 1)
    assert (first.status, again.status, receiver.asked) == (DeliveryStatus.FAILED, DeliveryStatus.FAILED, 1)
