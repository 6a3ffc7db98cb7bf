"""API keys over HTTP: shown once, taken in two headers, cut to their user, and gone at once when revoked."""

import asyncio
import io
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
import sqlalchemy as sa
import structlog

from taskforce.core.domain.identity.api_keys import NOTED_EVERY
from taskforce.core.domain.tenants.tenant import TenantStatus
from taskforce.core.interfaces.identity import SYSTEM_ROLES, Permission, Role
from taskforce.infrastructure.persistence.database import Database
from tests.api.gateway import ClientFor, Gateway, assert_problem, execute, serving
from tests.fixtures.stack import DatabaseUrls

KEYS = "/api/v1/admin/api-keys"
USERS = "/api/v1/admin/users"
ME = "/api/v1/me"


@pytest.fixture
async def admin(client_for: ClientFor, tenant: str) -> httpx.AsyncClient:
    """An administrator, beside a service account that may operate and audit."""
    client = client_for(tenant, "ada", ["admin"])
    service = {"kind": "service", "user_id": "svc-etl", "roles": ["auditor", "operator"]}
    assert (await client.post(USERS, json=service)).status_code == 201
    return client


async def issued(admin: httpx.AsyncClient, **wanted: object) -> dict[str, Any]:
    body = {"name": "Pipeline", "user_id": "svc-etl", "roles": ["operator"], **wanted}
    answer = await admin.post(KEYS, json=body)
    assert answer.status_code == 201, answer.text
    key: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"{KEYS}/{key['key_id']}"
    assert answer.headers["cache-control"] == "no-store"
    return key


@asynccontextmanager
async def bearing(gateway: Gateway, key: str, *, bearer: bool = False) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {key}"} if bearer else {"x-api-key": key}
    async with httpx.AsyncClient(base_url=gateway.url, headers=headers, timeout=60, trust_env=False) as client:
        yield client


