"""People and service accounts over HTTP, and what the caller may do."""

from typing import Any
from urllib.parse import quote

import httpx
import pytest

from taskforce.core.domain.ids import is_id
from taskforce.core.domain.tenants.tenant import FEATURES
from taskforce.core.interfaces.identity import SYSTEM_ROLES
from tests.api.gateway import ClientFor, assert_problem

USERS = "/api/v1/admin/users"
ME = "/api/v1/me"
SERVICE = {"kind": "service", "user_id": "svc-etl", "roles": ["operator"], "attributes": {"department": "data"}}
GRANT = {"role_id": "operator", "resource_type": "agent", "resource_id": "assistant"}
GRANTED = {**GRANT, "expires_at": None}


@pytest.fixture
def admin(client_for: ClientFor, tenant: str) -> httpx.AsyncClient:
    return client_for(tenant, "ada", ["admin"])


async def made(admin: httpx.AsyncClient, **user: object) -> dict[str, Any]:
    answer = await admin.post(USERS, json=user)
    assert answer.status_code == 201, answer.text
    found = await admin.get(answer.headers["location"])
    assert found.json() == answer.json()
    body: dict[str, Any] = answer.json()
    return body


async def test_users_are_made_read_changed_and_deactivated(admin: httpx.AsyncClient) -> None:
    etl = await made(admin, **SERVICE, username="ETL", email="etl@example.com")
    assert etl == {
        "user_id": "svc-etl",
        "kind": "service",
        "username": "ETL",
        "email": "etl@example.com",
        "active": True,
        "roles": ["operator"],
        "claimed_roles": [],
        "claims_seen_at": None,
        "attributes": {"department": "data"},
        "lent_roles": {},
    }
    assert_problem(await admin.post(USERS, json=SERVICE), 409, "user_exists")
    changed = await admin.put(f"{USERS}/svc-etl", json={"roles": ["viewer"], "email": None})
    assert changed.json() == {**etl, "roles": ["viewer"]}
    assert (await admin.put(f"{USERS}/svc-etl", json={})).json() == changed.json()
    assert (await admin.delete(f"{USERS}/svc-etl")).status_code == 204
    assert (await admin.delete(f"{USERS}/svc-etl")).status_code == 204
    assert (await admin.get(f"{USERS}/svc-etl")).json() == {**changed.json(), "active": False}
    assert (await admin.get(f"/v1/admin/users/{etl['user_id']}")).is_success


async def test_a_service_account_gets_an_id_and_a_person_needs_one(admin: httpx.AsyncClient) -> None:
    assert is_id((await made(admin, kind="service"))["user_id"])
    assert_problem(await admin.post(USERS, json={"kind": "person"}), 422, "user_id_invalid")
    attributed = {"kind": "person", "user_id": "bob", "attributes": {"department": "data"}}
    assert_problem(await admin.post(USERS, json=attributed), 422, "attributes_from_claims")


@pytest.mark.parametrize(
    "user_id",
    [
        "repo:acme/web:ref:refs/heads/main",
        "spiffe://acme/etl",
        "a b",
        "ü|1",
        "a%2Fb",
        "grants",
        "x/grants/y",
        "bob/grants",
        "bob/",
        "/bob",
        "../bob",
        "a%2Fgrants/grants",
    ],
)
async def test_an_id_is_whatever_the_identity_provider_says(
    admin: httpx.AsyncClient, client_for: ClientFor, tenant: str, user_id: str
) -> None:
    client = client_for(tenant, user_id, ["viewer"])
    assert (await client.get(ME)).json()["user_id"] == user_id
    path = f"{USERS}/{quote(user_id, safe='')}"
    assert (await admin.get(path)).json()["user_id"] == user_id
    assert (await admin.post(f"{path}/grants", json=GRANT)).status_code == 201
    assert (await admin.get(f"{path}/grants")).json() == {"items": [GRANTED]}
    assert (await admin.delete(path)).status_code == 204
    assert_problem(await client.get(ME), 403, "user_deactivated")


@pytest.mark.parametrize("user_id", ["nobody", "", "%00", "%ff", "x" * 5_000, "..%2Fusers", "nobody/grants"])
async def test_a_user_who_is_not_there(admin: httpx.AsyncClient, user_id: str) -> None:
    assert_problem(await admin.get(f"{USERS}/{user_id}"), 404, "user_not_found")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"kind": "robot"},
        {"kind": "service", "active": True},
        {"kind": "service", "user_id": ""},
        {"kind": "service", "user_id": "x" * 256},
        {"kind": "service", "roles": "admin"},
        {"kind": "service", "roles": ["x"] * 101},
        {"kind": "service", "roles": [1]},
        {"kind": "service", "attributes": []},
        {"kind": "service", "claimed_roles": ["admin"]},
        {"kind": "service", "tenant_id": "another"},
    ],
)
async def test_bodies_that_do_not_fit(admin: httpx.AsyncClient, body: dict[str, object]) -> None:
    assert_problem(await admin.post(USERS, json=body), 422, "request_invalid")


@pytest.mark.parametrize("user_id", [".", ".."])
async def test_an_id_that_no_path_can_name_is_refused_where_it_enters(
    admin: httpx.AsyncClient, client_for: ClientFor, tenant: str, user_id: str
) -> None:
    service = await admin.post(USERS, json={"kind": "service", "user_id": user_id})
    assert_problem(service, 422, "user_id_invalid")
    assert_problem(await client_for(tenant, user_id, ["viewer"]).get(ME), 401, "token_invalid")


