"""What a caller reads about their own rights is what counts when they act."""

import asyncio
import time
from typing import Any

import httpx
import pytest

from taskforce.infrastructure.auth.jwt_provider import create_test_jwt
from tests.api.gateway import SECRET, ClientFor, Gateway, assert_problem, execute
from tests.api.policies import POLICIES, document, saved
from tests.api.sse import follow
from tests.fixtures.scripted_llm import ScriptedLLM, text, tool_calls

ME = "/api/v1/me"
EXPLAIN = f"{ME}/permissions/explain"
GRANTS = "/api/v1/admin/users/vera/grants"
CALL = {"action": "tool:execute", "resource_id": "calculator", "agent_id": "assistant"}


@pytest.fixture
def admin(client_for: ClientFor, tenant: str) -> httpx.AsyncClient:
    return client_for(tenant, "ada", ["admin"])


async def explained(client: httpx.AsyncClient, **asked: str) -> dict[str, Any]:
    answer = await client.get(EXPLAIN, params=asked)
    assert answer.is_success, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def until_allowed(client: httpx.AsyncClient, allowed: bool, **asked: str) -> dict[str, Any]:
    """Asks until the answer is so: a policy counts a second after it is saved at the latest."""
    async with asyncio.timeout(60):
        while True:
            found = await explained(client, **asked)
            if found["allowed"] is allowed:
                return found
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    "grant",
    [
        {"role_id": "operator", "resource_type": "agent", "resource_id": "assistant"},
        {"role_id": "operator", "resource_type": "tool", "resource_id": "calculator"},
    ],
)
async def test_a_role_on_one_agent_or_tool_runs_its_calls(
    working_client_for: ClientFor, scripted: ScriptedLLM, tenant: str, grant: dict[str, str]
) -> None:
    ada, vera = working_client_for(tenant, "ada", ["admin"]), working_client_for(tenant, "vera", ["viewer"])
    await vera.get(ME)
    assert (await explained(vera, **CALL))["allowed"] is False
    assert (await ada.post(GRANTS, json=grant)).is_success
    runs = {"role_id": "custom:runner", "resource_type": "agent", "resource_id": "assistant"}
    runner = {"name": "Runner", "permissions": ["agent:execute"]}
    assert (await ada.post("/api/v1/admin/roles", json=runner)).is_success
    assert (await ada.post(GRANTS, json=runs)).is_success
    assert (await explained(vera, **CALL))["allowed"] is True
    mine = (await vera.get(f"{ME}/permissions")).json()
    assert ["tool:execute" in one["permissions"] for one in mine["grants"] if one["role_id"] == "operator"] == [True]
    assert "tool:execute" not in mine["permissions"]

    scripted.script([tool_calls([("calculator", {"expression": "6*7"})]), text("42.")])
    run = await execute(vera, agent_id="assistant")
    assert [data async for kind, data in follow(ada, run["links"]["events"]) if kind == "run.finished"]
    (first, _) = (await ada.get(run["links"]["steps"])).json()["items"]
    assert [(call["status"], call["observation"]) for call in first["tool_calls"]] == [("succeeded", "42")]


@pytest.mark.parametrize(
    ("resource_type", "resource_id"),
    [
        ("agent", "nobody"),
        ("agent", "0192f0c1-7a5e-7c44-9d0a-6f1f6a4f2b11"),
        ("tool", "hammer"),
        ("session", "other:session-1"),
        ("memory", "m1"),
        ("tenant", "platform"),
        ("policy", "document"),
    ],
)
async def test_no_role_is_granted_on_what_is_not_there(
    admin: httpx.AsyncClient, client_for: ClientFor, tenant: str, resource_type: str, resource_id: str
) -> None:
    await client_for(tenant, "vera", ["viewer"]).get(ME)
    grant = {"role_id": "viewer", "resource_type": resource_type, "resource_id": resource_id}
    assert_problem(await admin.post(GRANTS, json=grant), 404, "resource_not_found")


