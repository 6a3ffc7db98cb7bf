"""Requests for approval over HTTP."""

from datetime import UTC, datetime
from uuid import uuid4

import httpx
import pytest

from taskforce.core.domain.approvals.approval import ApprovalStatus, Channel, Decision, Verdict
from taskforce.core.domain.approvals.terms import Terms
from taskforce.infrastructure.persistence.database import Database
from tests.api.approvals import ask
from tests.api.gateway import ClientFor, Gateway, assert_problem, execute
from tests.api.sse import follow
from tests.fixtures.scripted_llm import ScriptedLLM, text, tool_calls

PENDING = "/api/v1/admin/requests/pending"


async def test_those_see_a_request_who_asked_who_may_decide_and_auditors(
    client_for: ClientFor, operator: httpx.AsyncClient, database: Database, tenant: str
) -> None:
    request_id = await ask(database, tenant, (await execute(operator))["run_id"])
    path = f"/api/v1/admin/requests/{request_id}"

    own = (await operator.get(path)).json()
    assert own["can_decide"] is False
    assert own["payload"] == {"tool": "write_file", "arguments": {"path": "a.txt"}, "reason": "because"}
    assert own["status"] == "pending"
    admin = client_for(tenant, "ada", ["admin"])
    assert (await admin.get(path)).json()["can_decide"] is True
    auditor = client_for(tenant, "aude", ["auditor"])
    assert (await auditor.get(path)).json()["can_decide"] is False
    viewer = client_for(tenant, "vera", ["viewer"])
    assert_problem(await viewer.get(path), 404, "request_not_found")

    assert [one["request_id"] for one in (await operator.get(PENDING)).json()["items"]] == [request_id]
    assert [one["request_id"] for one in (await admin.get(PENDING)).json()["items"]] == [request_id]
    assert (await auditor.get(PENDING)).json()["items"] == []
    assert (await viewer.get("/v1/admin/requests/pending")).json()["items"] == []


