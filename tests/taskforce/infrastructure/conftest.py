"""A web server of the tests' own, and a clock that they move."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.taskforce.infrastructure.auth.jwks_server import MovingClock
from tests.taskforce.infrastructure.net.http_server import Web, serving


@pytest_asyncio.fixture
async def web() -> AsyncIterator[Web]:
    async with serving() as server:
        yield server


@pytest.fixture
def clock() -> MovingClock:
    return MovingClock()
