"""Requests over HTTP besides the verdict: lists, history, edits, comments, handing on, taking back."""

from datetime import UTC, datetime, timedelta
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest

from taskforce.application.approvals.handler import TOOL_CALL, approved_hash
from taskforce.core.domain.approvals.approval import ApprovalStatus
from taskforce.core.domain.approvals.terms import Terms
from taskforce.core.domain.canonical_json import canonical_hash
from taskforce.core.domain.catalog.version import Act
from taskforce.infrastructure.persistence.database import Database
from tests.api.approvals import ask
from tests.api.gateway import ClientFor, Gateway, assert_problem, execute
from tests.api.sse import follow
from tests.fixtures.agents import GOOD
from tests.fixtures.scripted_llm import ScriptedLLM, text, tool_calls
from workflows.client.client import WorkflowClient

REQUESTS = "/api/v1/admin/requests"
DELEGATION = "/api/v1/me/delegation"
LATER = (datetime.now(UTC) + timedelta(days=7)).isoformat()


async def waiting(client: httpx.AsyncClient, scripted: ScriptedLLM) -> tuple[str, str]:
    """A run that waits for a person's word on a file; returns the run's path and the request."""
    calls = tool_calls([("write_file", {"path": "a.txt", "content": "hello"})], says="I must write it down.")
    scripted.script([calls, text("Done.")])
    run = (await execute(client, profile="careful"))["links"]["self"]
    async for event, data in follow(client, f"{run}/events"):
        if event == "approval.requested":
            return run, str(data["request_id"])
    raise AssertionError("no request was opened")


async def ended(client: httpx.AsyncClient, run: str) -> None:
    assert [event async for event, _ in follow(client, f"{run}/events") if event == "run.finished"]


async def test_an_approver_edits_the_arguments_and_everybody_sees_what_ran(
    working_client_for: ClientFor, scripted: ScriptedLLM, tenant: str
) -> None:
    olga, otto = (working_client_for(tenant, name, ["operator"]) for name in ("olga", "otto"))
    run, request_id = await waiting(olga, scripted)
    asked = (await otto.get(f"{REQUESTS}/{request_id}")).json()
    unfit = await otto.post(f"{REQUESTS}/{request_id}/approve", json={"arguments": {"path": 3}})
    assert_problem(unfit, 422, "arguments_invalid")
    stale = await otto.post(f"{REQUESTS}/{request_id}/approve", json={"content_hash": "0" * 64})
    assert_problem(stale, 409, "content_changed")
    edited = {"arguments": {"path": "b.txt", "content": "hi"}, "content_hash": asked["content_hash"]}
    approved = await otto.post(f"{REQUESTS}/{request_id}/approve", json=edited)
    assert approved.status_code == 200, approved.text
    body = approved.json()
    assert (body["status"], body["edited"]["arguments"]) == ("approved", edited["arguments"])
    assert body["payload"]["arguments"] == {"path": "a.txt", "content": "hello"}
    await ended(olga, run)
    assert (await olga.get(f"{run}/files/b.txt")).content == b"hi"
    assert (await olga.get(f"{run}/files/a.txt")).status_code == 404
    history = (await otto.get(f"{REQUESTS}/{request_id}/history")).json()["items"]
    assert [(one["kind"], one["actor_id"]) for one in history] == [
        ("created", "olga"),
        ("approved_by", "otto"),
        ("approved", "system"),
    ]
    assert history[1]["data"]["edited"] is True


