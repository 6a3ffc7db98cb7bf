"""What holds the event loop is told."""

import asyncio
import time

from structlog.testing import capture_logs

from taskforce.infrastructure.loop_watch import EVERY_SECONDS, LONGEST_SECONDS, LoopHold, LoopWatch, watched_loop
from tests.fixtures.loop_holds import LoopHolds, LoopSpy

PLANTED = 3 * LONGEST_SECONDS


async def turns() -> None:
    """Lets the watch's timer come twice."""
    await asyncio.sleep(2 * EVERY_SECONDS)


def hold(*, at_work: bool = False) -> None:
    if not at_work:
        time.sleep(PLANTED)
        return
    until = time.thread_time() + PLANTED
    while time.thread_time() < until:
        pass


async def test_a_planted_block_is_reported_at_its_length() -> None:
    held: list[LoopHold] = []
    watch = LoopWatch(held.append)
    await turns()
    hold()
    await turns()
    watch.stop()
    assert max(one.seconds for one in held) >= PLANTED - EVERY_SECONDS


async def test_of_a_hold_it_tells_how_much_was_work() -> None:
    held: list[LoopHold] = []
    watch = LoopWatch(held.append)
    for _ in range(2):
        await turns()
        hold(at_work=len(held) > 0)
        await turns()
    watch.stop()
    asleep, *_, at_work = held
    assert asleep.cpu_seconds < PLANTED / 2
    assert at_work.cpu_seconds >= PLANTED - 2 * EVERY_SECONDS


async def test_after_its_end_nothing_is_reported() -> None:
    held: list[LoopHold] = []
    LoopWatch(held.append).stop()
    hold()
    await turns()
    assert held == []


async def test_workers_and_gateways_log_it() -> None:
    with capture_logs() as logs, watched_loop():
        await turns()
        hold()
        await turns()
    told = [one for one in logs if one["event"] == "loop.held"]
    assert told
    # The log tells whole milliseconds.
    assert max(one["ms"] for one in told) >= round((PLANTED - EVERY_SECONDS) * 1_000)


def test_the_summary_names_the_tests_that_held_it_longest() -> None:
    holds = LoopHolds()
    for number in range(9):
        holds.current = f"test_{number}"
        holds.note(LoopHold(number / 10, 0.02), "this")
        holds.note(LoopHold(0.01, 0.0), "this")
    assert [line.split()[0] + line.split()[-1] for line in holds.lines()][:2] == ["800test_8", "700test_7"]
    assert len(holds.lines()) == 5


def test_only_work_is_held_against_a_test() -> None:
    holds = LoopHolds()
    holds.current = "waited"
    holds.note(LoopHold(9, 0.01), "this")
    holds.note(LoopHold(9, 9), "")
    assert holds.heaviest == {}
    holds.current = "worked"
    holds.note(LoopHold(0.3, 0.2), "this")
    holds.note(LoopHold(0.4, 0.15), "that")
    assert holds.heaviest == {"worked": (0.2, "this")}


async def test_who_holds_a_loop_by_guarded_work_is_named() -> None:
    holds = LoopHolds()
    with LoopSpy(holds, (__file__,)):
        await turns()
        hold(at_work=True)
        await turns()
    seconds, who = holds.heaviest[holds.current]
    assert seconds >= PLANTED - 2 * EVERY_SECONDS
    assert __file__ in who


async def test_what_a_test_does_itself_is_held_against_nobody() -> None:
    holds = LoopHolds()
    with LoopSpy(holds):
        await turns()
        hold(at_work=True)
        await turns()
    assert holds.longest[holds.current].seconds >= PLANTED - EVERY_SECONDS
    assert holds.heaviest == {}
