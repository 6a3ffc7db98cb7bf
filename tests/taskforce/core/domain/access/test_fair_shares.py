"""Places are shared so that no holder keeps another from one."""

import asyncio
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskforce.core.domain.access.fair_shares import FairShares
from taskforce.core.domain.errors import Limited


def shares(places: int) -> FairShares:
    return FairShares(places, lambda: Limited("busy", "Busy.", retry_after=5))


def fill(shared: FairShares, holder: str) -> int:
    """Takes places until none is given; returns the number that the holder has then."""
    with suppress(Limited):
        while True:
            shared.take(holder)
    with pytest.raises(Limited) as refused:
        shared.take(holder)
    assert (refused.value.code, refused.value.retry_after) == ("busy", 5)
    return shared.held_by(holder)


def test_a_holder_alone_has_a_third() -> None:
    assert fill(shares(600), "acme") == 200


def test_whoever_takes_all_it_can_leaves_room_for_many_others() -> None:
    shared = shares(600)
    taken = [fill(shared, f"greedy-{number}") for number in range(9)]
    assert min(taken) > 0
    shared.take("quiet")


def test_two_that_take_turns_have_the_same() -> None:
    shared = shares(600)
    for _ in range(150):
        shared.take("acme")
        shared.take("globex")
    assert fill(shared, "acme") == fill(shared, "globex") == 150


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), max_size=300), st.integers(1, 40))
def test_what_is_given_back_is_there_again(moves: list[tuple[str, bool]], places: int) -> None:
    shared, held = shares(places), dict.fromkeys("abcd", 0)
    for holder, takes in moves:
        if not takes:
            if held[holder]:
                shared.release(holder)
                held[holder] -= 1
            continue
        room = held[holder] * 2 < places - sum(held.values())
        try:
            shared.take(holder)
        except Limited:
            assert not room
        else:
            assert room
            held[holder] += 1
    assert {holder: shared.held_by(holder) for holder in held} == held


async def test_who_waits_gets_a_place_when_one_is_given_back_first_come_first_served() -> None:
    shared, order = shares(3), []
    await shared.wait("acme", 60)

    async def work(name: str) -> None:
        async with shared.awaited("acme", 60):
            order.append(name)

    waiting = [asyncio.create_task(work(name)) for name in "abc"]
    await asyncio.sleep(0)
    assert order == []
    shared.release("acme")
    await asyncio.gather(*waiting)
    assert order == list("abc")
    assert (shared.held_by("acme"), shared.waiting) == (0, 0)


async def test_a_wait_that_ends_without_a_place_leaves_nothing_behind() -> None:
    shared = shares(1)
    with shared.taken("acme"):
        with pytest.raises(Limited):
            await shared.wait("acme", 0.01)
        waiting = asyncio.create_task(shared.wait("acme", 60))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert shared.waiting == 0
    assert shared.held_by("acme") == 0


async def test_a_place_that_comes_in_the_moment_of_a_cancellation_is_given_back() -> None:
    shared = shares(1)
    shared.take("acme")
    waiting = asyncio.create_task(shared.wait("acme", 60))
    await asyncio.sleep(0)
    shared.release("acme")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert shared.held_by("acme") == 0


async def test_a_place_passes_by_whoever_was_cancelled_a_moment_before() -> None:
    shared = shares(1)
    shared.take("acme")
    gone, next_one = (asyncio.create_task(shared.wait("acme", 60)) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    shared.release("acme")
    with pytest.raises(asyncio.CancelledError):
        await gone
    await next_one
    assert shared.held_by("acme") == 1
