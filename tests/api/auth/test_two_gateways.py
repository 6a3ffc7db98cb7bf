"""What is taken away at one gateway is gone with the next request at another; limits hold for all of them together."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest

from api.composition import StreamTimings
from taskforce.core.domain.access.rate_limits import Rate
from taskforce.infrastructure.persistence.database import Database
from tests.api.gateway import MODEL, ClientFor, Gateway, assert_problem, execute, serving
from tests.api.sse import follow
from tests.fixtures.stack import DatabaseUrls

ME, USERS, KEYS, TENANTS = "/api/v1/me", "/api/v1/admin/users", "/api/v1/admin/api-keys", "/api/v1/admin/tenants"
EXECUTE = "/api/v1/agents/execute"
Act = Callable[[httpx.AsyncClient, str], Awaitable[httpx.Response]]


@pytest.fixture
async def other(gateway: Gateway, postgres: DatabaseUrls) -> AsyncIterator[Gateway]:
    """A second gateway, with connections of its own."""
    apart = Database(postgres.app, pool_size=4)
    parts = replace(gateway.parts, database=apart, closing=asyncio.Event(), rhythm=StreamTimings(poll=0.01, recheck=0))
    async with serving(parts) as running:
        yield running
    await apart.close()


@pytest.fixture
async def there(other: Gateway) -> AsyncIterator[ClientFor]:
    async with other.clients() as make:
        yield make


@pytest.fixture
def admin(client_for: ClientFor, tenant: str) -> httpx.AsyncClient:
    return client_for(tenant, "ada", ["admin"])


@pytest.fixture
def platform(client_for: ClientFor) -> httpx.AsyncClient:
    return client_for("platform", "pia", ["admin"])


async def test_a_user_who_is_deactivated_here_is_gone_there(
    admin: httpx.AsyncClient, there: ClientFor, tenant: str
) -> None:
    olga = there(tenant, "olga", ["operator"])
    assert (await olga.get(ME)).is_success
    assert (await admin.delete(f"{USERS}/olga")).is_success
    assert_problem(await olga.get(ME), 403, "user_deactivated")
    assert (await admin.put(f"{USERS}/olga", json={"active": True})).is_success
    assert (await olga.get(ME)).is_success


async def test_a_role_that_is_taken_or_changed_here_counts_there(
    admin: httpx.AsyncClient, there: ClientFor, tenant: str
) -> None:
    vera = there(tenant, "vera", [])
    await vera.get(ME)
    made = await admin.post("/api/v1/admin/roles", json={"name": "reader", "permissions": ["session:read"]})
    assert made.is_success
    assert_problem(await vera.get("/api/v1/runs"), 403, "permission_denied")
    await admin.put(f"{USERS}/vera", json={"roles": ["custom:reader"]})
    assert (await vera.get("/api/v1/runs")).is_success
    await admin.put("/api/v1/admin/roles/custom:reader", json={"permissions": ["agent:read"]})
    assert_problem(await vera.get("/api/v1/runs"), 403, "permission_denied")
    await admin.put("/api/v1/admin/roles/custom:reader", json={"permissions": ["session:read"]})
    await admin.put(f"{USERS}/vera", json={"roles": []})
    assert_problem(await vera.get("/api/v1/runs"), 403, "permission_denied")


async def test_a_tenant_that_is_switched_off_here_lets_nobody_in_there(
    admin: httpx.AsyncClient, platform: httpx.AsyncClient, there: ClientFor, tenant: str
) -> None:
    key = (await admin.post(KEYS, json={"name": "k", "roles": ["admin"]})).json()["api_key"]
    olga, bearer = there(tenant, "olga", ["operator"]), there(tenant, "ada", [])
    bearer.headers["authorization"] = f"Bearer {key}"
    for client in (olga, bearer):
        assert (await client.get(ME)).is_success
    assert (await platform.put(f"{TENANTS}/{tenant}", json={"active": False})).is_success
    for client in (olga, bearer):
        assert_problem(await client.get(ME), 403, "tenant_disabled")


async def test_a_stream_ends_when_its_key_is_revoked(admin: httpx.AsyncClient, there: ClientFor, tenant: str) -> None:
    key = (await admin.post(KEYS, json={"name": "k", "roles": ["admin"]})).json()
    bearer = there(tenant, "ada", [])
    bearer.headers["authorization"] = f"Bearer {key['api_key']}"
    events = (await execute(bearer))["links"]["events"]
    told = []
    async with asyncio.timeout(60):
        async for kind, _ in follow(bearer, events):
            told.append(kind)
            assert (await admin.delete(f"{KEYS}/{key['key_id']}")).is_success
    assert told == ["run.queued"]


async def test_a_stream_ends_when_the_policy_denies_its_session(
    admin: httpx.AsyncClient, there: ClientFor, tenant: str
) -> None:
    olga = there(tenant, "olga", ["operator"])
    run = await execute(olga)
    about = {"resources": [{"type": "session", "ids": [run["session_id"]]}], "users": ["olga"]}
    rule = {"id": "no-more", "effect": "deny", "actions": ["session:read"], **about}
    told = []
    async with asyncio.timeout(60):
        async for kind, _ in follow(olga, run["links"]["events"]):
            told.append(kind)
            assert (await admin.put("/api/v1/admin/policies", json={"version": 1, "rules": [rule]})).is_success
    assert told == ["run.queued"]


async def test_of_many_at_once_at_two_gateways_as_many_pass_as_the_limit_says(
    gateway: Gateway, client_for: ClientFor, platform: httpx.AsyncClient, there: ClientFor, tenant: str
) -> None:
    here, elsewhere = client_for(tenant, "olga", ["operator"]), there(tenant, "otto", ["operator"])
    for client in (here, elsewhere):
        await client.get(ME)
    await platform.put(f"{TENANTS}/{tenant}", json={"settings": {"requests_per_minute": 10}})
    began = gateway.parts.clock()
    answers = await asyncio.gather(*((here, elsewhere)[number % 2].get(ME) for number in range(50)))
    # One more comes in every six seconds.
    more = int((gateway.parts.clock() - began) / timedelta(seconds=6))
    passed = Counter(answer.status_code for answer in answers)
    assert 10 <= passed[200] <= 10 + more
    assert passed[200] + passed[429] == 50
    for answer in answers:
        assert answer.headers["ratelimit-policy"] == '"tenant";q=10;w=60'
        assert (answer.status_code == 429) == ("retry-after" in answer.headers)


async def test_a_request_that_its_tenant_has_no_room_for_takes_nothing_of_its_keys(
    gateway: Gateway, admin: httpx.AsyncClient, platform: httpx.AsyncClient, tenant: str
) -> None:
    key = (await admin.post(KEYS, json={"name": "k", "roles": ["admin"]})).json()
    await platform.put(f"{TENANTS}/{tenant}", json={"settings": {"requests_per_minute": 2}})
    rates = replace(gateway.parts.rates, default=Rate.per_minute(100))
    async with serving(replace(gateway.parts, rates=rates, closing=asyncio.Event())) as limited:
        headers = {"x-api-key": key["api_key"]}
        async with httpx.AsyncClient(base_url=limited.url, headers=headers, trust_env=False, timeout=60) as bearer:
            answers = [await bearer.get(ME) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 429, 429, 429]
    async with gateway.parts.database.tenant(tenant) as records:
        left = await records.rates.take(f"key:{key['key_id']}", Rate.per_minute(100), gateway.parts.clock())
    assert left.remaining >= 97


async def test_a_clock_that_is_set_back_gives_no_request_away(
    gateway: Gateway, client_for: ClientFor, platform: httpx.AsyncClient, tenant: str
) -> None:
    await client_for(tenant, "olga", ["operator"]).get(ME)
    await platform.put(f"{TENANTS}/{tenant}", json={"settings": {"requests_per_minute": 3}})
    behind = replace(gateway.parts, clock=lambda: gateway.parts.clock() - timedelta(minutes=2), closing=asyncio.Event())
    passed = 0
    async with serving(behind) as late, late.clients() as of_late:
        clients = (client_for(tenant, "olga", ["operator"]), of_late(tenant, "olga", ["operator"]))
        for number in range(12):
            passed += (await clients[number % 2].get(ME)).status_code == 200
    assert passed == 3


async def test_of_many_starts_at_once_not_one_too_many_gets_a_session(
    client_for: ClientFor, platform: httpx.AsyncClient, there: ClientFor, tenant: str
) -> None:
    here, elsewhere = client_for(tenant, "olga", ["operator"]), there(tenant, "otto", ["operator"])
    for client in (here, elsewhere):
        await client.get(ME)
    await platform.put(f"{TENANTS}/{tenant}", json={"settings": {"max_concurrent_sessions": 7}})
    asked = {"mission": "Say hello.", "model": MODEL}
    answers = await asyncio.gather(*((here, elsewhere)[number % 2].post(EXECUTE, json=asked) for number in range(50)))
    assert Counter(answer.status_code for answer in answers) == {202: 7, 429: 43}