async def test_nothing_is_kept_of_what_somebody_would_approve_who_may_not(
    client_for: ClientFor, operator: httpx.AsyncClient, database: Database, tenant: str
) -> None:
    run_id = (await execute(operator))["run_id"]
    request_id = await ask(database, tenant, run_id, requester="olga", terms=Terms(allowed_roles=("operator",)))
    edited = {"path": "b.txt", "content": "mine"}
    path, body = f"{REQUESTS}/{request_id}/approve", {"arguments": edited}
    assert_problem(await client_for(tenant, "aude", ["auditor"]).post(path, json=body), 403, "approver_role_missing")
    assert_problem(await client_for(tenant, "olga", ["operator"]).post(path, json=body), 409, "self_approval")
    bound = approved_hash({"tool": "write_file", "arguments": edited}, TOOL_CALL)
    async with database.tenant(tenant) as records:
        assert await records.requests.proposal(request_id, bound) is None


async def test_a_request_is_talked_about_handed_on_and_taken_back(
    working_client_for: ClientFor, scripted: ScriptedLLM, tenant: str
) -> None:
    olga, otto, oda = (working_client_for(tenant, name, ["operator"]) for name in ("olga", "otto", "oda"))
    vera = working_client_for(tenant, "vera", ["viewer"])
    for client in (oda, vera):
        await client.get("/api/v1/me")
    run, request_id = await waiting(olga, scripted)
    said = await otto.post(f"{REQUESTS}/{request_id}/comments", json={"comment": "Which file?"})
    assert (said.status_code, said.json()["items"][-1]["comment"]) == (201, "Which file?")
    stranger = await vera.post(f"{REQUESTS}/{request_id}/comments", json={"comment": "x"})
    assert_problem(stranger, 404, "request_not_found")
    assert_problem(await otto.post(f"{REQUESTS}/{request_id}/reassign", json={"people": ["vera"]}), 403, "beyond_terms")
    handed = await otto.post(f"{REQUESTS}/{request_id}/reassign", json={"people": ["oda"], "comment": "yours"})
    assert (handed.status_code, handed.json()["allowed_people"]) == (200, ["oda"])
    assert_problem(await otto.post(f"{REQUESTS}/{request_id}/approve"), 404, "request_not_found")
    # Who decided it once is told no more than a stranger; the log is.
    which = {"action": "approval.decide", "actor_id": "otto"}
    auditor = working_client_for(tenant, "aud", ["auditor"])
    (refused,) = (await auditor.get("/api/v1/admin/audit", params=which)).json()["items"]
    assert (refused["outcome"], refused["reason"]) == ("denied", "approver_role_missing")
    assert [one["request_id"] for one in (await oda.get(f"{REQUESTS}/pending")).json()["items"]] == [request_id]
    assert_problem(await oda.post(f"{REQUESTS}/{request_id}/withdraw"), 403, "not_yours_to_change")
    gone = await olga.post(f"{REQUESTS}/{request_id}/withdraw", json={"comment": "never mind"})
    assert (gone.status_code, gone.json()["status"]) == (200, "withdrawn")
    await ended(olga, run)
    kinds = [one["kind"] for one in (await olga.get(f"{REQUESTS}/{request_id}/history")).json()["items"]]
    assert kinds == ["created", "commented", "reassigned", "withdrawn_by", "withdrawn"]


async def test_lists_hold_what_one_asked_for_or_decides_and_all_of_it_for_auditors(
    client_for: ClientFor, operator: httpx.AsyncClient, database: Database, tenant: str
) -> None:
    run_id = (await execute(operator))["run_id"]
    by_role = await ask(database, tenant, run_id, terms=Terms(allowed_roles=("agent_designer",)), age=3)
    by_name = await ask(database, tenant, run_id, terms=Terms(allowed_roles=(), allowed_people=("vera",)), age=2)
    others = await ask(database, tenant, run_id, requester="somebody", age=1)

    async def listed(user: str, *roles: str, **which: str) -> list[str]:
        answer = await client_for(tenant, user, roles).get(REQUESTS, params=which)
        return [one["request_id"] for one in answer.json()["items"]]

    assert await listed("olga", "operator") == [by_name, by_role]
    assert await listed("vera", "viewer") == [by_name]
    assert await listed("dora", "agent_designer") == [by_role]
    assert await listed("aude", "auditor") == [others, by_name, by_role]
    assert await listed("aude", "auditor", requester_id="somebody") == [others]
    assert await listed("aude", "auditor", status="approved") == []
    page = (await client_for(tenant, "aude", ["auditor"]).get(REQUESTS, params={"limit": "2"})).json()
    rest = await client_for(tenant, "aude", ["auditor"]).get(REQUESTS, params={"cursor": page["next_cursor"]})
    assert [one["request_id"] for one in (*page["items"], *rest.json()["items"])] == [others, by_name, by_role]


