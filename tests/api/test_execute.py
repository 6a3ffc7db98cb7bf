"""Asking for a run."""

import asyncio
from dataclasses import replace

import httpx
import pytest
from temporalio.client import Client

from taskforce.core.domain.errors import Unavailable
from taskforce.core.domain.runs.run import RunSpec
from taskforce.core.interfaces.due_rows import DueKind
from taskforce.infrastructure.persistence.database import Database
from tests.api.gateway import ClientFor, Gateway, assert_problem, execute, serving
from workflows.client.client import WorkflowClient
from workflows.client.executions import WorkflowExecutions
from workflows.client.runs import RunClient

EXECUTE = "/api/v1/agents/execute"


async def test_a_mission_is_accepted_with_links_and_a_location(operator: httpx.AsyncClient, tenant: str) -> None:
    answer = await operator.post(EXECUTE, json={"mission": "Count the moons.", "context": {"planet": "Saturn"}})

    assert answer.status_code == 202
    body = answer.json()
    here = f"/api/v1/runs/{body['run_id']}"
    assert answer.headers["location"] == here
    assert body["status"] == "queued"
    assert body["session_id"].startswith(f"{tenant}:session-")
    assert body["links"]["self"] == here
    assert body["links"]["events"] == f"{here}/events"
    assert body["links"]["temporal_ui"].endswith(f"{tenant}%3Arun%3A{body['run_id']}")

    run = (await operator.get(here)).json()
    assert run["mission"] == "Count the moons."
    assert run["context"] == {"planet": "Saturn"}
    assert run["status"] == "queued"
    assert (run["profile"], run["agent_id"], run["user_id"]) == ("dev", "assistant", "olga")
    assert run["models"] == ["offline/demo"]
    assert run["created_at"].endswith("Z")
    assert run["answer"] is run["error"] is run["started_at"] is run["finished_at"] is None
    assert set(run["tokens"].values()) == {0}


async def test_the_guides_own_path_answers_too(operator: httpx.AsyncClient) -> None:
    answer = await operator.post("/v1/agents/execute", json={"mission": "Hello."})
    assert answer.status_code == 202
    assert answer.headers["location"].startswith("/api/v1/runs/")


async def test_agent_profile_model_and_limits_can_be_chosen(operator: httpx.AsyncClient) -> None:
    by_agent = await execute(operator, agent_id="careful-assistant", max_steps=3, model="openai/a, azure/b")
    run = (await operator.get(by_agent["links"]["self"])).json()
    assert (run["profile"], run["agent_id"]) == ("careful", "careful-assistant")
    assert run["limits"]["max_steps"] == 3
    assert run["models"] == ["openai/a", "azure/b"]

    by_profile = await execute(operator, profile="careful")
    assert (await operator.get(by_profile["links"]["self"])).json()["agent_id"] == "careful-assistant"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"mission": "x", "agent_id": "nobody"}, 404, "agent_not_found"),
        ({"mission": "x", "profile": "none"}, 404, "profile_not_found"),
        ({"mission": "x", "profile": "dev", "agent_id": "assistant"}, 422, "request_invalid"),
        ({"mission": "x", "max_steps": 16}, 422, "limit_exceeds_agent"),
        ({"mission": "x", "max_steps": 0}, 422, "request_invalid"),
        ({"mission": "x", "max_steps": True}, 422, "request_invalid"),
        ({"mission": "x", "max_steps": "5"}, 422, "request_invalid"),
        ({"mission": "x", "surprise": 1}, 422, "request_invalid"),
        ({"mission": ""}, 422, "request_invalid"),
        ({"mission": " \n"}, 422, "request_invalid"),
        ({"mission": "x" * 20_001}, 422, "request_invalid"),
        ({"mission": None}, 422, "request_invalid"),
        ({"mission": "x", "context": []}, 422, "request_invalid"),
        ({"mission": "x", "context": {"much": "y" * 100_001}}, 422, "context_too_large"),
        ({"mission": "x", "tags": {"Team": "x"}}, 422, "tags_invalid"),
        ({"mission": "x", "tags": {"team": "\u202e"}}, 422, "tags_invalid"),
        ({"mission": "x", "tags": {f"t{n}": "x" for n in range(11)}}, 422, "tags_invalid"),
        ({"mission": "x", "tags": {"team": 1}}, 422, "request_invalid"),
        ({"mission": "x", "tags": ["team"]}, 422, "request_invalid"),
        ({"mission": "x", "model": "a\nb"}, 422, "request_invalid"),
        ({"mission": "x", "model": "lm_studio/any"}, 422, "model_not_offered"),
        ({"mission": "x", "model": "openai/a, llamafile/any"}, 422, "model_not_offered"),
        ({"mission": "x", "session_id": "another:session-1"}, 404, "session_not_found"),
        ([], 422, "request_invalid"),
        ("mission", 422, "request_invalid"),
        (None, 422, "request_invalid"),
    ],
)
async def test_what_does_not_fit_is_refused(operator: httpx.AsyncClient, body: object, status: int, code: str) -> None:
    assert_problem(await operator.post(EXECUTE, json=body), status, code)


