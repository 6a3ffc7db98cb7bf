"""A tenant whose texts take long to check holds up its own ones only."""

import asyncio
import threading

import pytest

from taskforce.application.tenant_threads import in_thread


async def test_a_tenant_that_occupies_threads_leaves_some_to_others() -> None:
    go_on = threading.Event()
    slow = [asyncio.create_task(in_thread("acme", go_on.wait)) for _ in range(32)]
    await asyncio.sleep(0)
    assert await in_thread("globex", lambda: "checked") == "checked"
    assert not any(task.done() for task in slow)
    slow[0].cancel()
    go_on.set()
    done = await asyncio.gather(*slow, return_exceptions=True)
    assert done[1:] == [True] * 31


async def test_what_the_work_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        await in_thread("acme", lambda: 1 / 0)
