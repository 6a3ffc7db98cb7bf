"""Tenants: the operator's view, and that of a tenant's own administrator."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import asyncpg
import httpx
import pytest
import sqlalchemy as sa

from taskforce.core.domain.runs.run import Ending, RunStatus
from taskforce.infrastructure.config.settings import driver_arguments
from taskforce.infrastructure.persistence.database import Database
from tests.api.audit_logs import listed
from tests.api.gateway import MODEL, ClientFor, Gateway, assert_problem, execute
from tests.fixtures.stack import DatabaseUrls

TENANTS = "/api/v1/admin/tenants"
DENIED = sa.text("SELECT * FROM audit_events WHERE action = 'access.denied'")
FRESH = sa.text("UPDATE rate_buckets SET tokens = 60, at = :now WHERE bucket = 'failed-sign-ins'")
FAILED = sa.text("SELECT * FROM audit_events WHERE action = 'auth.failed' AND request_id = :request")


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(**driver_arguments(url))
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
def platform(client_for: ClientFor) -> httpx.AsyncClient:
    """Whoever runs the platform."""
    return client_for("platform", "pia", ["admin"])


async def test_the_operator_makes_changes_and_lists_tenants(platform: httpx.AsyncClient, tenant: str) -> None:
    settings = {"max_agents": 100, "features": ["rag"], "data_retention_days": 90}
    made = await platform.post(TENANTS, json={"tenant_id": tenant, "name": "Acme", "settings": settings})
    assert (made.status_code, made.headers["location"]) == (201, f"{TENANTS}/{tenant}")
    assert (made.json()["status"], made.json()["settings"]) == ("active", settings)
    assert_problem(await platform.post(TENANTS, json={"tenant_id": tenant}), 409, "tenant_exists")
    change = {"settings": {"max_agents": 5}, "metadata": {"tier": "gold"}}
    changed = await platform.put(f"{TENANTS}/{tenant}", json=change)
    assert (changed.json()["name"], changed.json()["settings"]) == ("Acme", {"max_agents": 5})
    assert (await platform.get(f"{TENANTS}/{tenant}")).json() == changed.json()
    found, cursor = [], None
    while True:
        page = (await platform.get(TENANTS, params={"limit": 100, **({"cursor": cursor} if cursor else {})})).json()
        found += [one["tenant_id"] for one in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert tenant in found
    assert found == sorted(set(found))


async def test_an_administrator_sees_and_names_the_own_tenant_only(
    client_for: ClientFor, platform: httpx.AsyncClient, tenant: str
) -> None:
    admin = client_for(tenant, "ada", ["admin"])
    assert [one["tenant_id"] for one in (await admin.get(TENANTS)).json()["items"]] == [tenant]
    assert (await admin.put(f"{TENANTS}/{tenant}", json={"name": "Ours"})).json()["name"] == "Ours"
    raised = await admin.put(f"{TENANTS}/{tenant}", json={"settings": {"max_agents": 1_000}})
    assert_problem(raised, 403, "operator_only")
    assert_problem(await admin.put(f"{TENANTS}/{tenant}", json={"active": False}), 409, "not_your_own")
    assert_problem(await admin.get(f"{TENANTS}/platform"), 404, "tenant_not_found")
    assert_problem(await admin.put(f"{TENANTS}/platform", json={"name": "Mine"}), 404, "tenant_not_found")
    assert_problem(await admin.post(TENANTS, json={"tenant_id": f"{tenant}-b"}), 403, "operator_only")


@pytest.mark.parametrize("tenant_id", [".", ".."])
async def test_a_tenant_that_no_path_can_name_is_not_made(platform: httpx.AsyncClient, tenant_id: str) -> None:
    assert_problem(await platform.post(TENANTS, json={"tenant_id": tenant_id}), 422, "tenant_id_invalid")


async def test_settings_that_make_no_sense_are_refused_all_at_once(platform: httpx.AsyncClient, tenant: str) -> None:
    settings = {"max_agent": 1, "features": ["rags"], "max_concurrent_sessions": -1, "ip_allow_list": ["10.0.0.1/8"]}
    problem = assert_problem(
        await platform.post(TENANTS, json={"tenant_id": tenant, "settings": settings}), 422, "tenant_settings_invalid"
    )
    assert len(problem["problems"]) == 4
    assert "did you mean max_agents?" in problem["problems"][0]


async def test_nobody_gets_into_a_tenant_that_is_switched_off(
    client_for: ClientFor, platform: httpx.AsyncClient, tenant: str
) -> None:
    olga = client_for(tenant, "olga", ["operator"])
    await execute(olga)
    assert (await platform.put(f"{TENANTS}/{tenant}", json={"active": False})).json()["status"] == "disabled"
    assert_problem(await olga.get("/api/v1/me"), 403, "tenant_disabled")
    assert_problem(await client_for(tenant, "nina", ["admin"]).get("/api/v1/me"), 403, "tenant_disabled")
    await platform.put(f"{TENANTS}/{tenant}", json={"active": True})
    assert (await olga.get("/api/v1/me")).status_code == 200


async def test_a_tenant_says_from_where_its_people_come(client_for: ClientFor, tenant: str) -> None:
    admin = client_for(tenant, "ada", ["admin"])
    assert (await admin.put(f"{TENANTS}/{tenant}", json={"settings": {"ip_allow_list": ["127.0.0.0/8"]}})).is_success
    assert (await admin.get("/api/v1/me")).is_success
    # Nobody is believed who is not a trusted proxy.
    assert (await admin.get("/api/v1/me", headers={"X-Forwarded-For": "203.0.113.9"})).is_success
    elsewhere = {"settings": {"ip_allow_list": ["203.0.113.0/24"]}}
    await admin.put(f"{TENANTS}/{tenant}", json={**elsewhere, "force": True})
    assert_problem(await admin.get("/api/v1/me"), 403, "address_not_allowed")
    forwarded = await admin.get("/api/v1/me", headers={"X-Forwarded-For": "203.0.113.9"})
    assert_problem(forwarded, 403, "address_not_allowed")


async def test_nobody_shuts_out_themselves_by_accident(
    client_for: ClientFor, platform: httpx.AsyncClient, tenant: str
) -> None:
    elsewhere = {"settings": {"ip_allow_list": ["203.0.113.0/24"]}}
    admin = client_for(tenant, "ada", ["admin"])
    assert_problem(await admin.put(f"{TENANTS}/{tenant}", json=elsewhere), 409, "address_shut_out")
    assert_problem(await platform.put(f"{TENANTS}/platform", json=elsewhere), 409, "address_shut_out")
    assert (await admin.get("/api/v1/me")).is_success
    # The platform's operator is not held by the lists of others.
    assert (await platform.put(f"{TENANTS}/{tenant}", json=elsewhere)).is_success
    assert_problem(await admin.get("/api/v1/me"), 403, "address_not_allowed")


async def test_who_owns_the_database_lets_a_tenant_in_again(
    client_for: ClientFor, postgres: DatabaseUrls, tenant: str
) -> None:
    admin = client_for(tenant, "ada", ["admin"])
    elsewhere = {"settings": {"ip_allow_list": ["203.0.113.0/24"]}, "force": True}
    assert (await admin.put(f"{TENANTS}/{tenant}", json=elsewhere)).is_success
    assert_problem(await admin.get("/api/v1/me"), 403, "address_not_allowed")
    async with connected(postgres.app) as application:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await application.fetchval("SELECT lift_ip_allow_list($1)", tenant)
    async with connected(postgres.owner) as owner:
        assert await owner.fetchval("SELECT lift_ip_allow_list($1)", tenant) is True
        assert await owner.fetchval("SELECT lift_ip_allow_list($1)", tenant) is False
    lifted = await listed(admin, action="tenant.ip_allow_list_lifted")
    assert [(one["actor_id"], one["channel"]) for one in lifted] == [("taskforce_owner", "database")]


async def test_a_tenants_requests_are_counted_and_limited(
    gateway: Gateway, client_for: ClientFor, platform: httpx.AsyncClient, tenant: str
) -> None:
    olga = client_for(tenant, "olga", ["operator"])
    assert "ratelimit" not in (await olga.get("/api/v1/me")).headers
    await platform.put(f"{TENANTS}/{tenant}", json={"settings": {"requests_per_minute": 3}})
    answers = [await olga.get("/api/v1/me") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[0].headers["ratelimit-policy"] == '"tenant";q=3;w=60'
    assert answers[0].headers["ratelimit"].startswith('"tenant";r=2;')
    assert_problem(answers[3], 429, "rate_limited")
    assert 0 < int(answers[3].headers["retry-after"]) <= 20
    assert (await client_for(f"{tenant}-b", "olga", ["operator"]).get("/api/v1/me")).is_success


async def test_what_was_refused_stands_in_the_log(
    gateway: Gateway, client_for: ClientFor, platform: httpx.AsyncClient, tenant: str
) -> None:
    vera = client_for(tenant, "vera", ["viewer"])
    assert_problem(await vera.post(TENANTS, json={"tenant_id": "mine"}), 403, "permission_denied")
    assert_problem(await vera.get(TENANTS), 403, "permission_denied")
    async with gateway.parts.database.tenant(tenant) as records:
        (row,) = await records.users._connection.all(DENIED)
    assert (row.actor_id, row.reason, row.resource_id) == ("vera", "permission_denied", "POST /admin/tenants")
    assert row.details["permission"] == "tenant:manage"


async def test_a_sign_in_that_fails_stands_in_the_platforms_log(gateway: Gateway, tenant: str) -> None:
    now = gateway.parts.clock()
    await gateway.parts.database.register_tenant("platform", now)
    async with gateway.parts.database.tenant("platform") as records:
        # Other tests have failed too, and so many are noted in a minute.
        await records.users._connection.change(FRESH, {"now": now})
    async with httpx.AsyncClient(base_url=gateway.url, trust_env=False, timeout=60) as nobody:
        answer = await nobody.get("/api/v1/me", headers={"Authorization": "Bearer tf_none", "X-Request-ID": tenant})
        assert_problem(answer, 401, "api_key_invalid")
    await gateway.parts.failed_sign_ins.flush()
    async with gateway.parts.database.tenant("platform") as records:
        rows = await records.users._connection.all(FAILED, {"request": tenant})
    assert [(row.actor_id, row.reason, row.outcome) for row in rows] == [("anonymous", "api_key_invalid", "denied")]


async def test_a_tenant_has_so_many_sessions_at_a_time(
    client_for: ClientFor, platform: httpx.AsyncClient, tenant: str
) -> None:
    olga = client_for(tenant, "olga", ["operator"])
    session = (await execute(olga))["session_id"]
    await platform.put(f"{TENANTS}/{tenant}", json={"settings": {"max_concurrent_sessions": 2}})
    asked = {"mission": "Say hello.", "model": MODEL}
    rivals = await asyncio.gather(*(olga.post("/api/v1/agents/execute", json=asked) for _ in range(6)))
    assert sorted(answer.status_code for answer in rivals) == [202, 429, 429, 429, 429, 429]
    refused = next(answer for answer in rivals if answer.status_code == 429)
    assert_problem(refused, 429, "too_many_sessions")
    assert refused.headers["retry-after"] == "10"
    # One session is no way around it, nor are many who try at once.
    again = {**asked, "session_id": session}
    rivals = await asyncio.gather(*(olga.post("/api/v1/agents/execute", json=again) for _ in range(6)))
    assert {answer.status_code for answer in rivals} == {429}


async def test_so_many_runs_go_on_in_one_session_at_a_time(
    client_for: ClientFor, platform: httpx.AsyncClient, database: Database, tenant: str
) -> None:
    olga = client_for(tenant, "olga", ["operator"])
    await olga.get("/api/v1/me")
    await platform.put(f"{TENANTS}/{tenant}", json={"settings": {"max_concurrent_sessions": 3}})
    asked = {"mission": "Say hello.", "model": MODEL, "session_id": f"{tenant}:session-one"}
    rivals = await asyncio.gather(*(olga.post("/api/v1/agents/execute", json=asked) for _ in range(31)))
    assert Counter(answer.status_code for answer in rivals) == {202: 3, 429: 28}
    assert {answer.json()["code"] for answer in rivals if answer.status_code == 429} == {"too_many_sessions"}
    begun = [answer.json()["run_id"] for answer in rivals if answer.status_code == 202]
    async with database.tenant(tenant) as records:
        for run_id in begun[:2]:
            assert await records.runs.close(run_id, Ending(RunStatus.CANCELLED), None, datetime.now(UTC)) is not None
    assert [(await olga.post("/api/v1/agents/execute", json=asked)).status_code for _ in range(3)] == [202, 202, 429]
