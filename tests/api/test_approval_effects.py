"""What follows an approval, from the request over HTTP to its effect: a worker, Temporal and PostgreSQL are real."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from temporalio.client import Client

from api.web.ndjson import ANCHOR, MEDIA_TYPE
from taskforce.application.approvals.results import erase_old_results
from taskforce.core.domain.approvals.approval import workflow_id
from taskforce.core.domain.audit.chain import Anchor, verify
from taskforce.infrastructure.persistence.database import Database
from tests.api.approval_effects import REQUESTS, asked
from tests.api.gateway import ClientFor, assert_problem, execute
from tests.api.sse import follow
from tests.fixtures.agents import GOOD
from tests.fixtures.scripted_llm import ScriptedLLM, text, tool_calls


async def outcome(client: httpx.AsyncClient, path: str) -> dict[str, Any]:
    """Waits for what follows; returns its entry of the history."""
    async with asyncio.timeout(60):
        while True:
            items = (await client.get(f"{path}/history")).json()["items"]
            found: list[dict[str, Any]] = [one for one in items if "carried_out" in one["kind"]]
            if found:
                return found[0]
            await asyncio.sleep(0.05)


async def approved(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.post(f"{path}/approve")
    assert (answer.status_code, answer.json().get("status")) == (200, "approved"), answer.text


@pytest.fixture
def olga(working_client_for: ClientFor, tenant: str) -> httpx.AsyncClient:
    return working_client_for(tenant, "olga", ["viewer"])


@pytest.fixture
def ada(working_client_for: ClientFor, tenant: str) -> httpx.AsyncClient:
    return working_client_for(tenant, "ada", ["admin"])


async def test_whoever_asks_for_a_role_holds_it_once_it_is_approved(
    olga: httpx.AsyncClient, ada: httpx.AsyncClient
) -> None:
    path = await asked(olga, "permission_escalation", role="operator", hours=4)
    assert "agent:execute" not in (await olga.get("/api/v1/me")).json()["permissions"]
    await approved(ada, path)
    done = await outcome(olga, path)
    assert (done["kind"], done["actor_id"]) == ("carried_out", "system")
    assert done["comment"].startswith("olga was given operator until ")
    assert "agent:execute" in (await olga.get("/api/v1/me")).json()["permissions"]
    lent = (await ada.get("/api/v1/admin/users/olga")).json()["lent_roles"]
    left = datetime.fromisoformat(lent["operator"]) - datetime.now(UTC)
    assert timedelta(hours=3) < left <= timedelta(hours=4)
    (change,) = (await ada.get("/api/v1/admin/audit", params={"action": "user.change"})).json()["items"]
    assert (change["actor_id"], change["on_behalf_of"], change["channel"]) == ("system", "olga", "worker")
    assert change["details"]["approved_by"] == ["ada"]
    # Whoever manages users ends it at any time.
    ended = await ada.put("/api/v1/admin/users/olga", json={"lent_roles": []})
    assert ended.json()["lent_roles"] == {}
    assert "agent:execute" not in (await olga.get("/api/v1/me")).json()["permissions"]


async def test_a_role_on_one_agent_is_asked_for_by_slug_and_given_by_id(
    olga: httpx.AsyncClient, ada: httpx.AsyncClient
) -> None:
    made = (await ada.post("/api/v1/admin/agents", json={"name": "Counter", "definition": GOOD})).json()
    on_agent = {"resource_type": "agent", "resource_id": "counter"}
    path = await asked(olga, "permission_escalation", role="agent_designer", **on_agent)
    assert (await ada.get(path)).json()["payload"]["resource_id"] == made["agent_id"]
    agent = f"/api/v1/admin/agents/{made['agent_id']}"
    assert_problem(await olga.put(agent, json={"description": "Mine."}), 403, "permission_denied")
    await approved(ada, path)
    assert (await outcome(olga, path))["comment"] == f"olga was given agent_designer on agent {made['agent_id']}."
    grant = {"role_id": "agent_designer", **on_agent, "resource_id": made["agent_id"], "expires_at": None}
    assert (await ada.get("/api/v1/admin/users/olga/grants")).json()["items"] == [grant]
    assert (await olga.put(agent, json={"description": "Mine."})).is_success


async def test_a_run_that_was_allowed_more_tells_its_watchers_and_goes_on(
    working_client_for: ClientFor, tenant: str, ada: httpx.AsyncClient, scripted: ScriptedLLM, temporal: Client
) -> None:
    asks = tool_calls([("ask_user", {"question": "How far?"})])
    scripted.script([asks, tool_calls([("calculator", {"expression": "6*7"})]), text("All the way.")])
    otto = working_client_for(tenant, "otto", ["operator"])
    links = (started := await execute(otto, max_steps=1))["links"]
    told = {}
    async for kind, data in follow(otto, links["events"]):
        told[kind] = data
        if kind == "run.waiting":
            path = await asked(otto, "budget_raise", run_id=started["run_id"], max_steps=5)
            await approved(ada, path)
            assert (await outcome(otto, path))["comment"] == "The run may use more: max_steps 5."
            await temporal.get_workflow_handle(workflow_id(tenant, path.rpartition("/")[2])).result()
            assert (await otto.post(links["messages"], json={"text": "All the way."})).is_success
    assert told["run.limits_raised"]["max_steps"] == 5
    run = (await otto.get(links["self"])).json()
    assert (run["status"], run["limits"]["max_steps"], run["steps"]) == ("completed", 5, 3)


async def test_an_approver_who_holds_less_hands_nothing_on(
    olga: httpx.AsyncClient, ada: httpx.AsyncClient, working_client_for: ClientFor, tenant: str
) -> None:
    otto = working_client_for(tenant, "otto", ["operator"])
    await ada.get("/api/v1/me")
    wanted = {"workflow_id": "up", "name": "Up", "request_type": "permission_escalation"}
    made = await ada.post("/api/v1/admin/workflows", json={**wanted, "allowed_approver_roles": ["operator"]})
    assert made.status_code == 201, made.text
    path = await asked(olga, "permission_escalation", role="admin")
    await approved(otto, path)
    refused = await outcome(olga, path)
    assert (refused["kind"], refused["data"]["code"]) == ("not_carried_out", "approver_holds_less")
    assert "otto" in refused["comment"]
    assert (await ada.get("/api/v1/admin/users/olga")).json()["roles"] == []
    log = (await ada.get("/api/v1/admin/audit", params={"action": "approval.carry_out"})).json()["items"]
    assert [(one["outcome"], one["reason"]) for one in log] == [("denied", "approver_holds_less")]


async def test_who_asks_for_the_audit_log_has_it_once_it_is_approved_and_nobody_else(
    olga: httpx.AsyncClient, ada: httpx.AsyncClient, working_client_for: ClientFor, tenant: str
) -> None:
    legal = working_client_for(tenant, "lena", ["custom:legal"])
    await ada.get("/api/v1/me")
    wanted = {"workflow_id": "out", "name": "Out", "request_type": "data_export"}
    made = await ada.post("/api/v1/admin/workflows", json={**wanted, "allowed_approver_roles": ["custom:legal"]})
    assert made.status_code == 201, made.text
    path = await asked(olga, "data_export", what="audit")
    assert_problem(await olga.get(f"{path}/result"), 409, "not_approved")
    assert_problem(await legal.get("/api/v1/admin/audit"), 403, "permission_denied")
    await approved(legal, path)
    done = await outcome(olga, path)
    assert (done["kind"], "audit events were exported" in done["comment"]) == ("carried_out", True)
    answer = await olga.get(f"{path}/result")
    assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (200, MEDIA_TYPE)
    end = Anchor.parse(answer.headers[ANCHOR])
    assert verify(answer.text.split("\n")[:-1], end, start=Anchor.genesis(tenant)).events == end.seq
    assert '"action":"audit.export"' in answer.text
    # An export in the requester's name alone: the approver and the administrator find nothing.
    for other in (legal, ada):
        assert_problem(await other.get(f"{path}/result"), 404, "result_not_found")
    history = (await olga.get(f"{path}/history")).json()["items"]
    assert [(one["kind"], one["actor_id"]) for one in history][-1] == ("downloaded", "olga")
    log = (await ada.get("/api/v1/admin/audit", params={"action": "approval.download"})).json()["items"]
    assert [one["actor_id"] for one in log] == ["olga"]


async def test_a_result_is_erased_when_its_time_is_over(
    olga: httpx.AsyncClient, ada: httpx.AsyncClient, database: Database, tenant: str
) -> None:
    path = await asked(olga, "data_export", what="audit")
    await approved(ada, path)
    await outcome(olga, path)
    assert await erase_old_results(database, tenant, datetime.now(UTC)) == 0
    assert (await olga.get(f"{path}/result")).is_success
    assert await erase_old_results(database, tenant, datetime.now(UTC) + timedelta(days=7)) == 1
    assert_problem(await olga.get(f"{path}/result"), 404, "result_not_found")
    assert (await olga.get(f"{path}/history")).json()["items"][-1]["kind"] == "result_erased"


@pytest.mark.parametrize(
    ("request_type", "payload", "named"),
    [
        ("permission_escalation", {}, ["role"]),
        ("permission_escalation", {"role": "captain"}, ["no such role"]),
        ("permission_escalation", {"role": 3, "hours": -1, "why": "x"}, ["why", "role", "hours"]),
        ("permission_escalation", {"role": "operator", "resource_type": "agent"}, ["resource_id"]),
        ("permission_escalation", {"role": "operator", "resource_type": "car", "resource_id": "a"}, ["resource_type"]),
        ("permission_escalation", {"role": "operator", "until": "soon", "hours": 1}, ["until", "one of them"]),
        ("permission_escalation", {"role": "operator", "until": "2020-01-01T00:00:00Z"}, ["past"]),
        ("data_export", {}, ["what"]),
        ("data_export", {"what": "everything", "from": "yesterday"}, ["everything", "from"]),
        ("data_export", {"what": "audit", "from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, ["to: "]),
    ],
)
async def test_a_malformed_request_is_refused_at_once_with_all_problems(
    olga: httpx.AsyncClient, request_type: str, payload: dict[str, object], named: list[str]
) -> None:
    wanted = {"request_type": request_type, "title": "May I?", "payload": payload}
    problems = assert_problem(await olga.post(REQUESTS, json=wanted), 422, "payload_invalid")["problems"]
    for word in named:
        assert any(word in problem for problem in problems), problems
    assert (await olga.get(REQUESTS)).json()["items"] == []


async def test_a_result_of_nothing_is_not_found(olga: httpx.AsyncClient, ada: httpx.AsyncClient) -> None:
    path = await asked(olga, "permission_escalation", role="operator", hours=1)
    await approved(ada, path)
    await outcome(olga, path)
    assert_problem(await olga.get(f"{path}/result"), 404, "result_not_found")
    assert_problem(await olga.get(f"{REQUESTS}/{uuid4()}/result"), 404, "request_not_found")
