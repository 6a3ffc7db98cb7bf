"""Rules of a policy about single things hold however a request names the thing, and for lists of them."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest

from tests.api.gateway import MODEL, ClientFor, assert_problem, execute
from tests.api.policies import saved

RUNS, USERS, KEYS, ROLES = "/api/v1/runs", "/api/v1/admin/users", "/api/v1/admin/api-keys", "/api/v1/admin/roles"
READING = ("", "/steps", "/todo", "/files", "/files/a.txt", "/results/1/1", "/events")


@pytest.fixture
def admin(client_for: ClientFor, tenant: str) -> httpx.AsyncClient:
    return client_for(tenant, "ada", ["admin"])


def denial(kind: str, thing: str, action: str) -> dict[str, object]:
    """A rule that keeps operators, and whoever manages people, from one thing."""
    about = {"resources": [{"type": kind, "ids": [thing]}], "users": ["olga", "mia"]}
    return {"id": "not-that-one", "effect": "deny", "actions": [action], **about}


async def refused(ask: Callable[[], Awaitable[httpx.Response]]) -> None:
    """A policy counts within a second."""
    async with asyncio.timeout(60):
        while True:
            answer = await ask()
            if answer.status_code == 403:
                break
            await asyncio.sleep(0.05)
    assert_problem(answer, 403, "policy_denied")


@pytest.mark.parametrize("named", [{"agent_id": "assistant"}, {"profile": "dev"}, {}])
async def test_an_agent_that_is_denied_is_denied_by_whatever_name(
    operator: httpx.AsyncClient, admin: httpx.AsyncClient, named: dict[str, str]
) -> None:
    run = (await execute(operator))["links"]
    await saved(admin, denial("agent", "assistant", "agent:execute"))
    asked = {"mission": "Say hello.", "model": MODEL}
    await refused(lambda: operator.post("/api/v1/agents/execute", json={**asked, **named}))
    for act in ("pause", "resume", "cancel"):
        assert_problem(await operator.post(run[act]), 403, "policy_denied")
    assert_problem(await operator.post(run["messages"], json={"text": "Go on."}), 403, "policy_denied")
    await execute(operator, profile="careful")


async def test_a_session_that_is_denied_is_not_read_at_any_of_its_runs(
    operator: httpx.AsyncClient, admin: httpx.AsyncClient
) -> None:
    hidden, other = await execute(operator, "A secret."), await execute(operator)
    await saved(admin, denial("session", hidden["session_id"], "session:read"))
    await refused(lambda: operator.get(hidden["links"]["self"]))
    for below in READING:
        assert_problem(await operator.get(f"{hidden['links']['self']}{below}"), 403, "policy_denied")
    listed = (await operator.get(RUNS)).json()["items"]
    assert [one["run_id"] for one in listed] == [other["run_id"]]
    first = (await operator.get(RUNS, params={"limit": 1})).json()
    rest = (await operator.get(RUNS, params={"limit": 1, "cursor": first["next_cursor"]})).json()
    assert [one["run_id"] for one in first["items"]] == [other["run_id"]]
    assert (rest["items"], rest["next_cursor"]) == ([], None)
    assert (await admin.get(RUNS)).json()["items"][1]["mission"] == "A secret."


async def test_a_role_on_one_session_lets_read_its_runs_alone(
    client_for: ClientFor, operator: httpx.AsyncClient, admin: httpx.AsyncClient, tenant: str
) -> None:
    eve = client_for(tenant, "eve", [])
    await eve.get("/api/v1/me")
    run, other = await execute(operator), await execute(operator)
    grant = {"role_id": "viewer", "resource_type": "session", "resource_id": run["session_id"]}
    assert (await admin.post(f"{USERS}/eve/grants", json=grant)).is_success
    assert (await eve.get(run["links"]["self"])).json()["run_id"] == run["run_id"]
    for path in (other["links"]["self"], f"{RUNS}/00000000-0000-7000-8000-000000000000", f"{RUNS}/x", RUNS):
        assert_problem(await eve.get(path), 403, "permission_denied")


async def test_a_user_who_is_denied_has_keys_that_are_denied_too(
    client_for: ClientFor, admin: httpx.AsyncClient, tenant: str
) -> None:
    """A key is as good as its user: whoever may not manage somebody must not speak for them either."""
    mia = client_for(tenant, "mia", ["admin"])
    for user_id in ("bob", "svc"):
        await admin.post(USERS, json={"user_id": user_id, "kind": "service", "roles": ["viewer"]})
    wanted = {"name": "k", "roles": ["viewer"]}
    key = (await admin.post(KEYS, json={**wanted, "user_id": "bob"})).json()["key_id"]
    await saved(admin, denial("user", "bob", "user:manage"))
    await refused(lambda: mia.get(f"{USERS}/bob"))
    assert_problem(await mia.post(KEYS, json={**wanted, "user_id": "bob"}), 403, "policy_denied")
    assert_problem(await mia.get(f"{KEYS}/{key}"), 403, "policy_denied")
    assert_problem(await mia.delete(f"{KEYS}/{key}"), 403, "policy_denied")
    assert (await mia.get(KEYS)).json()["items"] == []
    assert "bob" not in [one["user_id"] for one in (await mia.get(USERS)).json()["items"]]
    assert (await mia.post(KEYS, json={**wanted, "user_id": "svc"})).is_success
    assert (await mia.post(KEYS, json=wanted)).is_success


async def test_a_role_that_is_denied_is_not_listed(
    client_for: ClientFor, admin: httpx.AsyncClient, tenant: str
) -> None:
    mia = client_for(tenant, "mia", ["admin"])
    await saved(admin, denial("role", "admin", "role:manage"))
    await refused(lambda: mia.get(f"{ROLES}/admin"))
    assert "admin" not in [one["role_id"] for one in (await mia.get(ROLES)).json()["items"]]
    assert "admin" in [one["role_id"] for one in (await admin.get(ROLES)).json()["items"]]


async def test_who_may_steer_but_not_read_learns_nothing_from_steering(
    client_for: ClientFor, operator: httpx.AsyncClient, admin: httpx.AsyncClient, tenant: str
) -> None:
    made = await admin.post(ROLES, json={"name": "starter", "permissions": ["agent:execute"]})
    assert made.is_success, made.text
    eve = client_for(tenant, "eve", ["custom:starter"])
    links = (await execute(operator, "A secret."))["links"]
    missing = await eve.post(f"{RUNS}/00000000-0000-7000-8000-000000000000/pause")
    for act in ("pause", "resume", "cancel"):
        answer = await eve.post(links[act])
        assert_problem(answer, 404, "run_not_found")
        assert answer.content == missing.content
    own = (await execute(eve))["links"]
    assert (await eve.post(own["cancel"])).is_success
