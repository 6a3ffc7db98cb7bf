"""Approval definitions over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from taskforce.core.domain.approvals.definitions import Definition, DefinitionRules, Source
from taskforce.core.domain.approvals.terms import Terms
from tests.api.gateway import ClientFor, Gateway, assert_problem, serving
from tests.fixtures.agents import GOOD

WORKFLOWS = "/api/v1/admin/workflows"
STRICT = f"{WORKFLOWS}/strict-publish"
GUIDE: dict[str, Any] = {
    "workflow_id": "strict-publish",
    "name": "Strict Agent Publishing",
    "description": "Requires 2 approvers for production agents",
    "request_type": "agent_publish",
    "required_approvers": 2,
    "allowed_approver_roles": ["admin", "agent_designer"],
    "auto_expire_hours": 48,
    "notify_on_create": True,
    "notify_on_action": True,
}
CUSTOM: dict[str, Any] = {
    "workflow_id": "data-export-approval",
    "name": "Data Export Approval",
    "description": "Requires legal and security approval for data exports",
    "request_type": "custom",
    "required_approvers": 2,
    "allowed_approver_roles": ["legal_counsel", "security_admin"],
    "auto_expire_hours": 24,
    "metadata": {"custom_type": "data_export"},
}
GIVEN = Definition("exports", "Exports", "data_export", Terms(allowed_roles=("legal",)), source=Source.PROFILE)


@pytest.fixture
def admin(client_for: ClientFor, tenant: str) -> httpx.AsyncClient:
    return client_for(tenant, "ada", ["admin"])


@pytest.fixture(scope="module")
async def other_gateway(gateway: Gateway) -> AsyncIterator[Gateway]:
    """Another gateway on the same database, with a definition in its profile."""
    parts = replace(gateway.parts, definitions=DefinitionRules((GIVEN,)), closing=asyncio.Event())
    async with serving(parts) as running:
        yield running


async def test_a_definition_from_its_making_to_its_end(admin: httpx.AsyncClient) -> None:
    made = await admin.post(WORKFLOWS, json=GUIDE)
    assert (made.status_code, made.headers["location"]) == (201, STRICT)
    body = made.json()
    assert {name: body[name] for name in GUIDE} == GUIDE
    assert (body["source"], body["version"], body["rejections_to_close"]) == ("tenant", 1, 1)
    assert (body["allow_self_approval"], body["on_approved"], body["actions"]) == (False, "carry_out", [])
    assert (await admin.get(STRICT)).json() == body
    assert_problem(await admin.post(WORKFLOWS, json=GUIDE), 409, "definition_exists")
    assert (await admin.delete(STRICT)).status_code == 204
    assert_problem(await admin.get(STRICT), 404, "workflow_not_found")


async def test_the_guides_paths_and_its_custom_type(admin: httpx.AsyncClient) -> None:
    assert (await admin.post("/v1/admin/workflows", json=CUSTOM)).status_code == 201
    listed = (await admin.get("/v1/admin/workflows")).json()["items"]
    assert [{name: one[name] for name in CUSTOM} for one in listed] == [CUSTOM]


async def test_what_was_read_can_be_changed_and_sent_back(admin: httpx.AsyncClient) -> None:
    actions = [{"after_hours": 1.5, "do": "remind"}, {"after_hours": 24, "do": "widen", "roles": ["cfo"]}]
    await admin.post(WORKFLOWS, json=GUIDE | {"actions": actions})
    read = (await admin.get(STRICT)).json()
    changed = await admin.put(STRICT, json=read | {"required_approvers": 3})
    assert changed.status_code == 200
    told = changed.json()
    assert (told["required_approvers"], told["version"], told["actions"]) == (3, 2, read["actions"])
    problem = assert_problem(await admin.put(STRICT, json=read), 409, "definition_changed")
    assert problem["version"] == 2
    unsaid = {name: value for name, value in GUIDE.items() if name != "workflow_id"}
    assert (await admin.put(STRICT, json=unsaid)).json()["version"] == 3
    assert_problem(await admin.put(STRICT, json=GUIDE | {"workflow_id": "other"}), 422, "definition_renamed")
    assert_problem(await admin.put(STRICT, json=GUIDE | {"version": "2"}), 422, "definition_invalid")


async def test_all_problems_are_told_at_once(admin: httpx.AsyncClient) -> None:
    wrong = GUIDE | {"required_approvers": 0, "signal_channel": True, "colour": "red"}
    problem = assert_problem(await admin.post(WORKFLOWS, json=wrong), 422, "definition_invalid")
    assert {one["path"] for one in problem["problems"]} == {"required_approvers", "signal_channel", "colour"}
    assert_problem(await admin.post(WORKFLOWS, json=[]), 422, "request_invalid")


async def test_the_profiles_are_listed_and_not_changed(
    other_gateway: Gateway, admin: httpx.AsyncClient, tenant: str
) -> None:
    await admin.post(WORKFLOWS, json=GUIDE)
    async with other_gateway.clients() as clients:
        there = clients(tenant, "ada", ["admin"])
        first = (await there.get(WORKFLOWS, params={"limit": 1})).json()
        rest = (await there.get(WORKFLOWS, params={"limit": 1, "cursor": first["next_cursor"]})).json()
        sources = [(one["workflow_id"], one["source"]) for one in first["items"] + rest["items"]]
        assert (sources, rest["next_cursor"]) == ([("exports", "profile"), ("strict-publish", "tenant")], None)
        given = (await there.get(f"{WORKFLOWS}/exports")).json()
        assert (given["version"], given["created_at"], given["allowed_approver_roles"]) == (0, None, ["legal"])
        assert_problem(await there.put(f"{WORKFLOWS}/exports", json=given), 409, "definition_is_profile")
        assert_problem(await there.delete(f"{WORKFLOWS}/exports"), 409, "definition_is_profile")
        # As it was read, it becomes the tenant's own.
        own = await there.post(WORKFLOWS, json=given)
        assert (own.status_code, own.json()["source"], own.json()["version"]) == (201, "tenant", 1)
        assert (await there.get(f"{WORKFLOWS}/exports")).json() == own.json()


async def test_another_tenants_definition_is_not_there(
    client_for: ClientFor, admin: httpx.AsyncClient, tenant: str
) -> None:
    await admin.post(WORKFLOWS, json=GUIDE)
    stranger = client_for(f"{tenant}-other", "ada", ["admin"])
    for method, body in (("GET", None), ("PUT", GUIDE), ("DELETE", None)):
        answers = [await stranger.request(method, path, json=body) for path in (STRICT, f"{WORKFLOWS}/absent")]
        assert_problem(answers[0], 404, "workflow_not_found")
        assert answers[0].content == answers[1].content
    assert (await stranger.get(WORKFLOWS)).json() == {"items": [], "next_cursor": None}
    assert (await stranger.post(WORKFLOWS, json=GUIDE)).status_code == 201


@pytest.mark.parametrize("workflow_id", [".", ".."])
async def test_a_definition_that_no_path_can_name_is_refused(admin: httpx.AsyncClient, workflow_id: str) -> None:
    refused = await admin.post(WORKFLOWS, json=GUIDE | {"workflow_id": workflow_id})
    assert_problem(refused, 422, "definition_invalid")


@pytest.mark.parametrize("workflow_id", ["%00", "a%2Fb", "%F0%9F%98%80", "x" * 3_000, "a b"])
async def test_an_id_may_be_any_text(admin: httpx.AsyncClient, workflow_id: str) -> None:
    for method, body in (("GET", None), ("PUT", GUIDE), ("DELETE", None)):
        answer = await admin.request(method, f"{WORKFLOWS}/{workflow_id}", json=body)
        assert answer.status_code == 404, answer.text


async def test_whoever_may_not_is_told_what_is_missing(
    client_for: ClientFor, admin: httpx.AsyncClient, tenant: str
) -> None:
    role = {"name": "Policy author", "permissions": ["policy:manage"]}
    assert (await admin.post("/api/v1/admin/roles", json=role)).status_code == 201
    author = client_for(tenant, "paul", ["custom:policy_author"])
    problem = assert_problem(await author.post(WORKFLOWS, json=GUIDE), 403, "permission_denied")
    assert problem["permission"] == "agent:update"
    free = {
        "workflow_id": "holiday",
        "name": "Holiday",
        "request_type": "holiday",
        "payload_schema": {"type": "object"},
    }
    assert (await author.post(WORKFLOWS, json=free)).status_code == 201
    designer = client_for(tenant, "dora", ["agent_designer"])
    problem = assert_problem(await designer.get(WORKFLOWS), 403, "permission_denied")
    assert problem["permission"] == "policy:manage"


async def test_a_definition_that_can_never_match_says_so(admin: httpx.AsyncClient, tenant: str) -> None:
    calls = {"name": "Calls", "request_type": "tool_call", "tools": ["write_fil"], "agents": ["nobody"]}
    made = await admin.post(WORKFLOWS, json=calls | {"workflow_id": "calls"})
    assert made.status_code == 201
    told = ["tools[0]", "agents[0]", "document"]
    assert [one["path"] for one in made.json()["problems"]] == told
    for answer in (await admin.get(f"{WORKFLOWS}/calls"), await admin.put(f"{WORKFLOWS}/calls", json=made.json())):
        assert [one["path"] for one in answer.json()["problems"]] == told
    (listed,) = (await admin.get(WORKFLOWS)).json()["items"]
    assert [one["path"] for one in listed["problems"]] == told
    agent = {"name": "Counter", "definition": dict(GOOD)}
    assert (await admin.post("/api/v1/admin/agents", json=agent)).status_code == 201
    mended = calls | {
        "tools": ["write_file"],
        "agents": ["counter", "assistant", "nobody"],
        "version": listed["version"],
    }
    problems = (await admin.put(f"{WORKFLOWS}/calls", json=mended)).json()["problems"]
    assert [one["path"] for one in problems] == ["agents[2]"]


async def test_a_definition_says_how_often_it_matched(admin: httpx.AsyncClient) -> None:
    holiday = {"name": "Holiday", "request_type": "holiday", "payload_schema": {"type": "object"}}
    made = (await admin.post(WORKFLOWS, json=holiday | {"workflow_id": "holiday"})).json()
    assert (made["matched"], made["last_matched_at"], made["problems"]) == (0, None, [])
    asked = {"request_type": "holiday", "title": "Two weeks", "payload": {}, "resource_type": "x", "resource_id": "y"}
    for _ in range(2):
        assert (await admin.post("/api/v1/admin/requests", json=asked)).status_code in {201, 202}
    (listed,) = (await admin.get(WORKFLOWS)).json()["items"]
    newest = (await admin.get("/api/v1/admin/requests")).json()["items"][0]
    assert (listed["matched"], listed["last_matched_at"]) == (2, newest["opened_at"])