async def test_users_are_listed_in_pages(admin: httpx.AsyncClient, client_for: ClientFor, tenant: str) -> None:
    for number in range(3):
        await made(admin, kind="service", user_id=f"svc-{number}")
    await client_for(tenant, "zoe", ["viewer"]).get(ME)
    await admin.delete(f"{USERS}/svc-1")

    async def ids(**query: str) -> list[str]:
        found, cursor = [], None
        while True:
            params: dict[str, str | int] = {"limit": 2, **query, **({"cursor": cursor} if cursor else {})}
            page = (await admin.get(USERS, params=params)).json()
            found += [one["user_id"] for one in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                return found

    assert await ids() == ["ada", "svc-0", "svc-1", "svc-2", "zoe"]
    assert await ids(kind="person") == ["ada", "zoe"]
    assert await ids(active="false") == ["svc-1"]
    assert await ids(kind="service", active="true") == ["svc-0", "svc-2"]
    assert_problem(await admin.get(USERS, params={"cursor": "x"}), 422, "cursor_invalid")
    assert_problem(await admin.get(USERS, params={"kind": "robot"}), 422, "request_invalid")
    other = client_for(f"{tenant}-other", "eve", ["admin"])
    assert [one["user_id"] for one in (await other.get(USERS)).json()["items"]] == ["eve"]


async def test_a_tokens_bearer_stops_at_once_and_comes_back(
    admin: httpx.AsyncClient, client_for: ClientFor, tenant: str
) -> None:
    bob = client_for(tenant, "bob", ["operator"])
    assert (await bob.get(ME)).is_success
    assert (await admin.delete(f"{USERS}/bob")).status_code == 204
    assert_problem(await bob.get(ME), 403, "user_deactivated")
    assert_problem(await client_for(tenant, "bob", ["admin"]).get(ME), 403, "user_deactivated")
    assert (await admin.put(f"{USERS}/bob", json={"active": True})).is_success
    assert (await bob.get(ME)).is_success


async def test_a_granted_role_counts_at_once(admin: httpx.AsyncClient, client_for: ClientFor, tenant: str) -> None:
    bob = client_for(tenant, "bob", ["viewer"])
    assert_problem(await bob.get(USERS), 403, "permission_denied")
    await admin.put(f"{USERS}/bob", json={"roles": ["admin"]})
    assert (await bob.get(USERS)).is_success
    await admin.put(f"{USERS}/bob", json={"roles": []})
    assert_problem(await bob.get(USERS), 403, "permission_denied")


async def test_refusals_name_what_is_missing_and_nobody_locks_themselves_out(
    admin: httpx.AsyncClient, client_for: ClientFor, tenant: str
) -> None:
    unknown = assert_problem(await admin.post(USERS, json={**SERVICE, "roles": ["boss"]}), 422, "roles_unknown")
    assert unknown["unknown"] == ["boss"]
    assert_problem(await admin.delete(f"{USERS}/ada"), 409, "not_yourself")
    assert_problem(await admin.put(f"{USERS}/ada", json={"active": False}), 409, "not_yourself")
    viewer = client_for(tenant, "vera", ["viewer"])
    denied = assert_problem(await viewer.delete(f"{USERS}/ada"), 403, "permission_denied")
    assert denied["permission"] == "user:manage"


async def test_a_role_on_one_resource(admin: httpx.AsyncClient, client_for: ClientFor, tenant: str) -> None:
    bob = client_for(tenant, "bob", ["viewer"])
    await bob.get(ME)
    grants = f"{USERS}/bob/grants"
    given = await admin.post(grants, json=GRANT)
    assert (given.status_code, given.headers["location"], given.json()) == (201, grants, GRANTED)
    assert_problem(await admin.post(grants, json=GRANT), 409, "grant_exists")
    assert_problem(await admin.post(grants, json={**GRANT, "resource_type": "car"}), 422, "request_invalid")
    assert_problem(await admin.post(grants, json={**GRANT, "role_id": "boss"}), 422, "roles_unknown")
    assert_problem(await admin.post(f"{USERS}/nobody/grants", json=GRANT), 404, "user_not_found")
    mine = (await bob.get(f"{ME}/permissions")).json()["grants"]
    assert mine == [{**GRANTED, "permissions": ["agent:execute", "agent:read", "tool:execute"]}]
    assert_problem(await admin.delete(grants), 422, "request_invalid")
    assert_problem(await admin.delete(grants, params={**GRANT, "role_id": "\x00"}), 422, "request_invalid")
    assert (await admin.delete(grants, params=GRANT)).status_code == 204
    assert_problem(await admin.delete(grants, params=GRANT), 404, "grant_not_found")
    assert (await bob.get(f"{ME}/permissions")).json()["grants"] == []


async def test_my_permissions_say_what_i_may_and_what_the_tenant_has(client_for: ClientFor, tenant: str) -> None:
    platform = client_for("platform", "pia", ["admin"])
    vera = client_for(tenant, "vera", ["viewer", "unheard-of"])
    mine = (await vera.get(f"{ME}/permissions")).json()
    assert mine == {
        "roles": ["unheard-of", "viewer"],
        "permissions": sorted(one.value for one in SYSTEM_ROLES["viewer"].permissions),
        "features": sorted(FEATURES),
        "grants": [],
    }
    await platform.put(f"/api/v1/admin/tenants/{tenant}", json={"settings": {"features": ["rag"]}})
    assert (await vera.get(f"{ME}/permissions")).json()["features"] == ["rag"]