async def test_what_the_policy_denies_everywhere_is_no_permission(
    admin: httpx.AsyncClient, client_for: ClientFor, tenant: str
) -> None:
    vera = client_for(tenant, "vera", ["operator"])
    assert "tool:execute" in (await vera.get(ME)).json()["permissions"]
    rule = {"id": "no-tools", "effect": "deny", "actions": ["tool:execute"]}
    await saved(admin, {**rule, "when": [{"attribute": "context.channel", "equals": "run"}]})
    found = await until_allowed(vera, False, **CALL)
    assert (found["base"], found["rules"]) == ("held", ["no-tools"])
    for path in (ME, f"{ME}/permissions"):
        assert "tool:execute" not in (await vera.get(path)).json()["permissions"]
        assert "agent:execute" in (await vera.get(path)).json()["permissions"]


async def test_ones_permissions_and_a_dry_run_go_by_the_attributes_of_the_token(
    gateway: Gateway, admin: httpx.AsyncClient, tenant: str
) -> None:
    outside = {"attribute": "user.department", "not_equals": "finance"}
    rule: dict[str, object] = {"id": "inside", "effect": "deny", "actions": ["agent:execute"], "when": [outside]}
    await saved(admin, rule)
    answers = {}
    for department, age in (("sales", 20), ("finance", 10)):
        issued = int(time.time()) - age
        token = create_test_jwt("vera", tenant, ["operator"], SECRET, iat=issued, department=department)
        headers = {"authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=gateway.url, headers=headers, trust_env=False, timeout=60) as vera:
            found = await until_allowed(vera, department == "finance", action="agent:execute", resource_id="assistant")
            listed = (await vera.get(f"{ME}/permissions")).json()["permissions"]
            assert ("agent:execute" in listed) is found["allowed"]
            answers[department] = found["allowed"]
    # Finance is what the newest token claims.
    case = {"user_id": "vera", "action": "agent:execute", "resource": {"type": "agent", "id": "assistant"}}
    cases = [case, *({**case, "attributes": {"department": one}} for one in answers), {**case, "attributes": {}}]
    tried = await admin.post(f"{POLICIES}/dry-run", json={"cases": cases, "document": document()})
    allowed = [one["current"]["allowed"] for one in tried.json()["items"]]
    assert allowed == [True, *answers.values(), False]


async def test_a_dry_run_is_cut_to_a_key(admin: httpx.AsyncClient, client_for: ClientFor, tenant: str) -> None:
    vera = client_for(tenant, "vera", ["operator"])
    await vera.get(ME)
    wanted = {"user_id": "vera", "name": "k", "roles": ["viewer"]}
    key = (await admin.post("/api/v1/admin/api-keys", json=wanted)).json()["key_id"]
    case = {"user_id": "vera", "action": "agent:execute", "resource": {"type": "agent", "id": "assistant"}}
    tried = await admin.post(f"{POLICIES}/dry-run", json={"cases": [case, {**case, "key_id": key}]})
    assert [one["current"]["allowed"] for one in tried.json()["items"]] == [True, False]
    for wrong in ({"key_id": "no-key"}, {"key_id": key, "user_id": "ada"}):
        answer = await admin.post(f"{POLICIES}/dry-run", json={"cases": [case | wrong]})
        problem = assert_problem(answer, 422, "policy_cases_invalid")
        assert problem["problems"] == [{"path": "cases[0].key_id", "problem": "names no active API key of this user."}]


async def test_who_is_denied_the_audit_log_reads_no_requests_of_others(
    admin: httpx.AsyncClient, client_for: ClientFor, tenant: str
) -> None:
    olga = client_for(tenant, "olga", ["viewer"])
    wish = {"request_type": "permission_escalation", "title": "May I?", "payload": {"role": "operator"}}
    made = await olga.post("/api/v1/admin/requests", json=wish)
    assert made.is_success, made.text
    path = f"/api/v1/admin/requests/{made.json()['request_id']}"
    vera = client_for(tenant, "vera", ["auditor"])
    assert (await vera.get(path)).is_success
    assert len((await vera.get("/api/v1/admin/requests")).json()["items"]) == 1
    await saved(admin, {"id": "not-vera", "effect": "deny", "actions": ["audit:read"], "users": ["vera"]})
    assert_problem(await vera.get(path), 404, "request_not_found")
    assert (await vera.get("/api/v1/admin/requests")).json()["items"] == []
    assert (await olga.get(path)).is_success
