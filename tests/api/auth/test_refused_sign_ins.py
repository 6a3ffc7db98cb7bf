"""Somebody whose token is believed and who is not let in stands in the log of the tenant that it concerns."""

import httpx
import pytest
import sqlalchemy as sa

from api.composition import _issuers
from taskforce.core.domain.errors import Unauthenticated
from taskforce.infrastructure.auth.jwt_provider import create_test_jwt
from taskforce.infrastructure.config.profiles import Profile
from taskforce.infrastructure.config.settings import Settings
from tests.api.gateway import SECRET, ClientFor, Gateway, assert_problem

FAILED = sa.text("SELECT * FROM audit_events WHERE action = 'auth.failed' AND request_id = :request")
ME = "/api/v1/me"


async def failures(gateway: Gateway, tenant: str, request_id: str) -> list[tuple[str, str, str]]:
    await gateway.parts.failed_sign_ins.flush()
    async with gateway.parts.database.tenant(tenant) as records:
        rows = await records.users._connection.all(FAILED, {"request": request_id})
    return [(row.actor_id, row.reason, row.outcome) for row in rows]


@pytest.fixture
def platform(client_for: ClientFor) -> httpx.AsyncClient:
    return client_for("platform", "pia", ["admin"])


async def test_a_deactivated_user_who_tries_is_noted(gateway: Gateway, client_for: ClientFor, tenant: str) -> None:
    bob, admin = client_for(tenant, "bob", ["operator"]), client_for(tenant, "ada", ["admin"])
    assert (await bob.get(ME)).status_code == 200
    assert (await admin.delete("/api/v1/admin/users/bob")).status_code == 204
    assert_problem(await bob.get(ME, headers={"X-Request-ID": tenant}), 403, "user_deactivated")
    assert await failures(gateway, tenant, tenant) == [("bob", "user_deactivated", "denied")]
    assert await failures(gateway, "platform", tenant) == []


async def test_so_is_whoever_comes_to_a_tenant_that_is_switched_off(
    gateway: Gateway, client_for: ClientFor, platform: httpx.AsyncClient, tenant: str
) -> None:
    bob = client_for(tenant, "bob", ["operator"])
    assert (await bob.get(ME)).status_code == 200
    assert (await platform.put(f"/api/v1/admin/tenants/{tenant}", json={"active": False})).status_code == 200
    assert_problem(await bob.get(ME, headers={"X-Request-ID": tenant}), 403, "tenant_disabled")
    assert await failures(gateway, tenant, tenant) == [("bob", "tenant_disabled", "denied")]


@pytest.mark.parametrize("said", ["true", ""])
async def test_outside_development_the_environments_issuer_speaks_for_the_platform_if_that_is_said(
    monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    named = {"JWT_SECRET": SECRET, "JWT_ISSUER": "https://id.example", "JWT_AUDIENCE": "us", "JWT_PLATFORM": said}
    for name, value in {**named, "TASKFORCE_PLATFORM_TENANT": "operations"}.items():
        monkeypatch.setenv(name, value)
    tokens = {
        tenant: create_test_jwt("pia", tenant, ["admin"], SECRET, issuer="https://id.example", audience="us")
        for tenant in ("operations", "platform")
    }
    monkeypatch.setenv("TASKFORCE_PROFILE", "enterprise")
    issuers = _issuers(Settings.from_env(), Profile(profile="enterprise"))

    assert (await issuers.authenticate(tokens["platform"])).tenant_id == "platform"
    if said:
        assert (await issuers.authenticate(tokens["operations"])).tenant_id == "operations"
        return
    with pytest.raises(Unauthenticated):
        await issuers.authenticate(tokens["operations"])
