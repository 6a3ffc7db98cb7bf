"""When an activity of a tenant begins, and how long it may take from then on."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from temporalio.exceptions import CancelledError
from temporalio.testing import ActivityEnvironment
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput

from activities.tenant_shares import CALL_TIMED_OUT, CallLimits, TenantShares
from models.messages.runs import ModelTurn, ToolTurn
from taskforce.core.domain.access.fair_shares import TENANT_BUSY
from taskforce.core.domain.errors import Limited, Unavailable

MOMENT = 0.01
ONE_EACH = CallLimits(model_calls=3, tool_calls=3, quick_calls=3, turn_seconds=MOMENT)
"""A tenant alone has one place of each kind."""
Work = Callable[[], Awaitable[object]]


def model(seconds: float | None = None) -> ModelTurn:
    return ModelTurn(tenant_id="busy", run_id="run", step=1, seconds=seconds)


def tool(tenant_id: str = "busy") -> ToolTurn:
    return ToolTurn(tenant_id=tenant_id, run_id="run", step=1, call=1)


class Activity(ActivityInboundInterceptor):
    """An activity that does some work."""

    def __init__(self, work: Work) -> None:
        self._work = work

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        await self._work()
        return "done"


class Process:
    """The activities of one worker."""

    def __init__(self, limits: CallLimits = ONE_EACH) -> None:
        self._shares = TenantShares(limits)
        self.environment = ActivityEnvironment()

    async def perform(self, message: ModelTurn | ToolTurn, work: Work, *, is_local: bool = False) -> object:
        kind = "call_model" if isinstance(message, ModelTurn) else "run_tool"
        self.environment = ActivityEnvironment()
        self.environment.info = replace(self.environment.default_info(), activity_type=kind, is_local=is_local)
        activity = self._shares.intercept_activity(Activity(work))
        asked = ExecuteActivityInput(fn=at_once, args=(message,), executor=None, headers={})
        async with asyncio.timeout(60):
            return await self.environment.run(activity.execute_activity, asked)


class Hanging:
    """Work without an end."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.ends = asyncio.Event()

    async def __call__(self) -> None:
        self.begun.set()
        await self.ends.wait()


async def at_once() -> None:
    """Does nothing."""


@pytest.fixture
def process() -> Process:
    return Process()


@pytest.fixture
def hanging() -> Hanging:
    return Hanging()


async def test_a_quick_tool_does_not_wait_for_its_turn(process: Process, hanging: Hanging) -> None:
    holding = asyncio.create_task(process.perform(tool(), hanging, is_local=True))
    await hanging.begun.wait()
    with pytest.raises(Limited) as refused:
        await process.perform(tool(), at_once, is_local=True)
    assert refused.value.code == TENANT_BUSY
    assert await process.perform(tool("quiet"), at_once, is_local=True) == "done"
    # The refused one is run as a slow one, whose places are others.
    assert await process.perform(tool(), at_once) == "done"
    hanging.ends.set()
    await holding
    assert await process.perform(tool(), at_once, is_local=True) == "done"


async def test_the_time_of_a_call_begins_with_its_turn(hanging: Hanging) -> None:
    process = Process(replace(ONE_EACH, turn_seconds=30))
    holding = asyncio.create_task(process.perform(model(), hanging))
    await hanging.begun.wait()
    waiting = asyncio.create_task(process.perform(model(seconds=MOMENT), at_once))
    # All that the call may take is over before its turn comes.
    asyncio.get_running_loop().call_later(5 * MOMENT, hanging.ends.set)
    assert (await waiting, await holding) == ("done", "done")


async def test_a_call_that_takes_longer_than_it_may_is_ended(process: Process, hanging: Hanging) -> None:
    with pytest.raises(Unavailable) as ended:
        await process.perform(model(seconds=MOMENT), hanging)
    assert ended.value.code == CALL_TIMED_OUT
    assert await process.perform(model(), at_once) == "done"


async def test_a_timeout_within_a_call_is_its_own(process: Process) -> None:
    async def fails() -> None:
        raise TimeoutError("of the call's own")

    with pytest.raises(TimeoutError, match="of the call's own"):
        await process.perform(model(seconds=30), fails)


async def test_a_call_that_is_cancelled_is_not_one_that_took_too_long(process: Process, hanging: Hanging) -> None:
    asked = asyncio.create_task(process.perform(model(seconds=30), hanging))
    await hanging.begun.wait()
    process.environment.cancel()
    with pytest.raises((asyncio.CancelledError, CancelledError)):
        await asked