class Clock:
    """A gateway's time that a test moves."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@asynccontextmanager
async def later(gateway: Gateway) -> AsyncIterator[tuple[Gateway, Clock]]:
    """Another gateway over the same database, with a time of its own."""
    clock = Clock()
    async with serving(replace(gateway.parts, clock=clock, closing=asyncio.Event())) as running:
        yield running, clock


async def test_a_key_is_shown_once(admin: httpx.AsyncClient) -> None:
    key = await issued(admin, metadata={"purpose": "ETL"})
    shown = key.pop("api_key")
    assert shown.startswith(key["prefix"])
    assert len(shown) == 46
    assert (key["state"], key["created_by"], key["last_used_at"], key["metadata"]) == (
        "active", "ada", None, {"purpose": "ETL"},
    )  # fmt: skip
    assert (await admin.get(f"{KEYS}/{key['key_id']}")).json() == key
    assert (await admin.get(f"{KEYS}/{key['key_id'].upper()}")).json() == key
    assert (await admin.get(KEYS)).json() == {"items": [key], "next_cursor": None}


@pytest.mark.parametrize("bearer", [False, True])
async def test_it_is_taken_in_either_header_and_cut_to_its_roles(
    gateway: Gateway, admin: httpx.AsyncClient, tenant: str, bearer: bool
) -> None:
    key = await issued(admin)
    async with bearing(gateway, key["api_key"], bearer=bearer) as client:
        me = (await client.get(ME)).json()
        assert (me["user_id"], me["tenant_id"], me["roles"]) == ("svc-etl", tenant, ["operator"])
        assert me["permissions"] == sorted(one.value for one in SYSTEM_ROLES["operator"].permissions)
        mine = (await client.get(f"{ME}/permissions")).json()
        assert (mine["roles"], mine["permissions"], mine["grants"]) == (["operator"], me["permissions"], [])
        await execute(client)
        assert_problem(await client.get(KEYS), 403, "permission_denied")


async def test_it_loses_what_its_user_loses(gateway: Gateway, admin: httpx.AsyncClient) -> None:
    key = await issued(admin)
    async with bearing(gateway, key["api_key"]) as client:
        await admin.put(f"{USERS}/svc-etl", json={"roles": ["auditor"]})
        me = (await client.get(ME)).json()
        assert me["roles"] == []
        assert me["permissions"] == ["agent:read", "memory:read", "session:read", "tool:read"]
        assert_problem(await client.post("/api/v1/agents/execute", json={"mission": "x"}), 403, "permission_denied")


async def test_a_deactivated_users_key_stops_at_once(gateway: Gateway, admin: httpx.AsyncClient) -> None:
    key = await issued(admin)
    async with bearing(gateway, key["api_key"]) as client:
        assert (await client.get(ME)).is_success
        await admin.delete(f"{USERS}/svc-etl")
        assert_problem(await client.get(ME), 403, "user_deactivated")
        assert_problem(
            await admin.post(KEYS, json={"name": "x", "user_id": "svc-etl", "roles": ["viewer"]}), 409, "user_inactive"
        )
        await admin.put(f"{USERS}/svc-etl", json={"active": True})
        assert (await client.get(ME)).is_success


async def test_a_disabled_tenants_key_stops_at_once(
    gateway: Gateway, admin: httpx.AsyncClient, database: Database, tenant: str
) -> None:
    key = await issued(admin)
    async with database.tenant(tenant) as records:
        own = await records.tenant.locked()
        assert own is not None
        await records.tenant.save(replace(own, status=TenantStatus.DISABLED))
    async with bearing(gateway, key["api_key"]) as client:
        assert_problem(await client.get(ME), 403, "tenant_disabled")


async def test_an_expired_key_opens_nothing(gateway: Gateway, admin: httpx.AsyncClient) -> None:
    expires_at = datetime.now(UTC) + timedelta(hours=1)
    key = await issued(admin, expires_at=expires_at.isoformat())
    assert datetime.fromisoformat(key["expires_at"]) == expires_at
    async with later(gateway) as (another, clock), bearing(another, key["api_key"]) as client:
        assert (await client.get(ME)).is_success
        clock.ahead = timedelta(hours=1, seconds=1)
        assert_problem(await client.get(ME), 401, "api_key_invalid")


async def test_a_revoked_key_is_gone_at_once_on_every_gateway(
    gateway: Gateway, admin: httpx.AsyncClient, postgres: DatabaseUrls
) -> None:
    key = await issued(admin)
    apart = Database(postgres.app, pool_size=2)
    parts = replace(gateway.parts, database=apart, closing=asyncio.Event())
    async with (
        serving(parts) as other,
        bearing(gateway, key["api_key"]) as here,
        bearing(other, key["api_key"]) as there,
    ):
        for _ in range(3):
            assert (await here.get(ME)).is_success
            assert (await there.get(ME)).is_success
        assert (await admin.delete(f"{KEYS}/{key['key_id']}")).status_code == 204
        for client in (here, there):
            problem = assert_problem(await client.get(ME), 401, "api_key_invalid")
            assert key["api_key"] not in str(problem)
    await apart.close()
    assert (await admin.delete(f"{KEYS}/{key['key_id']}")).status_code == 204
    assert (await admin.get(f"{KEYS}/{key['key_id']}")).json()["state"] == "revoked"


@pytest.mark.parametrize("text", ["tf_", "tf_" + "a" * 43, "tf_" + "é" * 43, "x" * 5_000])
async def test_what_is_no_key_of_ours_lets_nobody_in(gateway: Gateway, text: str) -> None:
    async with httpx.AsyncClient(base_url=gateway.url, trust_env=False, timeout=60) as client:
        assert_problem(await client.get(ME, headers={b"x-api-key": text.encode()}), 401, "api_key_invalid")


async def test_use_is_written_down_at_most_once_a_minute(gateway: Gateway, admin: httpx.AsyncClient) -> None:
    key = await issued(admin)
    path = f"{KEYS}/{key['key_id']}"
    async with later(gateway) as (another, clock), bearing(another, key["api_key"]) as client:

        async def noted() -> datetime:
            assert (await client.get(ME)).is_success
            return datetime.fromisoformat((await admin.get(path)).json()["last_used_at"])

        first = await noted()
        clock.ahead = NOTED_EVERY / 2
        assert await noted() == first
        clock.ahead = NOTED_EVERY
        assert await noted() - first >= NOTED_EVERY


async def test_a_key_bounds_the_keys_that_it_makes(gateway: Gateway, admin: httpx.AsyncClient, tenant: str) -> None:
    held = {Permission.USER_MANAGE, *SYSTEM_ROLES["viewer"].permissions}
    async with gateway.parts.database.tenant(tenant) as records:
        await records.roles.add(
            Role("custom:keys", "Keys", permissions=held, tenant_id=tenant), "ada", datetime.now(UTC)
        )
    first = await issued(admin, user_id="ada", roles=["custom:keys"])
    async with bearing(gateway, first["api_key"]) as client:
        for body in ({"name": "More", "roles": ["admin"]}, {"name": "More", "roles": ["operator"]}):
            assert_problem(await client.post(KEYS, json=body), 403, "roles_too_wide")
        assert_problem(await client.put(f"{USERS}/ada", json={"username": "x"}), 403, "user_stands_higher")
        second = await issued(client, user_id=None, roles=["viewer"])
        assert (second["user_id"], second["created_by"]) == ("ada", "ada")
    async with bearing(gateway, second["api_key"]) as client:
        assert_problem(await client.post(KEYS, json={"name": "More", "roles": ["viewer"]}), 403, "permission_denied")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"roles": []}, "request_invalid"),
        ({"roles": ["boss"]}, "roles_unknown"),
        ({"name": " x"}, "api_key_name_invalid"),
        ({"expires_at": 1_900_000_000}, "request_invalid"),
        ({"expires_at": "1900000000"}, "request_invalid"),
        ({"expires_at": "2030-01-01T00:00:00"}, "request_invalid"),
        ({"expires_at": "2001-01-01T00:00:00Z"}, "expiry_invalid"),
        ({"expires_at": "9999-12-31T23:59:59-23:59"}, "expiry_invalid"),
        ({"expires_at": "0001-01-01T00:00:00+23:59"}, "expiry_invalid"),
        ({"metadata": []}, "request_invalid"),
        ({"hash": "0" * 64}, "request_invalid"),
    ],
)
async def test_bodies_that_make_no_sense(admin: httpx.AsyncClient, changes: dict[str, object], code: str) -> None:
    body = {"name": "Pipeline", "user_id": "svc-etl", "roles": ["operator"], **changes}
    assert_problem(await admin.post(KEYS, json=body), 422, code)


async def test_another_tenants_key_is_answered_like_none(
    admin: httpx.AsyncClient, client_for: ClientFor, tenant: str
) -> None:
    key = await issued(admin)
    stranger = client_for(f"{tenant}-other", "ada", ["admin"])
    for method in ("GET", "DELETE"):
        answers = [await stranger.request(method, f"{KEYS}/{one}") for one in (key["key_id"], uuid4(), "no-id")]
        for answer in answers:
            assert_problem(answer, 404, "api_key_not_found")
        assert len({answer.content for answer in answers}) == 1
    assert (await stranger.get(KEYS)).json()["items"] == []
    assert (await admin.get(f"{KEYS}/{key['key_id']}")).json()["state"] == "active"
    foreign = {"name": "x", "user_id": "svc-etl", "roles": ["viewer"]}
    assert_problem(await stranger.post(KEYS, json=foreign), 404, "user_not_found")


async def test_keys_are_listed_newest_first_in_pages(admin: httpx.AsyncClient) -> None:
    names = [f"key {number}" for number in range(3)]
    for name in names:
        await issued(admin, name=name)
    first = (await admin.get(KEYS, params={"limit": 2})).json()
    rest = (await admin.get(KEYS, params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [one["name"] for one in (*first["items"], *rest["items"])] == names[::-1]
    assert rest["next_cursor"] is None
    assert not {"hash", "api_key"} & first["items"][0].keys()


@contextmanager
def everything_logged() -> Iterator[io.StringIO]:
    """All lines of the process, those of libraries too, as they are before anything is taken out of them."""
    heard = io.StringIO()
    handler, root = logging.StreamHandler(heard), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        with structlog.testing.capture_logs() as lines:
            yield heard
        heard.writelines(f"{line}\n" for line in lines)
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


async def test_the_secret_is_in_no_log_line_no_row_and_no_error(
    gateway: Gateway, admin: httpx.AsyncClient, database: Database, tenant: str
) -> None:
    told = []
    with everything_logged() as heard:
        key = await issued(admin)
        for bearer in (False, True):
            async with bearing(gateway, key["api_key"], bearer=bearer) as client:
                told += [await client.get(ME), await client.get(KEYS), await client.post(KEYS, json={})]
        await admin.delete(f"{KEYS}/{key['key_id']}")
        async with bearing(gateway, key["api_key"]) as client:
            told += [await client.get(ME), await client.post("/api/v1/agents/execute", json={})]
    assert {answer.status_code for answer in told} == {200, 401, 403}
    rows: list[Any] = []
    for owner in (tenant, gateway.parts.rules.platform_tenant):
        async with database.tenant(owner) as records:
            for table in ("api_keys", "audit_events", "users", "rate_buckets"):
                everything = sa.text("SELECT * FROM " + table)
                rows += await records.users._connection.all(everything)
    assert "http.request" in heard.getvalue()
    assert any(row.get("action") == "auth.failed" for row in rows)
    kept = f"{heard.getvalue()}{[dict(row) for row in rows]}{[(one.text, one.headers) for one in told]}"
    assert key["key_id"] in kept
    assert key["api_key"].removeprefix(key["prefix"]) not in kept
