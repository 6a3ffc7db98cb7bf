"""Whoever works longer than a moment says so, and no longer than it works."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput

from activities import heartbeats
from activities.heartbeats import HeartbeatInterceptor

MOMENT = 0.001


class Activity(ActivityInboundInterceptor):
    """An activity that does some work."""

    def __init__(self, work: Callable[[], Awaitable[object]]) -> None:
        self._work = work

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        await self._work()
        return "done"


class Server:
    """Counts the heartbeats of one activity."""

    def __init__(self) -> None:
        self.heard = 0
        self.heard_two = asyncio.Event()

    def beat(self, *_: object) -> None:
        self.heard += 1
        if self.heard == 2:
            self.heard_two.set()

    async def run(self, work: Callable[[], Awaitable[object]], patience: timedelta | None) -> None:
        environment = ActivityEnvironment()
        environment.info = replace(environment.default_info(), heartbeat_timeout=patience)
        environment.on_heartbeat = self.beat
        activity = HeartbeatInterceptor().intercept_activity(Activity(work))
        asked = ExecuteActivityInput(fn=many_moments, args=(), executor=None, headers={})
        async with asyncio.timeout(60):
            assert await environment.run(activity.execute_activity, asked) == "done"


async def many_moments() -> None:
    for _ in range(20):
        await asyncio.sleep(MOMENT)


async def no_time() -> None:
    """Does nothing."""


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeats, "FIRST_SECONDS", MOMENT)
    monkeypatch.setattr(heartbeats, "EVERY_SECONDS", MOMENT)


async def test_it_heartbeats_while_it_works_and_not_after() -> None:
    server = Server()
    await server.run(server.heard_two.wait, timedelta(seconds=10))
    at_its_end = server.heard
    assert at_its_end >= 2
    await many_moments()
    assert server.heard == at_its_end


async def test_what_is_done_at_once_is_told_nobody() -> None:
    server = Server()
    await server.run(no_time, timedelta(seconds=10))
    await many_moments()
    assert server.heard == 0


async def test_where_nobody_waits_for_heartbeats_there_are_none() -> None:
    server = Server()
    await server.run(many_moments, None)
    assert server.heard == 0
