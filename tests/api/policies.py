"""Policies over HTTP."""

import asyncio

import httpx

from tests.api.gateway import MODEL

POLICIES = "/api/v1/admin/policies"
EXECUTE = "/api/v1/agents/execute"


def document(*rules: dict[str, object]) -> dict[str, object]:
    return {"version": 1, "rules": list(rules)}


async def saved(admin: httpx.AsyncClient, *rules: dict[str, object]) -> None:
    """Saves a policy, and waits until it counts: a second at most."""
    answer = await admin.put(POLICIES, json=document(*rules))
    assert answer.is_success, answer.text


async def becomes(client: httpx.AsyncClient, status: int, **body: object) -> httpx.Response:
    """Starts runs until one is answered so; returns that answer."""
    async with asyncio.timeout(60):
        while True:
            answer = await client.post(EXECUTE, json={"mission": "Say hello.", "model": MODEL, **body})
            if answer.status_code == status:
                return answer
            await asyncio.sleep(0.05)
