"""A worker takes few activities that it does not begin, and as many as it has slots that it has begun."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import pytest
from temporalio.testing import ActivityEnvironment
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    SlotPermit,
    SlotReleaseContext,
    SlotReserveContext,
)

from activities.activity_slots import ActivitySlots

ASKED = cast("SlotReserveContext", None)
ENOUGH = 60


def given_back(permit: SlotPermit) -> SlotReleaseContext:
    return SlotReleaseContext(slot_info=None, permit=permit)


async def taken(slots: ActivitySlots, number: int) -> list[SlotPermit]:
    async with asyncio.timeout(ENOUGH):
        return [await slots.reserve_slot(ASKED) for _ in range(number)]


@asynccontextmanager
async def waiting(slots: ActivitySlots, number: int = 1) -> AsyncIterator[list["asyncio.Task[SlotPermit]"]]:
    tasks = [asyncio.create_task(slots.reserve_slot(ASKED)) for _ in range(number)]
    await turns()
    assert not any(task.done() for task in tasks)
    yield tasks
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def turns() -> None:
    """Lets every task of the loop run as far as it comes."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_few_are_taken_that_have_not_begun_and_each_beginning_lets_another_in() -> None:
    slots = ActivitySlots(100, ahead=3)
    await taken(slots, 3)
    assert slots.try_reserve_slot(ASKED) is None
    async with waiting(slots, 2) as (first, second):
        slots.begin()
        await asyncio.wait_for(first, ENOUGH)
        await turns()
        assert not second.done()
        slots.begin()
        await asyncio.wait_for(second, ENOUGH)
    assert slots.try_reserve_slot(ASKED) is None


async def test_what_has_begun_holds_slots_up_to_their_number() -> None:
    slots = ActivitySlots(5, ahead=3)
    for _ in range(5):
        await taken(slots, 1)
        slots.begin()
    assert slots.try_reserve_slot(ASKED) is None
    async with waiting(slots) as (task,):
        slots.end()
        await turns()
        assert not task.done(), "the server has not been told yet"
        slots.release_slot(given_back(SlotPermit()))
        await asyncio.wait_for(task, ENOUGH)


async def test_a_slot_that_was_never_used_is_given_to_the_next() -> None:
    slots = ActivitySlots(100, ahead=1)
    (permit,) = await taken(slots, 1)
    async with waiting(slots) as (task,):
        slots.release_slot(given_back(permit))
        await asyncio.wait_for(task, ENOUGH)
        assert slots.try_reserve_slot(ASKED) is None


async def test_whoever_stops_waiting_keeps_nobody_else_waiting() -> None:
    slots = ActivitySlots(100, ahead=1)
    (permit,) = await taken(slots, 1)
    async with waiting(slots, 3) as (first, second, third):
        first.cancel()
        await turns()
        slots.release_slot(given_back(permit))
        # In the very turn in which it is handed the slot.
        second.cancel()
        await asyncio.wait_for(third, ENOUGH)
        assert slots.try_reserve_slot(ASKED) is None


async def test_threads_may_give_slots_back() -> None:
    slots = ActivitySlots(100, ahead=1)
    for _ in range(200):
        (permit,) = await taken(slots, 1)
        threading.Thread(target=slots.release_slot, args=[given_back(permit)]).start()
    await taken(slots, 1)
    assert slots.try_reserve_slot(ASKED) is None


@pytest.mark.parametrize("is_local", [False, True])
async def test_an_activity_counts_while_it_runs_whatever_becomes_of_it(is_local: bool) -> None:
    slots = ActivitySlots(100, ahead=1)
    await taken(slots, 1)
    seen: list[bool] = []

    class Failing(ActivityInboundInterceptor):
        def __init__(self) -> None:
            pass

        async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
            permit = slots.try_reserve_slot(ASKED)
            seen.append(permit is not None)
            if permit is not None:
                slots.release_slot(given_back(permit))
            raise ValueError

    environment = ActivityEnvironment()
    environment.info = replace(environment.default_info(), is_local=is_local)
    asked = ExecuteActivityInput(fn=turns, args=(), executor=None, headers={})
    with pytest.raises(ValueError, match=r"^$"):
        await environment.run(slots.intercept_activity(Failing()).execute_activity, asked)
    assert seen == [not is_local]
    assert slots.try_reserve_slot(ASKED) is None
