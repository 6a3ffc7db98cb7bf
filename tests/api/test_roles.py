"""Roles over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from taskforce.core.domain.identity.roles import profile_roles
from taskforce.core.interfaces.identity import SYSTEM_ROLES
from tests.api.gateway import ClientFor, Gateway, assert_problem, serving

ROLES = "/api/v1/admin/roles"
ANALYST = f"{ROLES}/custom:data_analyst"
NEW: dict[str, Any] = {
    "name": "Data Analyst",
    "description": "Runs analyses.",
    "permissions": ["agent:read", "agent:execute", "session:read"],
    "metadata": {"department": "Analytics"},
}


@pytest.fixture
def admin(client_for: ClientFor, tenant: str) -> httpx.AsyncClient:
    return client_for(tenant, "ada", ["admin"])


@pytest.fixture(scope="module")
async def other_gateway(gateway: Gateway) -> AsyncIterator[Gateway]:
    """Another gateway on the same database, with a role in its profile."""
    profile = profile_roles([{"name": "Reviewer", "permissions": ["agent:read"]}])
    rules = replace(gateway.parts.rules, roles={**SYSTEM_ROLES, **profile})
    async with serving(replace(gateway.parts, rules=rules, closing=asyncio.Event())) as running:
        yield running


async def test_a_role_from_its_making_to_its_end(admin: httpx.AsyncClient) -> None:
    made = await admin.post(ROLES, json=NEW)
    assert (made.status_code, made.headers["location"]) == (201, ANALYST)
    permissions = sorted(NEW["permissions"])
    assert made.json() == NEW | {"role_id": "custom:data_analyst", "kind": "own", "permissions": permissions}
    assert (await admin.get(ANALYST)).json() == made.json()
    assert_problem(await admin.post(ROLES, json=NEW), 409, "role_exists")
    changed = await admin.put(ANALYST, json={"permissions": ["agent:read"]})
    assert changed.json() == made.json() | {"permissions": ["agent:read"]}
    assert (await admin.get(ANALYST)).json() == changed.json()
    assert (await admin.delete(ANALYST)).status_code == 204
    assert_problem(await admin.get(ANALYST), 404, "role_not_found")


async def test_the_list_says_whose_each_role_is(other_gateway: Gateway, admin: httpx.AsyncClient, tenant: str) -> None:
    await admin.post(ROLES, json=NEW)
    async with other_gateway.clients() as clients:
        there = clients(tenant, "ada", ["admin"])
        first = (await there.get(ROLES, params={"limit": 4})).json()
        rest = (await there.get(ROLES, params={"limit": 4, "cursor": first["next_cursor"]})).json()
    assert rest["next_cursor"] is None
    assert {one["role_id"]: one["kind"] for one in first["items"] + rest["items"]} == {
        **dict.fromkeys(SYSTEM_ROLES, "system"),
        "custom:data_analyst": "own",
        "custom:reviewer": "profile",
    }


async def test_a_changed_role_counts_at_the_next_request_everywhere(
    other_gateway: Gateway, client_for: ClientFor, admin: httpx.AsyncClient, tenant: str
) -> None:
    await admin.post(ROLES, json=NEW)
    async with other_gateway.clients() as clients:
        everywhere = [make(tenant, "dan", ["custom:data_analyst"]) for make in (client_for, clients)]
        assert [(await dan.get("/api/v1/runs")).status_code for dan in everywhere] == [200, 200]
        await admin.put(ANALYST, json={"permissions": ["agent:read"]})
        for dan in everywhere:
            problem = assert_problem(await dan.get("/api/v1/runs"), 403, "permission_denied")
            assert problem["permission"] == "session:read"
        await admin.put(ANALYST, json={"permissions": ["session:read"]})
        assert [(await dan.get("/api/v1/runs")).status_code for dan in everywhere] == [200, 200]
        await admin.delete(ANALYST)
        assert [(await dan.get("/api/v1/runs")).status_code for dan in everywhere] == [403, 403]


async def test_nobody_gives_what_they_do_not_hold(client_for: ClientFor, admin: httpx.AsyncClient, tenant: str) -> None:
    await admin.post(ROLES, json={"name": "Deputy", "permissions": ["role:manage", "agent:read"]})
    deputy = client_for(tenant, "dan", ["custom:deputy"])
    problem = assert_problem(await deputy.post(ROLES, json=NEW), 403, "permissions_too_wide")
    assert problem["permissions"] == ["agent:execute", "session:read"]
    wider = {"permissions": ["role:manage", "agent:read", "user:manage"]}
    assert_problem(await deputy.put(f"{ROLES}/custom:deputy", json=wider), 403, "permissions_too_wide")
    assert (await deputy.post(ROLES, json=NEW | {"permissions": ["agent:read"]})).status_code == 201


async def test_roles_that_are_not_the_tenants_own_cannot_be_changed(
    other_gateway: Gateway, admin: httpx.AsyncClient, tenant: str
) -> None:
    assert_problem(await admin.put(f"{ROLES}/viewer", json={"permissions": []}), 409, "role_is_system")
    assert_problem(await admin.delete(f"{ROLES}/admin"), 409, "role_is_system")
    assert_problem(await admin.post(ROLES, json={"name": "Agent-Designer"}), 409, "role_is_system")
    async with other_gateway.clients() as clients:
        there = clients(tenant, "ada", ["admin"])
        assert_problem(await there.put(f"{ROLES}/custom:reviewer", json={}), 409, "role_is_profile")
        assert_problem(await there.delete(f"{ROLES}/custom:reviewer"), 409, "role_is_profile")


async def test_a_role_that_is_held_stays(gateway: Gateway, admin: httpx.AsyncClient, tenant: str) -> None:
    await admin.post(ROLES, json=NEW)
    async with gateway.parts.database.tenant(tenant) as records:
        ada = await records.users.locked("ada")
        assert ada is not None
        held = replace(ada, granted_roles=frozenset({"custom:data_analyst"}))
        await records.users.save(held, gateway.parts.clock())
    problem = assert_problem(await admin.delete(ANALYST), 409, "role_in_use")
    assert (problem["users"], problem["api_keys"], problem["resource_grants"]) == (1, 0, 0)


async def test_another_tenants_role_is_not_there(client_for: ClientFor, admin: httpx.AsyncClient, tenant: str) -> None:
    await admin.post(ROLES, json=NEW)
    stranger = client_for(f"{tenant}-other", "ada", ["admin"])
    for method, body in (("GET", None), ("PUT", {"name": "Mine"}), ("DELETE", None)):
        answers = [await stranger.request(method, path, json=body) for path in (ANALYST, f"{ROLES}/custom:absent")]
        assert_problem(answers[0], 404, "role_not_found")
        assert answers[0].content == answers[1].content
    assert (await admin.get(ANALYST)).json()["name"] == "Data Analyst"
    assert {one["kind"] for one in (await stranger.get(ROLES)).json()["items"]} == {"system"}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "request_invalid"),
        ({"name": "x", "tenant_id": "other"}, "request_invalid"),
        ({"name": "x", "permissions": "agent:read"}, "request_invalid"),
        ({"name": "x", "permissions": ["agent:fly"]}, "permissions_invalid"),
        ({"name": "x", "permissions": ["*"]}, "permissions_invalid"),
        ({"name": "x", "metadata": {"a": "b" * 10_000}}, "request_invalid"),
        ({"name": "x", "description": "b" * 2_001}, "request_invalid"),
        ({"name": " x"}, "role_name_invalid"),
        ({"name": "Ж"}, "role_name_invalid"),
    ],
)
async def test_a_role_that_makes_no_sense(admin: httpx.AsyncClient, body: dict[str, object], code: str) -> None:
    assert_problem(await admin.post(ROLES, json=body), 422, code)


@pytest.mark.parametrize("role_id", ["%00", "a%2Fb", "%F0%9F%98%80", "x" * 3_000])
async def test_an_id_may_be_any_text(admin: httpx.AsyncClient, role_id: str) -> None:
    for answer in (await admin.get(f"{ROLES}/{role_id}"), await admin.delete(f"{ROLES}/{role_id}")):
        assert answer.status_code == 404
