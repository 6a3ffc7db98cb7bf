"""Which version a run is pinned to; nothing here is done by a worker."""

from typing import Any

import httpx
import pytest

from taskforce.infrastructure.persistence.database import Database
from tests.api.gateway import MODEL, ClientFor, assert_problem, execute
from tests.fixtures.agents import GOOD, keep_approved, keep_published

AGENTS = "/api/v1/admin/agents"
EXECUTE = "/api/v1/agents/execute"
COUNT = {"mission": "x", "agent_id": "counter"}
HERE = f"{AGENTS}/counter/versions"


@pytest.fixture
async def designer(client_for: ClientFor, tenant: str) -> httpx.AsyncClient:
    client = client_for(tenant, "dora", ["agent_designer"])
    await client.get("/api/v1/me")
    return client


async def test_which_version_is_started(
    designer: httpx.AsyncClient, operator: httpx.AsyncClient, database: Database, tenant: str
) -> None:
    agent = await keep_published(database, tenant)
    for number in ("1.0.0", "2.0.0"):
        await designer.post(HERE, json={"version_number": number, "definition": {**GOOD, "max_iterations": 9}})
        if number == "1.0.0":
            await keep_approved(database, tenant, "counter", number)
            await designer.post(f"{HERE}/{number}/publish")
    await designer.put(f"{AGENTS}/counter/aliases/canary", json={"version": "0.1.0"})

    async def pinned(**query: Any) -> str:
        accepted = await execute(operator, agent_id="counter", **query)
        number: str = (await operator.get(accepted["links"]["self"])).json()["agent_version"]["version_number"]
        return number

    assert await pinned() == "1.0.0"
    assert await pinned(alias="canary") == "0.1.0"
    assert await pinned(version="0.1.0") == "0.1.0"
    for query, status, code in (
        ({"alias": "stable"}, 404, "alias_not_found"),
        ({"version": "9.9.9"}, 404, "version_not_found"),
        ({"version": "2.0.0"}, 409, "version_not_published"),
        ({"max_steps": 10}, 422, "limit_exceeds_agent"),
        ({"version": "1.0.0", "alias": "canary"}, 422, "request_invalid"),
    ):
        answer = await operator.post(EXECUTE, json={**COUNT, **query})
        assert_problem(answer, status, code)
    assert_problem(await operator.post(EXECUTE, json={"mission": "x", "version": "1.0.0"}), 422, "request_invalid")
    profiles = await operator.post(EXECUTE, json={"mission": "x", "agent_id": "assistant", "version": "1.0.0"})
    assert_problem(profiles, 422, "agent_has_no_versions")
    runs = (await operator.get("/api/v1/runs", params={"agent_id": "counter"})).json()["items"]
    assert [one["agent_version"]["version_number"] for one in runs] == ["0.1.0", "0.1.0", "1.0.0"]
    by_id = await execute(operator, agent_id=agent.agent_id)
    assert (await operator.get(by_id["links"]["self"])).json()["agent_id"] == agent.agent_id


async def test_a_version_that_names_its_model_runs_with_no_other(
    designer: httpx.AsyncClient, operator: httpx.AsyncClient, database: Database, tenant: str
) -> None:
    await keep_published(database, tenant, model=MODEL)
    answer = await operator.post(EXECUTE, json={**COUNT, "model": "openai/other"})
    assert_problem(answer, 422, "model_pinned")
    accepted = await execute(operator, agent_id="counter")
    assert (await operator.get(accepted["links"]["self"])).json()["models"] == [MODEL]


async def test_a_repeated_request_gets_its_run_whatever_has_become_of_the_agent(
    designer: httpx.AsyncClient, operator: httpx.AsyncClient, database: Database, tenant: str
) -> None:
    await keep_published(database, tenant)
    asked = {**COUNT, "max_steps": 5}
    first = await operator.post(EXECUTE, json=asked, headers={"idempotency-key": "k"})

    await designer.post(HERE, json={"version_number": "1.0.0", "definition": {**GOOD, "max_iterations": 2}})
    await keep_approved(database, tenant, "counter", "1.0.0")
    await designer.post(f"{HERE}/1.0.0/publish")
    assert_problem(await operator.post(EXECUTE, json=asked), 422, "limit_exceeds_agent")

    again = await operator.post(EXECUTE, json=asked, headers={"idempotency-key": "k"})
    assert (again.status_code, again.content) == (202, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    other = await operator.post(EXECUTE, json={**asked, "mission": "y"}, headers={"idempotency-key": "k"})
    assert_problem(other, 422, "idempotency_key_reused")