async def test_a_key_decides_by_its_own_roles_and_hands_nothing_on(
    gateway: Gateway, client_for: ClientFor, operator: httpx.AsyncClient, database: Database, tenant: str
) -> None:
    admin = client_for(tenant, "ada", ["admin", "viewer"])
    expires = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    key = {"name": "narrow", "user_id": "ada", "roles": ["viewer"], "expires_at": expires}
    await admin.get("/api/v1/me")
    made = await admin.post("/api/v1/admin/api-keys", json=key)
    assert made.status_code == 201, made.text
    run_id = (await execute(operator))["run_id"]
    own = await ask(database, tenant, run_id, requester="ada", terms=Terms(self_approval=True))
    headers = {"x-api-key": made.json()["api_key"]}
    async with httpx.AsyncClient(base_url=gateway.url, headers=headers, trust_env=False, timeout=60) as client:
        assert_problem(await client.post(f"{REQUESTS}/{own}/approve"), 403, "approver_role_missing")
        assert_problem(await client.post(f"{REQUESTS}/{own}/reassign", json={"roles": ["x"]}), 403, "key_may_not")
        assert_problem(await client.put(DELEGATION, json={"delegate_id": "x", "until": LATER}), 403, "key_may_not")
        assert_problem(await client.post(f"{REQUESTS}/{uuid4()}/approve"), 404, "request_not_found")


@pytest.mark.parametrize("filter_", ["run_id", "request_type", "requester_id", "status", "cursor"])
@pytest.mark.parametrize("value", ["828442638ff1c73-190ef46ded7f05874191", "\x00", "\ud800"])
async def test_a_filter_that_can_match_nothing_is_refused_or_finds_nothing(
    operator: httpx.AsyncClient, filter_: str, value: str
) -> None:
    query = f"{filter_}={quote(value, errors='surrogatepass')}"
    answer = await operator.get(f"{REQUESTS}?{query}")
    assert answer.status_code == 422 or answer.json()["items"] == []


async def test_the_log_names_the_key_by_which_a_request_was_made_decided_handed_on_or_taken_back(
    working_client_for: ClientFor, tenant: str
) -> None:
    olga, admin = working_client_for(tenant, "olga", ["operator"]), working_client_for(tenant, "ada", ["admin"])
    made = (await admin.post("/api/v1/admin/api-keys", json={"name": "k", "roles": ["admin"]})).json()
    wanted = {"request_type": "data_export", "title": "All of it", "payload": {"what": "audit"}}
    of_olga = (await olga.post(REQUESTS, json=wanted)).json()["request_id"]
    headers = {"x-api-key": made["api_key"]}
    async with httpx.AsyncClient(base_url=admin.base_url, headers=headers, trust_env=False, timeout=60) as key:
        own = (await key.post(REQUESTS, json=wanted)).json()["request_id"]
        for path, body in (
            (f"{of_olga}/comments", {"comment": "Well."}),
            (f"{of_olga}/reassign", {"roles": ["admin"]}),
            (f"{of_olga}/approve", {}),
            (f"{own}/withdraw", {}),
        ):
            answer = await key.post(f"{REQUESTS}/{path}", json=body)
            assert answer.is_success, answer.text
        assert_problem(await key.post(f"{REQUESTS}/{own}/approve"), 409, "request_closed")
    by_key = (await admin.get("/api/v1/admin/audit", params={"key_id": made["key_id"]})).json()["items"]
    # The last is the refusal.
    assert [one["action"].removeprefix("approval.") for one in reversed(by_key)] == [
        *("request", "comment", "reassign", "decide", "withdraw", "decide"),
    ]


