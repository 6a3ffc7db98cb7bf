"""What holds the event loop is told."""

import asyncio
import time

import pytest
from structlog.testing import capture_logs

from taskforce.infrastructure.loop_watch import EVERY_SECONDS, LONGEST_SECONDS, LoopWatch, watched_loop
from tests.fixtures.loop_holds import LoopHolds

PLANTED = 3 * LONGEST_SECONDS


async def turns() -> None:
    """Lets the watch's timer come twice."""
    await asyncio.sleep(2 * EVERY_SECONDS)


def hold() -> None:
    time.sleep(PLANTED)


async def test_a_planted_block_is_reported_at_its_length() -> None:
    held: list[float] = []
    watch = LoopWatch(held.append)
    await turns()
    hold()
    await turns()
    watch.stop()
    assert max(held) >= PLANTED - EVERY_SECONDS


async def test_after_its_end_nothing_is_reported() -> None:
    held: list[float] = []
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
        holds.note(number / 10)
        holds.note(0.01)
    assert [line.split() for line in holds.lines()][:2] == [["800", "ms", "test_8"], ["700", "ms", "test_7"]]
    assert len(holds.lines()) == 5


@pytest.mark.usefixtures("loop_holds")
async def test_the_sessions_loop_is_watched(loop_holds: LoopHolds) -> None:
    before = dict(loop_holds.longest)
    await turns()
    hold()
    await turns()
    assert loop_holds.longest[loop_holds.current] >= PLANTED - EVERY_SECONDS
    # A planted hold is no finding.
    loop_holds.longest = before
