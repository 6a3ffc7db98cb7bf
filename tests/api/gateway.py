"""A running gateway, and clients with tokens for it."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

from api.app import create_app
from api.composition import GatewayContext
from api.web.limits import DEFAULTS, HttpLimits
from api.web.server import GatewayServer
from taskforce.infrastructure.auth.jwt_provider import mint_development_token

SECRET = "a-secret-that-only-tests-know-0123456789"
MODEL = "openai/scripted"


class ClientFor(Protocol):
    def __call__(self, tenant: str, user: str, roles: Iterable[str]) -> httpx.AsyncClient: ...


@dataclass(frozen=True, slots=True)
class Gateway:
    url: str
    app: Any
    parts: GatewayContext
    server: GatewayServer

    def token(self, tenant: str, user: str, roles: Iterable[str], seconds: float = 3600) -> str:
        return mint_development_token(SECRET, tenant, user, roles, seconds)

    @asynccontextmanager
    async def clients(self) -> AsyncIterator[ClientFor]:
        made: list[httpx.AsyncClient] = []

        def make(tenant: str, user: str, roles: Iterable[str]) -> httpx.AsyncClient:
            headers = {"authorization": f"Bearer {self.token(tenant, user, roles)}"}
            made.append(
                httpx.AsyncClient(base_url=self.url, headers=headers, timeout=60, trust_env=False, verify=False)
            )
            return made[-1]

        try:
            yield make
        finally:
            for client in made:
                await client.aclose()


@asynccontextmanager
async def serving(parts: GatewayContext, limits: HttpLimits = DEFAULTS) -> AsyncIterator[Gateway]:
    app = create_app(parts)
    server = GatewayServer(app, parts.closing, host="127.0.0.1", port=0, signals=False, limits=limits)
    task = asyncio.create_task(server.serve())
    while not server.started and not task.done():  # noqa: ASYNC110 - the server has no event for it
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield Gateway(f"http://127.0.0.1:{port}", app, parts, server)
    server.should_exit = True
    await task
    # Its own, also of parts that were replaced: what it could not write it would try again beside all other tests.
    await parts.failed_sign_ins.aclose()


async def execute(client: httpx.AsyncClient, mission: str = "Say hello.", **more: object) -> dict[str, Any]:
    """Asks for a run that must be accepted."""
    answer = await client.post("/api/v1/agents/execute", json={"mission": mission, "model": MODEL, **more})
    assert answer.status_code == 202, answer.text
    body: dict[str, Any] = answer.json()
    return body


def assert_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """An error is a problem document with a stable code, and says nothing about our insides."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert (body["status"], body["code"]) == (status, code), body
    assert body["type"] == "about:blank"
    assert body["title"]
    assert body["detail"]
    assert ("request_id" in body) == (status != 404)
    if status != 404:
        assert body["request_id"] == answer.headers["x-request-id"]
    assert "Traceback" not in answer.text
    return body