async def test_a_key_does_not_decide_what_names_its_user_in_person(
    gateway: Gateway, client_for: ClientFor, operator: httpx.AsyncClient, database: Database, tenant: str
) -> None:
    """Else a key that may only read would approve whatever asks for its user by name."""
    admin = client_for(tenant, "ada", ["admin", "viewer"])
    await admin.get("/api/v1/me")
    made = await admin.post("/api/v1/admin/api-keys", json={"name": "narrow", "user_id": "ada", "roles": ["viewer"]})
    assert made.status_code == 201, made.text
    run_id = (await execute(operator))["run_id"]
    named = await ask(database, tenant, run_id, terms=Terms(allowed_roles=(), allowed_people=("ada",)))
    headers = {"x-api-key": made.json()["api_key"]}
    async with httpx.AsyncClient(base_url=gateway.url, headers=headers, trust_env=False, timeout=60) as client:
        assert (await client.get(f"{REQUESTS}/{named}")).json()["can_decide"] is False
        assert_problem(await client.post(f"{REQUESTS}/{named}/approve"), 403, "key_may_not")
    assert (await admin.get(f"{REQUESTS}/{named}")).json()["can_decide"] is True


async def test_a_word_after_the_end_is_audited_and_who_may_not_decide_proposes_nothing(
    client_for: ClientFor, operator: httpx.AsyncClient, database: Database, tenant: str
) -> None:
    ada = client_for(tenant, "ada", ["admin"])
    request_id = await ask(database, tenant, (await execute(operator))["run_id"])
    own = await operator.post(f"{REQUESTS}/{request_id}/approve", json={"arguments": {"path": "b.txt", "content": ""}})
    assert_problem(own, 409, "self_approval")
    async with database.tenant(tenant) as records:
        edited = {"tool": "write_file", "arguments": {"path": "b.txt", "content": ""}}
        assert await records.requests.proposal(request_id, canonical_hash(edited)) is None
        await records.requests.close(request_id, ApprovalStatus.REJECTED, "no", datetime.now(UTC))
    assert_problem(await ada.post(f"{REQUESTS}/{request_id}/approve"), 409, "request_closed")
    log = (await ada.get("/api/v1/admin/audit", params={"action": "approval.decide"})).json()["items"]
    assert sorted((one["actor_id"], one["outcome"], one["reason"]) for one in log) == [
        ("ada", "denied", "request_closed"),
        ("olga", "denied", "self_approval"),
    ]


async def test_what_has_changed_is_void_also_when_the_word_comes_over_http(
    working_client_for: ClientFor, workflow_client: WorkflowClient, database: Database, tenant: str
) -> None:
    dora, ada = working_client_for(tenant, "dora", ["agent_designer"]), working_client_for(tenant, "ada", ["admin"])
    await dora.get("/api/v1/me")
    agent = await dora.post("/api/v1/admin/agents", json={"name": "Counter", "definition": GOOD})
    assert agent.status_code == 201, agent.text
    version = (await dora.post("/api/v1/admin/agents/counter/versions/0.1.0/submit")).json()
    async with database.tenant(tenant) as records:
        found = await records.catalog.locked("counter")
        assert found is not None
        # As nobody can over HTTP: it waits no more, and its request knows nothing of it.
        now = datetime.now(UTC)
        await records.catalog.save(found.rejected("0.1.0", Act("nobody", now, "")), found)
    path = f"{REQUESTS}/{version['request_id']}"
    assert_problem(await ada.post(f"{path}/approve"), 409, "subject_changed")
    await workflow_client.approvals.concluded(tenant, version["request_id"])
    assert (await ada.get(path)).json()["status"] == "voided"
