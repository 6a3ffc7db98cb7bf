"""What clients without an accepted credential can take from the others: nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import httpx
import pytest

from api.composition import GatewayContext
from api.web.limits import HttpLimits
from api.web.protocol import GatewayConfig
from taskforce.core.interfaces.identity import Identity
from taskforce.infrastructure.auth.issuers import Issuers
from taskforce.infrastructure.auth.jwt_provider import JWTConfig, JWTIdentityProvider
from tests.api.gateway import SECRET, Gateway, assert_problem, serving
from tests.api.web.sockets import connected, until

LIMITS = HttpLimits(connections=5)


class _Mute(Issuers):
    async def authenticate(self, token: str | None) -> Identity:
        await asyncio.Event().wait()
        raise AssertionError(token)


@pytest.fixture(scope="module")
async def small(gateway_parts: GatewayContext) -> AsyncIterator[Gateway]:
    """A gateway with room for few connections."""
    async with serving(replace(gateway_parts, closing=asyncio.Event()), LIMITS) as running:
        yield running


@pytest.mark.parametrize("credential", ["", "authorization: Bearer nonsense\r\n"])
async def test_who_reads_no_answers_keeps_nobody_out(small: Gateway, credential: str) -> None:
    assert isinstance(small.server.config, GatewayConfig)
    held = small.server.config.connections
    request = f"GET /openapi.json HTTP/1.1\r\nhost: x\r\n{credential}\r\n".encode()
    async with AsyncExitStack() as stack:
        for _ in range(LIMITS.connections):
            client = await stack.enter_async_context(connected(small.url))
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await client.send(request * 16)
        await until(lambda: len(held) == LIMITS.connections)
        async with httpx.AsyncClient(base_url=small.url, trust_env=False, timeout=60) as client_:
            assert (await client_.get("/health")).status_code == 200


async def test_whoever_is_accepted_does_not_give_way(small: Gateway, tenant: str) -> None:
    assert isinstance(small.server.config, GatewayConfig)
    held = small.server.config.connections
    run = "POST /api/v1/agents/execute HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n"
    credential = f"authorization: Bearer {small.token(tenant, 'olga', ['operator'])}\r\n\r\n"
    async with AsyncExitStack() as stack:
        await until(lambda: len(held) == 0)
        for _ in range(LIMITS.connections):
            client = await stack.enter_async_context(connected(small.url))
            await client.send((run + credential).encode())
        await until(lambda: len(held) == LIMITS.connections and held.pending == 0)
        async with connected(small.url) as late:
            assert (await late.last_answer()).code == "connections_exhausted"


async def test_a_credential_that_cannot_be_checked_is_not_waited_for(gateway_parts: GatewayContext) -> None:
    mute_issuers = _Mute([JWTIdentityProvider(JWTConfig(secret_key=SECRET), development=True)])
    parts = replace(gateway_parts, identities=mute_issuers, authentication_seconds=0.05, closing=asyncio.Event())
    async with serving(parts) as mute, mute.clients() as client_for:
        client = client_for("acme", "olga", ["operator"])
        for answer in (await client.get("/api/v1/me"), await client.post("/api/v1/agents/execute", json={})):
            assert_problem(answer, 503, "authentication_timeout")
