"""From a draft to a run of it, with a worker behind the gateway; and what becomes of runs in flight."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from temporalio.client import Client

from taskforce.application.catalog.agents import Named
from taskforce.application.catalog.publishing import Submission, submit_version
from taskforce.application.runs import control, start
from taskforce.application.runs.pinning import find_startable
from taskforce.core.domain.approvals.approval import workflow_id
from taskforce.core.domain.approvals.terms import Terms
from taskforce.core.domain.audit.events import AuditFilter
from taskforce.core.domain.catalog.definition import ANYTHING
from taskforce.core.domain.errors import Unavailable
from taskforce.core.domain.paging import Page
from taskforce.core.domain.runs.selection import ResolvedVersion
from taskforce.core.interfaces.clock import utc_now
from taskforce.infrastructure.persistence.database import Database
from tests.api.gateway import MODEL, ClientFor, Gateway, assert_problem, execute
from tests.api.sse import follow
from tests.fixtures.agents import GOOD, keep_approved, keep_published, make_acting
from tests.fixtures.isolated_sweeps import Alone, sweeps
from tests.fixtures.scripted_llm import ScriptedLLM, hang, text, tool_calls
from tests.taskforce.application.scenario import Watchers
from workflows.client.client import WorkflowClient

AGENTS = "/api/v1/admin/agents"
EXECUTE = "/api/v1/agents/execute"
COUNT = {"mission": "x", "agent_id": "counter"}
HERE = f"{AGENTS}/counter/versions"


@pytest.fixture
async def designer(working_client_for: ClientFor, tenant: str) -> httpx.AsyncClient:
    client = working_client_for(tenant, "dora", ["agent_designer"])
    await client.get("/api/v1/me")
    return client


@pytest.fixture
def admin(working_client_for: ClientFor, tenant: str) -> httpx.AsyncClient:
    return working_client_for(tenant, "ada", ["admin"])


async def submitted(designer: httpx.AsyncClient, **definition: Any) -> dict[str, Any]:
    made = await designer.post(AGENTS, json={"name": "Counter", "definition": {**GOOD, "model": MODEL, **definition}})
    assert made.status_code == 201, made.text
    answer = await designer.post(f"{HERE}/0.1.0/submit", json={"comment": "Ready."})
    assert answer.status_code == 200, answer.text
    version: dict[str, Any] = answer.json()
    return version


async def ended(client: httpx.AsyncClient, run: str) -> dict[str, Any]:
    async for event, _ in follow(client, f"{run}/events"):
        if event == "run.finished":
            found: dict[str, Any] = (await client.get(run)).json()
            return found
    raise AssertionError("the run did not end")


async def until(client: httpx.AsyncClient, path: str, status: str) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while True:
            found: dict[str, Any] = (await client.get(path)).json()
            if found["status"] == status:
                return found
            await asyncio.sleep(0.05)


async def test_from_a_draft_to_an_answer(
    designer: httpx.AsyncClient, admin: httpx.AsyncClient, working: httpx.AsyncClient, scripted: ScriptedLLM
) -> None:
    version = await submitted(designer)
    assert_problem(await designer.post(f"{HERE}/0.1.0/publish"), 409, "transition_not_allowed")
    assert_problem(await working.post(EXECUTE, json=COUNT), 409, "agent_not_published")
    approved = await admin.post(f"{HERE}/0.1.0/approve", json={"comment": "Looks good."})
    assert approved.status_code == 200, approved.text
    assert approved.json()["status"] == "approved"
    step = approved.json()["transitions"][-1]
    assert (step["was"], step["now"], step["by"], step["comment"]) == (
        "pending_approval", "approved", "ada", "ada: Looks good.",
    )  # fmt: skip
    request = (await admin.get(f"/api/v1/admin/requests/{version['request_id']}")).json()
    assert (request["status"], request["reason"]) == ("approved", "ada: Looks good.")
    assert_problem(await admin.post(f"{HERE}/0.1.0/approve"), 409, "transition_not_allowed")
    assert (await designer.post(f"{HERE}/0.1.0/publish")).json()["status"] == "published"

    calls = tool_calls([("calculator", {"expression": "6*7"}), ("write_file", {"path": "a", "content": "b"})])
    scripted.script([calls, text("42.")])
    started = await working.post(EXECUTE, json={"mission": "Count.", "agent_id": "counter"})
    assert "deprecation" not in started.headers
    run = await ended(working, started.json()["links"]["self"])
    assert (run["status"], run["answer"], run["agent_id"]) == ("completed", "42.", version["agent_id"])
    assert run["agent_version"] == {
        "version_id": version["version_id"],
        "version_number": "0.1.0",
        "config_hash": version["config_hash"],
        "slug": "counter",
    }
    assert run["limits"]["max_steps"] == GOOD["max_iterations"]
    (first, _) = (await working.get(f"{started.json()['links']['self']}/steps")).json()["items"]
    statuses = {one["tool"]: one["status"] for one in first["tool_calls"]}
    # The agent's tools cut what its user may do.
    assert statuses == {"calculator": "succeeded", "write_file": "refused"}


async def test_an_approver_approves_only_what_they_were_shown(
    designer: httpx.AsyncClient, admin: httpx.AsyncClient
) -> None:
    first = await submitted(designer)
    shown = await admin.get(f"{HERE}/0.1.0")
    await designer.post(f"/api/v1/admin/requests/{first['request_id']}/withdraw")
    await until(designer, f"{HERE}/0.1.0", "draft")
    worse = {"definition": {**GOOD, "model": MODEL, "system_prompt": "You lie."}}
    assert (await designer.put(f"{HERE}/0.1.0", json=worse)).is_success
    assert (await designer.post(f"{HERE}/0.1.0/submit")).is_success
    tag, its_hash = {"if-match": shown.headers["etag"]}, {"config_hash": shown.json()["config_hash"]}
    for verdict in ("approve", "reject"):
        path = f"{HERE}/0.1.0/{verdict}"
        assert_problem(await admin.post(path, headers=tag), 412, "revision_changed")
        assert_problem(await admin.post(path, json=its_hash), 409, "content_changed")
    now = await admin.get(f"{HERE}/0.1.0")
    once, read = {"if-match": now.headers["etag"], "idempotency-key": "approve-it"}, now.json()["config_hash"]
    for _ in range(2):
        # A repeated call is answered as the first, though the version has moved on since.
        answer = await admin.post(f"{HERE}/0.1.0/approve", headers=once, json={"config_hash": read})
        assert (answer.status_code, answer.json()["status"]) == (200, "approved")


async def test_a_rejected_version_is_a_draft_again_and_can_be_asked_for_anew(
    designer: httpx.AsyncClient, admin: httpx.AsyncClient
) -> None:
    first = await submitted(designer)
    rejected = (await admin.post(f"{HERE}/0.1.0/reject", json={"comment": "Too curt."})).json()
    assert (rejected["status"], rejected["problems"]) == ("draft", [])
    assert rejected["transitions"][-1]["comment"] == "ada: Too curt."
    assert_problem(await admin.post(f"{HERE}/0.1.0/reject"), 409, "transition_not_allowed")
    wanted = {"definition": {**GOOD, "system_prompt": "You count, and say why."}}
    assert (await designer.put(f"{HERE}/0.1.0", json=wanted)).status_code == 200
    second = (await designer.post(f"{HERE}/0.1.0/submit")).json()
    assert second["request_id"] != first["request_id"]
    stale = await admin.post(f"/api/v1/admin/requests/{first['request_id']}/approve")
    assert_problem(stale, 409, "request_closed")
    decided = await admin.post(f"/api/v1/admin/requests/{second['request_id']}/approve")
    assert decided.json()["status"] == "approved"
    assert (await until(designer, f"{HERE}/0.1.0", "approved"))["config_hash"] == second["config_hash"]


async def test_the_log_tells_a_versions_whole_way(
    designer: httpx.AsyncClient, admin: httpx.AsyncClient, working_client_for: ClientFor, tenant: str
) -> None:
    await submitted(designer)
    await admin.post(f"{HERE}/0.1.0/approve")
    await designer.post(f"{HERE}/0.1.0/publish")
    log = (await admin.get("/api/v1/admin/audit", params={"limit": 100})).json()["items"]
    told = [(one["action"], one["actor_id"]) for one in reversed(log) if one["resource_type"] in {"agent", "approval"}]
    assert set(told) == {
        ("agent.create", "dora"),
        ("agent.version.submit", "dora"),
        ("approval.request", "dora"),
        ("approval.decide", "ada"),
        ("approval.close", "system"),
        ("agent.version.approve", "ada"),
        ("agent.version.publish", "dora"),
    }
    assert len(told) == 7


@pytest.mark.parametrize("revoked", [False, True])
async def test_what_a_key_has_submitted_is_published_after_the_approval_if_the_key_still_stands(
    designer: httpx.AsyncClient,
    admin: httpx.AsyncClient,
    working_client_for: ClientFor,
    tenant: str,
    revoked: bool,
) -> None:
    definition = {"workflow_id": "publish", "name": "Publish", "request_type": "agent_publish"}
    assert (await admin.post("/api/v1/admin/workflows", json=definition)).status_code == 201
    wanted = {"name": "ci", "user_id": "dora", "roles": ["agent_designer"]}
    issued = (await admin.post("/api/v1/admin/api-keys", json=wanted)).json()
    headers = {"x-api-key": issued["api_key"]}
    async with httpx.AsyncClient(base_url=admin.base_url, headers=headers, trust_env=False, timeout=60) as key:
        version = await submitted(key)
    if revoked:
        assert (await admin.delete(f"/api/v1/admin/api-keys/{issued['key_id']}")).status_code == 204
    request = f"/api/v1/admin/requests/{version['request_id']}"
    # Whoever issued the key stands behind what it has submitted.
    assert_problem(await admin.post(f"{HERE}/0.1.0/approve"), 409, "self_approval")
    after = (await working_client_for(tenant, "adam", ["admin"]).post(f"{HERE}/0.1.0/approve")).json()
    assert after["status"] == ("approved" if revoked else "published")
    assert (await admin.get(request)).json()["status"] == "approved"
    told = (await admin.get(f"{request}/history")).json()["items"]
    followed = next(one for one in told if one["kind"].endswith("carried_out"))
    wanted_end = ("not_carried_out", {"code": "api_key_ended"}) if revoked else ("carried_out", {})
    assert (followed["kind"], followed["data"]) == wanted_end
    # Whoever may publish it still can.
    if revoked:
        assert (await designer.post(f"{HERE}/0.1.0/publish")).json()["status"] == "published"


async def test_a_request_whose_workflow_an_operator_ends_gives_the_draft_back(
    designer: httpx.AsyncClient,
    database: Database,
    workflow_client: WorkflowClient,
    temporal: Client,
    working_gateway: Gateway,
    tenant: str,
) -> None:
    version = await submitted(designer)
    await temporal.get_workflow_handle(workflow_id(tenant, version["request_id"])).terminate(reason="it hangs")
    async with sweeps(Alone(database, tenant), workflow_client, working_gateway.parts.live):
        back = await until(designer, f"{HERE}/0.1.0", "draft")
    assert back["transitions"][-1]["comment"] == "an operator ended the request: it hangs"
    cancelled = (await designer.post(f"{HERE}/0.1.0/submit")).json()
    await temporal.get_workflow_handle(workflow_id(tenant, cancelled["request_id"])).cancel()
    assert (await until(designer, f"{HERE}/0.1.0", "draft"))["transitions"][-1][
        "comment"
    ] == "an operator cancelled the request"


async def test_a_request_that_nobody_decides_expires_and_gives_the_draft_back(
    designer: httpx.AsyncClient,
    database: Database,
    workflow_client: WorkflowClient,
    working_gateway: Gateway,
    tenant: str,
) -> None:
    """Committed by a gateway that died before it could start the workflow, so that the sweeper does."""
    made = await designer.post(AGENTS, json={"name": "Counter", "definition": dict(GOOD)})
    assert made.status_code == 201
    before = working_gateway.parts.clock() - timedelta(seconds=20)
    actor = await make_acting(database, tenant, "dora", before)
    asked = Submission("0.1.0", ANYTHING, Terms(expire_seconds=21))
    _, request = await submit_version(database, actor, Named("counter"), asked)
    async with sweeps(Alone(database, tenant), workflow_client, working_gateway.parts.live):
        back = await until(designer, f"{HERE}/0.1.0", "draft")
    assert (back["transitions"][-1]["by"], back["transitions"][-1]["comment"]) == ("system", "nobody decided in time")
    found = (await designer.get(f"/api/v1/admin/requests/{request.approval.request_id}")).json()
    assert found["status"] == "expired"


async def test_a_name_that_moves_while_a_run_is_started_leads_to_where_it_has_moved(
    designer: httpx.AsyncClient,
    working: httpx.AsyncClient,
    database: Database,
    scripted: ScriptedLLM,
    tenant: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await keep_published(database, tenant, model=MODEL)
    await designer.post(HERE, json={"version_number": "1.0.0", "definition": {**GOOD, "model": MODEL}})
    assert (await designer.put(f"{AGENTS}/counter/aliases/stable", json={"version": "0.1.0"})).is_success
    await keep_approved(database, tenant, "counter", "1.0.0")

    async def meanwhile(*wanted: Any) -> ResolvedVersion:
        found = await find_startable(*wanted)
        if found.pinned.version_number == "0.1.0":
            assert (await designer.post(f"{HERE}/1.0.0/publish")).is_success
            assert (await designer.put(f"{AGENTS}/counter/aliases/stable", json={"version": "1.0.0"})).is_success
            assert (await designer.post(f"{HERE}/0.1.0/deprecate", json={"in_flight": "drain"})).is_success
        return found

    monkeypatch.setattr(start, "find_startable", meanwhile)
    scripted.script([text("42.")])
    started = await working.post(EXECUTE, json={**COUNT, "alias": "stable"})
    assert started.status_code == 202, started.text
    run = await ended(working, started.json()["links"]["self"])
    assert (run["answer"], run["agent_version"]["version_number"]) == ("42.", "1.0.0")
    # Who names the version itself means that one.
    assert_problem(await working.post(EXECUTE, json={**COUNT, "version": "0.1.0"}), 409, "version_draining")


@pytest.mark.parametrize("act", ["deprecate", "archive"])
async def test_runs_are_cancelled_though_the_gateway_could_not(
    designer: httpx.AsyncClient,
    working: httpx.AsyncClient,
    database: Database,
    scripted: ScriptedLLM,
    workflow_client: WorkflowClient,
    monkeypatch: pytest.MonkeyPatch,
    tenant: str,
    act: str,
) -> None:
    """As when it dies between the commit and the act, or Temporal is away at that moment."""
    await keep_published(database, tenant, tools=["ask_user"])
    scripted.script([tool_calls([("ask_user", {"question": "Go on?"})]), hang("Let me")])
    waiting = (await execute(working, agent_id="counter"))["links"]["self"]
    await until(working, waiting, "waiting")
    # Committed by a gateway that died before it could start the workflow.
    monkeypatch.setattr(start, "start_or_leave", nothing)
    unstarted = (await execute(working, agent_id="counter"))["links"]["self"]
    if act == "archive":
        assert (await designer.post(f"{HERE}/0.1.0/deprecate", json={"release": True})).is_success
    monkeypatch.setattr(control, "cancel", away)
    how = {"in_flight": "cancel", "release": True}
    retired = (await designer.post(f"{HERE}/0.1.0/{act}", json=how)).json()
    assert (retired["open_runs"], retired["cancelled_runs"]) == (2, 0)
    async with sweeps(Alone(database, tenant), workflow_client, Watchers(), later):
        for run in (waiting, unstarted):
            assert (await until(working, run, "cancelled"))["status"] == "cancelled"
    async with database.tenant(tenant) as records:
        told = await records.audit.page(AuditFilter(action="run.cancel"), Page(10))
    assert [one.actor_id for one in told] == ["dora", "dora"]


def later() -> datetime:
    return utc_now() + timedelta(seconds=20)


async def nothing(*_: object) -> None:
    """Is not done."""


async def away(*_: object) -> None:
    raise Unavailable("temporal_unavailable", "Temporal does not answer.")


@pytest.mark.parametrize(
    ("in_flight", "status"), [("finish", "completed"), ("drain", "completed"), ("cancel", "cancelled")]
)
async def test_what_happens_to_runs_in_flight(
    designer: httpx.AsyncClient,
    working: httpx.AsyncClient,
    database: Database,
    scripted: ScriptedLLM,
    tenant: str,
    in_flight: str,
    status: str,
) -> None:
    await keep_published(database, tenant, tools=["ask_user"])
    scripted.script([tool_calls([("ask_user", {"question": "Go on?"})]), text("Done.")])
    run = (await execute(working, agent_id="counter"))["links"]["self"]
    await until(working, run, "waiting")

    how = {"in_flight": in_flight, "release": True}
    retired = (await designer.post(f"{HERE}/0.1.0/deprecate", json=how)).json()
    assert (retired["open_runs"], retired["cancelled_runs"]) == (1, 1 if in_flight == "cancel" else 0)
    assert retired["version"]["draining"] == (in_flight != "finish")
    assert_problem(await working.post(EXECUTE, json=COUNT), 409, "agent_not_published")
    again = await working.post(EXECUTE, json={**COUNT, "version": "0.1.0", "model": MODEL})
    if in_flight == "finish":
        assert again.status_code == 202
        assert again.headers["deprecation"].startswith("@")
        await working.post(again.json()["links"]["cancel"])
        await ended(working, again.json()["links"]["self"])
    else:
        assert_problem(again, 409, "version_draining")
    if in_flight != "cancel":
        waits = await designer.post(f"{HERE}/0.1.0/archive", json={"in_flight": "drain"})
        assert assert_problem(waits, 409, "runs_in_flight")["open_runs"] == 1
        scripted.script([text("Done.")])
        await working.post(f"{run}/messages", json={"text": "Yes."})
    assert (await ended(working, run))["status"] == status
    archived = await designer.post(f"{HERE}/0.1.0/archive", json={"in_flight": "drain"})
    assert archived.status_code == 200, archived.text
    never = await working.post(EXECUTE, json={**COUNT, "version": "0.1.0"})
    assert_problem(never, 409, "version_not_published")
    assert (await designer.delete(f"{AGENTS}/counter")).status_code == 204
    assert (await working.get(run)).json()["agent_version"]["slug"] == "counter"
