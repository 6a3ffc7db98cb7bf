from collections.abc import AsyncIterator

import pytest_asyncio

from tests.taskforce.infrastructure.net.http_server import Web, serving


@pytest_asyncio.fixture
async def web() -> AsyncIterator[Web]:
    async with serving() as server:
        yield server
