"""Signs of life."""

import asyncio
from dataclasses import replace

import httpx
from temporalio.client import Client

from taskforce.core.domain.errors import Unavailable
from taskforce.infrastructure.persistence.database import Database
from tests.api.gateway import Gateway, serving
from workflows.client.client import WorkflowClient


async def test_the_gateway_is_alive_and_ready_with_a_worker(working: httpx.AsyncClient) -> None:
    assert (await working.get("/health")).json() == {"status": "alive"}
    answer = await working.get("/ready")
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "ready"
    assert {name: part["ok"] for name, part in answer.json()["parts"].items()} == {
        "database": True, "temporal": True, "worker": True,
    }  # fmt: skip


async def test_without_a_worker_it_is_not_ready_and_says_so(operator: httpx.AsyncClient) -> None:
    answer = await operator.get("/ready")
    assert answer.status_code == 503
    parts = answer.json()["parts"]
    assert (parts["database"]["ok"], parts["temporal"]["ok"], parts["worker"]["ok"]) == (True, True, False)


class _Gone(WorkflowClient):
    async def pollers(self) -> int:
        raise Unavailable("temporal_unavailable", "Temporal does not answer.")


class _Mute(Database):
    async def ping(self) -> None:
        await asyncio.Event().wait()


async def test_each_part_is_named_that_does_not_answer(gateway: Gateway, temporal: Client) -> None:
    mute = _Mute("postgresql+asyncpg://nobody@/nowhere?host=/nowhere")
    parts = replace(gateway.parts, workflow_client=_Gone(temporal, "none"), database=mute, closing=asyncio.Event())
    async with serving(parts) as broken, httpx.AsyncClient(base_url=broken.url, trust_env=False, timeout=60) as client:
        answer = await client.get("/ready")
        assert answer.status_code == 503
        found = answer.json()["parts"]
        assert found["database"] == {"ok": False, "detail": "no answer within 2 s"}
        assert found["temporal"] == {"ok": False, "detail": "temporal_unavailable"}
        assert found["worker"]["ok"] is False


async def test_a_database_that_is_gone_is_a_503(gateway: Gateway, tenant: str) -> None:
    gone = Database("postgresql+asyncpg://nobody@/nowhere?host=/nowhere")
    parts = replace(gateway.parts, database=gone, closing=asyncio.Event())
    async with serving(parts) as broken, broken.clients() as client_for:
        answer = await client_for(tenant, "olga", ["operator"]).get("/api/v1/runs")
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")


async def test_the_document_names_every_error_as_a_problem(gateway: Gateway, operator: httpx.AsyncClient) -> None:
    document = (await operator.get("/openapi.json")).json()
    assert (await operator.get("/docs")).status_code == 200
    for operations in document["paths"].values():
        for operation in operations.values():
            assert list(operation["responses"]["default"]["content"]) == ["application/problem+json"]
            assert "422" not in operation["responses"]
    assert not any(path.startswith("/v1/") for path in document["paths"])