async def test_a_session_goes_on_for_its_owner_only(
    client_for: ClientFor, operator: httpx.AsyncClient, tenant: str
) -> None:
    session_id = (await execute(operator))["session_id"]
    assert (await execute(operator, session_id=session_id))["session_id"] == session_id

    other = client_for(tenant, "otto", ["operator"])
    refused = await other.post(EXECUTE, json={"mission": "x", "session_id": session_id})
    assert_problem(refused, 404, "session_not_found")


async def test_fifty_requests_with_one_key_make_one_run(operator: httpx.AsyncClient) -> None:
    headers = {"idempotency-key": "the one and only"}
    answers = await asyncio.gather(
        *(operator.post(EXECUTE, json={"mission": "Once."}, headers=headers) for _ in range(50))
    )

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 49
    assert len((await operator.get("/api/v1/runs")).json()["items"]) == 1


async def test_a_key_belongs_to_its_body_and_to_its_user(
    client_for: ClientFor, operator: httpx.AsyncClient, tenant: str
) -> None:
    headers = {"idempotency-key": "k"}
    first = await operator.post(EXECUTE, json={"mission": "One."}, headers=headers)
    assert_problem(
        await operator.post(EXECUTE, json={"mission": "Two."}, headers=headers), 422, "idempotency_key_reused"
    )
    other = client_for(tenant, "otto", ["operator"])
    second = await other.post(EXECUTE, json={"mission": "One."}, headers=headers)
    assert second.json()["run_id"] != first.json()["run_id"]


@pytest.mark.parametrize("key", [b"", b"x" * 256, "schl\u00fcssel".encode(), b"a\tb"])
async def test_a_key_must_be_printable(operator: httpx.AsyncClient, key: bytes) -> None:
    answer = await operator.post(EXECUTE, json={"mission": "x"}, headers={b"idempotency-key": key})
    assert_problem(answer, 422, "idempotency_key_invalid")


@pytest.mark.parametrize("prefer", ["wait=0", "wait", "wait=-1", "wait=abc", "respond-async", ",;=", "wait=\u00b2"])
async def test_a_preference_that_makes_no_sense_is_no_preference(operator: httpx.AsyncClient, prefer: str) -> None:
    answer = await operator.post(EXECUTE, json={"mission": "x"}, headers={b"prefer": prefer.encode()})
    assert answer.status_code == 202
    assert "preference-applied" not in answer.headers


async def test_whoever_waits_too_short_gets_202(operator: httpx.AsyncClient) -> None:
    answer = await operator.post(EXECUTE, json={"mission": "x"}, headers={"prefer": "respond-async, wait=1"})
    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "wait=1"


class _NoAnswer(RunClient):
    async def start(self, spec: RunSpec) -> bool:
        raise Unavailable("temporal_unavailable", "Temporal does not answer.")


class _TemporalIsDown(WorkflowClient):
    def __init__(self, client: Client, task_queue: str) -> None:
        super().__init__(client, task_queue)
        self.runs = _NoAnswer(WorkflowExecutions(client, task_queue))


async def test_a_committed_run_is_accepted_although_temporal_is_down(
    gateway: Gateway, temporal: Client, database: Database, tenant: str
) -> None:
    parts = replace(gateway.parts, workflow_client=_TemporalIsDown(temporal, "none"), closing=asyncio.Event())
    async with serving(parts) as lonely, lonely.clients() as client_for:
        accepted = await execute(client_for(tenant, "olga", ["operator"]))

    async with database.tenant(tenant) as records:
        late = await records.due_rows.claim(DueKind.RUN_START, parts.clock(), parts.clock(), 100)
    assert [row.row_id for row in late] == [accepted["run_id"]]


async def test_a_run_shows_to_whom_it_is_charged(operator: httpx.AsyncClient) -> None:
    tags = {"department": "sales", "project.x": "Größe & Co."}
    accepted = await execute(operator, tags=tags)
    run = (await operator.get(accepted["links"]["self"])).json()
    assert run["attribution"] == {"department": "sales", "cost_center": None, "tags": tags}
