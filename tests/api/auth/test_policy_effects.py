"""What a tenant's policy adds to the roles and takes from them, at every door."""

import asyncio

import httpx
import pytest

from tests.api.gateway import ClientFor, Gateway, assert_problem, execute
from tests.api.policies import becomes, saved

EXECUTE = "/api/v1/agents/execute"


@pytest.fixture
def admin(client_for: ClientFor, tenant: str) -> httpx.AsyncClient:
    return client_for(tenant, "ada", ["admin"])


async def test_a_denial_of_the_policy_names_its_rule(
    client_for: ClientFor, admin: httpx.AsyncClient, tenant: str
) -> None:
    olga = client_for(tenant, "olga", ["operator"])
    await execute(olga)
    await saved(admin, {"id": "not-olga", "effect": "deny", "actions": ["agent:execute"], "users": ["olga"]})
    problem = assert_problem(await becomes(olga, 403), 403, "policy_denied")
    assert problem["rules"] == ["not-olga"]
    assert "not-olga" in problem["detail"]
    await execute(admin)
    await execute(client_for(f"{tenant}-b", "olga", ["operator"]))


async def test_an_allowance_holds_for_the_agent_that_it_names(
    client_for: ClientFor, admin: httpx.AsyncClient, tenant: str
) -> None:
    vera = client_for(tenant, "vera", ["viewer"])
    rule = {"id": "vera-may", "effect": "allow", "actions": ["agent:execute"], "users": ["vera"]}
    await saved(admin, {**rule, "resources": [{"type": "agent", "ids": ["assistant"]}]})
    await becomes(vera, 202, agent_id="assistant")
    assert_problem(await becomes(vera, 403, agent_id="another"), 403, "permission_denied")
    assert_problem(await becomes(vera, 403, profile="careful"), 403, "permission_denied")
    await becomes(vera, 202)


async def test_a_role_on_one_agent_holds_for_that_agent(
    client_for: ClientFor, admin: httpx.AsyncClient, tenant: str
) -> None:
    vera = client_for(tenant, "vera", ["viewer"])
    await vera.get("/api/v1/me")
    grant = {"role_id": "operator", "resource_type": "agent", "resource_id": "assistant"}
    assert (await admin.post("/api/v1/admin/users/vera/grants", json=grant)).is_success
    await becomes(vera, 202, agent_id="assistant")
    assert_problem(await becomes(vera, 403, profile="careful"), 403, "permission_denied")
    await becomes(vera, 202)


async def test_a_key_does_not_get_around_a_denial_by_leaving_the_role_out(
    gateway: Gateway, admin: httpx.AsyncClient, tenant: str
) -> None:
    await admin.get("/api/v1/me")
    await saved(admin, {"id": "no-admins", "effect": "deny", "actions": ["agent:execute"], "roles": ["admin"]})
    made = await admin.post(
        "/api/v1/admin/users", json={"user_id": "svc", "kind": "service", "roles": ["admin", "operator"]}
    )
    assert made.is_success, made.text
    asked = {"user_id": "svc", "name": "Pipeline", "roles": ["operator"]}
    key = (await admin.post("/api/v1/admin/api-keys", json=asked)).json()["api_key"]
    async with httpx.AsyncClient(
        base_url=gateway.url, headers={"X-API-Key": key}, trust_env=False, timeout=60
    ) as bearer:
        assert_problem(await becomes(bearer, 403), 403, "policy_denied")


async def test_who_may_not_read_an_agent_from_an_address_does_not_copy_it_from_there(
    client_for: ClientFor, admin: httpx.AsyncClient, tenant: str
) -> None:
    dora = client_for(tenant, "dora", ["agent_designer"])
    new = {"name": "Counter", "definition": {"instructions": "Count."}}
    made = await dora.post("/api/v1/admin/agents", json=new)
    assert made.is_success, made.text
    place = f"/api/v1/admin/agents/{made.json()['agent_id']}"
    here = {"attribute": "context.client", "equals": "127.0.0.1"}
    await saved(admin, {"id": "not-from-here", "effect": "deny", "actions": ["agent:read"], "when": [here]})
    async with asyncio.timeout(60):
        while True:
            read = await dora.get(place)
            if read.status_code == 403:
                break
            await asyncio.sleep(0.05)
    problem = assert_problem(await dora.post(f"{place}/clone", json={"name": "Copy"}), 403, "policy_denied")
    assert problem["rules"] == ["not-from-here"]
