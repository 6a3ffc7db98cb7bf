"""Every way in which a delivery ends, played with a real receiver so that its history can be recorded."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from taskforce.core.domain.webhooks.delivery import workflow_id
from tests.fixtures.webhook_receivers import Receiver
from tests.fixtures.webhooks import Hooks
from tests.replay.scenes import Stage


@dataclass(frozen=True, slots=True)
class Post:
    """What such a scene plays on."""

    stage: Stage
    receiver: Receiver

    @property
    def hooks(self) -> Hooks:
        missions = self.stage.missions
        return Hooks(missions.database, missions.workflow_client, missions.tenant_id)


Play = Callable[[Post], Awaitable[str]]
"""Plays a scene to its end; returns the delivery."""
DELIVERIES: dict[str, Play] = {}


def delivery(name: str) -> Callable[[Play], Play]:
    """Declares a scene and under which name its history is kept."""

    def declare(play: Play) -> Play:
        DELIVERIES[name] = play
        return play

    return declare


@delivery("delivered")
async def delivered(post: Post) -> str:
    post.receiver.answer(200)
    return await _sent(post)


@delivery("delivered_at_the_second_attempt")
async def delivered_at_the_second_attempt(post: Post) -> str:
    post.receiver.answer(500, 204)
    return await _sent(post)


@delivery("failed")
async def failed(post: Post) -> str:
    post.receiver.answer(500)
    webhook, _ = await post.hooks.make(post.receiver.url())
    return await _ended(post, await post.hooks.test(webhook))


@delivery("gone")
async def gone(post: Post) -> str:
    post.receiver.answer(410)
    return await _sent(post)


@delivery("disabled_while_it_waited")
async def disabled_while_it_waited(post: Post) -> str:
    post.receiver.answer(500)
    hooks = post.hooks
    webhook, _ = await hooks.make(post.receiver.url())
    delivery_id = await hooks.send(webhook)
    await hooks.after(delivery_id, 1)
    await hooks.disable(webhook)
    return await _ended(post, delivery_id)


@delivery("cancelled")
async def cancelled(post: Post) -> str:
    post.receiver.answer(503)
    webhook, _ = await post.hooks.make(post.receiver.url())
    delivery_id = await post.hooks.send(webhook)
    await post.hooks.after(delivery_id, 1)
    name = workflow_id(post.hooks.tenant_id, delivery_id)
    await post.stage.temporal.get_workflow_handle(name).cancel()
    return await _ended(post, delivery_id)


async def _sent(post: Post) -> str:
    webhook, _ = await post.hooks.make(post.receiver.url())
    return await _ended(post, await post.hooks.send(webhook))


async def _ended(post: Post, delivery_id: str) -> str:
    await post.hooks.ended(delivery_id)
    return delivery_id
