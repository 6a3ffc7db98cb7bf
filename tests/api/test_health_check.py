"""Checks of health, which everybody may ask for."""

import asyncio

import pytest

from api.health_check import FRESH_SECONDS, HealthCheck


class _Parts:
    def __init__(self) -> None:
        self.asked = 0
        self.answers = asyncio.Event()
        self.now = 0.0

    async def ping(self) -> None:
        self.asked += 1
        await self.answers.wait()

    async def pollers(self) -> int:
        return 1

    def clock(self) -> float:
        return self.now

    def check(self) -> HealthCheck:
        return HealthCheck(self.ping, self.pollers, self.clock)


@pytest.fixture
async def parts() -> _Parts:
    return _Parts()


async def test_all_who_ask_at_once_share_one_check(parts: _Parts) -> None:
    check = parts.check()
    asking = [asyncio.create_task(check.check()) for _ in range(20)]
    await asyncio.sleep(0)
    asking.pop().cancel()
    parts.answers.set()
    assert {found.status for found in await asyncio.gather(*asking)} == {"ready"}
    assert parts.asked == 1


async def test_what_was_found_holds_for_a_second(parts: _Parts) -> None:
    check = parts.check()
    parts.answers.set()
    asked = []
    for parts.now in (0.0, FRESH_SECONDS - 0.1, FRESH_SECONDS, 2 * FRESH_SECONDS - 0.1, 5.0):
        await check.check()
        asked.append(parts.asked)
    assert asked == [1, 1, 2, 2, 3]