async def test_pending_requests_come_in_pages_newest_first_and_others_are_passed_over(
    client_for: ClientFor, operator: httpx.AsyncClient, database: Database, tenant: str
) -> None:
    run_id = (await execute(operator))["run_id"]
    mine = [await ask(database, tenant, run_id, age=age) for age in (50, 30, 10)]
    client_for(tenant, "otto", ["operator"])
    for age in (40, 20):
        await ask(database, tenant, run_id, requester="otto", age=age)

    first = (await operator.get(PENDING, params={"limit": 2})).json()
    assert [one["request_id"] for one in first["items"]] == [mine[2], mine[1]]
    rest = (await operator.get(PENDING, params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [one["request_id"] for one in rest["items"]] == [mine[0]]
    assert rest["next_cursor"] is None


async def test_a_page_is_full_however_many_requests_of_others_there_are(
    client_for: ClientFor, operator: httpx.AsyncClient, database: Database, tenant: str
) -> None:
    run_id = (await execute(operator))["run_id"]
    await client_for(tenant, "otto", ["operator"]).get("/api/v1/me")
    mine = [await ask(database, tenant, run_id, age=1_000 + age) for age in range(2)]
    for age in range(30):
        await ask(database, tenant, run_id, requester="otto", age=age)
    page = (await operator.get(PENDING, params={"limit": 2})).json()
    assert [one["request_id"] for one in page["items"]] == mine
    assert page["next_cursor"] is None


async def test_who_may_not_decide_is_told_why(
    client_for: ClientFor, operator: httpx.AsyncClient, database: Database, tenant: str
) -> None:
    run_id = (await execute(operator))["run_id"]
    plain = f"/api/v1/admin/requests/{await ask(database, tenant, run_id)}"
    assert_problem(await operator.post(f"{plain}/approve"), 409, "self_approval")
    auditor = client_for(tenant, "aude", ["auditor"])
    assert_problem(await auditor.post(f"{plain}/approve"), 403, "approver_role_missing")
    viewer = client_for(tenant, "vera", ["viewer"])
    assert_problem(await viewer.post(f"{plain}/reject"), 404, "request_not_found")

    two = await ask(database, tenant, run_id, terms=Terms(required_approvers=2))
    admin = client_for(tenant, "ada", ["admin"])
    await admin.get("/api/v1/me")
    async with database.tenant(tenant) as records:
        said = Decision("ada", Verdict.APPROVE, "", Channel.API, datetime.now(UTC))
        await records.requests.decided(two, said)
    assert_problem(await admin.post(f"/api/v1/admin/requests/{two}/approve"), 409, "already_decided")


@pytest.mark.parametrize("status", [ApprovalStatus.EXPIRED, ApprovalStatus.WITHDRAWN, ApprovalStatus.REJECTED])
async def test_a_closed_request_takes_no_decision(
    client_for: ClientFor, operator: httpx.AsyncClient, database: Database, tenant: str, status: ApprovalStatus
) -> None:
    request_id = await ask(database, tenant, (await execute(operator))["run_id"])
    async with database.tenant(tenant) as records:
        await records.requests.close(request_id, status, "so it is", datetime.now(UTC))
    admin = client_for(tenant, "ada", ["admin"])
    assert_problem(await admin.post(f"/api/v1/admin/requests/{request_id}/approve"), 409, "request_closed")
    closed = (await admin.get(f"/api/v1/admin/requests/{request_id}")).json()
    assert (closed["status"], closed["reason"]) == (status.value, "so it is")
    assert closed["can_decide"] is False


async def test_a_request_whose_workflow_is_gone_counts_as_closed(
    client_for: ClientFor, operator: httpx.AsyncClient, database: Database, tenant: str
) -> None:
    request_id = await ask(database, tenant, (await execute(operator))["run_id"])
    admin = client_for(tenant, "ada", ["admin"])
    answer = await admin.post(f"/api/v1/admin/requests/{request_id}/approve", json={"comment": "fine"})
    assert_problem(answer, 409, "request_closed")


@pytest.mark.parametrize("body", [{"comment": "x" * 2_001}, {"comment": 1}, {"other": ""}, []])
async def test_a_decision_that_does_not_fit(client_for: ClientFor, tenant: str, body: object) -> None:
    admin = client_for(tenant, "ada", ["admin"])
    assert_problem(await admin.post(f"/api/v1/admin/requests/{uuid4()}/reject", json=body), 422, "request_invalid")


@pytest.mark.parametrize(("verdict", "status"), [("approve", "succeeded"), ("reject", "denied")])
async def test_a_tool_call_waits_for_a_person_and_hears_the_verdict(
    working_gateway: Gateway,
    working_client_for: ClientFor,
    scripted: ScriptedLLM,
    tenant: str,
    verdict: str,
    status: str,
) -> None:
    calls = tool_calls([("write_file", {"path": "a.txt", "content": "hello"})], says="I must write it down.")
    scripted.script([calls, text("Done.")])
    olga = working_client_for(tenant, "olga", ["operator"])
    otto = working_client_for(tenant, "otto", ["operator"])
    run = (await execute(olga, profile="careful"))["links"]["self"]
    request_id = await _requested(olga, run)

    waiting = (await olga.get(run)).json()
    assert waiting["status"] in {"running", "waiting"}
    (listed,) = (await otto.get(PENDING)).json()["items"]
    assert (listed["request_id"], listed["can_decide"]) == (request_id, True)
    decided = await otto.post(f"/api/v1/admin/requests/{request_id}/{verdict}", json={"comment": "as I say"})
    assert decided.status_code == 200, decided.text
    assert decided.json()["status"] == {"approve": "approved", "reject": "rejected"}[verdict]
    (word,) = decided.json()["decisions"]
    assert (word["approver_id"], word["verdict"], word["comment"], word["channel"]) == (
        "otto", verdict, "as I say", "api",
    )  # fmt: skip

    assert await _ended(olga, run) == "completed"
    (first, _) = (await olga.get(f"{run}/steps")).json()["items"]
    assert first["tool_calls"][0]["status"] == status
    again = await otto.post(f"/api/v1/admin/requests/{request_id}/{verdict}")
    assert_problem(again, 409, "request_closed")
    if verdict == "approve":
        file = await olga.get(f"{run}/files/a.txt")
        assert (file.content, file.headers["content-type"]) == (b"hello", "application/octet-stream")
        assert file.headers["content-disposition"] == "attachment; filename*=UTF-8''a.txt"
        assert [one["path"] for one in (await olga.get(f"{run}/files")).json()["items"]] == ["a.txt"]
    else:
        assert "as I say" in first["tool_calls"][0]["observation"]


async def _requested(client: httpx.AsyncClient, run: str) -> str:
    async for event, data in follow(client, f"{run}/events"):
        if event == "approval.requested":
            return str(data["request_id"])
    raise AssertionError("no request was opened")


async def _ended(client: httpx.AsyncClient, run: str) -> str:
    (last,) = [data async for event, data in follow(client, f"{run}/events") if event == "run.finished"]
    return str(last["status"])


async def test_a_key_decides_by_no_role_that_it_was_not_given(
    gateway: Gateway, client_for: ClientFor, operator: httpx.AsyncClient, database: Database, tenant: str
) -> None:
    """Its user holds the role and could decide; the key may only read the request."""
    path = f"/api/v1/admin/requests/{await ask(database, tenant, (await execute(operator))['run_id'])}"
    admin = client_for(tenant, "ada", ["admin", "auditor"])
    answer = await admin.post("/api/v1/admin/api-keys", json={"name": "reports", "roles": ["auditor"]})
    headers = {"x-api-key": answer.json()["api_key"]}
    async with httpx.AsyncClient(base_url=gateway.url, headers=headers, trust_env=False, timeout=60) as key:
        assert (await key.get(path)).json()["can_decide"] is False
        for verdict in ("approve", "reject"):
            assert_problem(await key.post(f"{path}/{verdict}"), 403, "approver_role_missing")
    assert (await admin.get(path)).json()["can_decide"] is True
