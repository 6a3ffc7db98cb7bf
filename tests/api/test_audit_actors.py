"""The log says by which API key something was done, who was turned away though believed, and from where."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from api.composition import StreamTimings
from taskforce.application.audit import export
from taskforce.core.domain.audit import chain
from taskforce.core.domain.audit.chain import Anchor
from taskforce.core.domain.audit.events import AuditFilter
from taskforce.core.domain.paging import Page
from taskforce.core.domain.tenants.tenant import TenantStatus
from tests.api.audit_logs import append, listed
from tests.api.gateway import ClientFor, Gateway, assert_problem, execute, serving

KEYS, USERS = "/api/v1/admin/api-keys", "/api/v1/admin/users"
MORE = {"title": "More of it", "payload": {"role": "viewer"}}


@pytest.fixture
def admin(client_for: ClientFor, tenant: str) -> httpx.AsyncClient:
    return client_for(tenant, "ada", ["admin"])


@pytest.fixture
async def key_id(admin: httpx.AsyncClient) -> str:
    answer = await admin.post(KEYS, json={"name": "k", "roles": ["admin"]})
    admin.headers["the-key"] = answer.json()["api_key"]
    return str(answer.json()["key_id"])


@pytest.fixture
async def bearer(gateway: Gateway, admin: httpx.AsyncClient, key_id: str) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"x-api-key": admin.headers.pop("the-key")}
    async with httpx.AsyncClient(base_url=gateway.url, headers=headers, trust_env=False, timeout=60) as client:
        yield client


async def test_what_a_key_does_names_the_key(
    admin: httpx.AsyncClient, bearer: httpx.AsyncClient, key_id: str, tenant: str
) -> None:
    links = (await execute(bearer))["links"]
    acts: list[tuple[str, str, Any]] = [
        ("post", links["messages"], {"text": "Go on."}),
        ("post", links["cancel"], None),
        ("post", USERS, {"user_id": "svc", "kind": "service"}),
        ("post", "/api/v1/admin/roles", {"name": "reader", "permissions": []}),
        ("post", KEYS, {"name": "another", "roles": ["viewer"]}),
        ("put", "/api/v1/admin/policies", {"version": 1, "rules": []}),
        ("put", f"/api/v1/admin/tenants/{tenant}", {"name": "Renamed"}),
        ("get", "/api/v1/admin/audit/export", None),
        ("post", "/api/v1/admin/agents", {"name": "Agent", "definition": {}}),
        ("put", "/api/v1/admin/agents/agent", {"description": "Changed."}),
        ("post", "/api/v1/admin/webhooks", {"url": "https://hooks.example.com/x"}),
        (
            "post",
            "/api/v1/admin/requests",
            {"request_type": "data_export", "title": "All of it", "payload": {"what": "audit"}},
        ),
    ]
    for method, path, body in acts:
        answer = await bearer.request(method, path, json=body)
        assert answer.is_success, answer.text
    assert_problem(await bearer.post("/api/v1/admin/tenants", json={"tenant_id": "mine"}), 403, "operator_only")
    by_key = {one["action"] for one in await listed(admin, key_id=key_id)}
    assert by_key == {
        *("run.start", "run.message", "run.cancel", "user.create", "role.create", "api_key.create"),
        *("policy.save", "tenant.change", "audit.export", "access.denied"),
        *("agent.create", "agent.change", "webhook.create", "approval.request"),
    }
    by_hand = await listed(admin, actor_id="ada")
    assert [one["key_id"] for one in by_hand if one["action"] == "api_key.create"] == [key_id, None]


async def test_what_a_key_does_in_anothers_name_names_who_issued_it(
    gateway: Gateway, client_for: ClientFor, admin: httpx.AsyncClient, tenant: str
) -> None:
    olga = client_for(tenant, "olga", ["operator"])
    links = (await execute(olga))["links"]
    wanted = {"name": "hers", "user_id": "olga", "roles": ["operator"]}
    issued = (await admin.post(KEYS, json=wanted)).json()
    headers = {"x-api-key": issued["api_key"]}
    async with httpx.AsyncClient(base_url=gateway.url, headers=headers, trust_env=False, timeout=60) as client:
        assert (await client.post(links["messages"], json={"text": "Go on."})).is_success
        assert (await client.post(links["cancel"])).is_success
        made = await client.post(USERS, json={"user_id": "svc", "kind": "service"})
        assert_problem(made, 403, "permission_denied")
    by_key = await listed(admin, key_id=issued["key_id"])
    assert {one["action"] for one in by_key} == {"run.message", "run.cancel", "access.denied"}
    assert {(one["actor_id"], one["details"]["key_issuer"]) for one in by_key} == {("olga", "ada")}
    assert all("key_issuer" not in one["details"] for one in await listed(admin, action="run.start"))


async def test_an_event_by_a_key_and_one_without_are_chained(
    gateway: Gateway, admin: httpx.AsyncClient, bearer: httpx.AsyncClient, key_id: str
) -> None:
    await bearer.post(USERS, json={"user_id": "svc", "kind": "service"})
    answer = await admin.get("/api/v1/admin/audit/export")
    lines = answer.text.splitlines(keepends=True)
    found = chain.verify(lines, Anchor.parse(answer.headers["audit-anchor"]))
    assert found.events == len(lines) - 2
    named = ['"key_id"' in line for line in lines]
    assert (any(named), all(named[1:-1])) == (True, False)
    assert f'"key_id":"{key_id}"' in answer.text


async def test_who_is_believed_and_turned_away_stands_in_the_own_tenants_log(
    gateway: Gateway,
    client_for: ClientFor,
    admin: httpx.AsyncClient,
    bearer: httpx.AsyncClient,
    key_id: str,
    tenant: str,
) -> None:
    olga = client_for(tenant, "olga", ["operator"])
    await olga.get("/api/v1/me")
    await admin.delete(f"{USERS}/olga")
    assert_problem(await olga.get("/api/v1/runs"), 403, "user_deactivated")
    (one,) = await listed(admin, action="auth.failed")
    assert (one["actor_id"], one["outcome"], one["reason"]) == ("olga", "denied", "user_deactivated")
    assert (one["details"]["client"], one["details"]["path"], one["key_id"]) == ("127.0.0.1", "/api/v1/runs", None)
    await _switched(gateway, tenant, TenantStatus.DISABLED)
    assert_problem(await bearer.get("/api/v1/runs"), 403, "tenant_disabled")
    await _switched(gateway, tenant, TenantStatus.ACTIVE)
    await gateway.parts.failed_sign_ins.flush()
    (last, _) = await listed(admin, action="auth.failed")
    assert (last["actor_id"], last["reason"], last["key_id"]) == ("ada", "tenant_disabled", key_id)


async def test_a_credential_from_a_foreign_address_is_told_also_where_it_only_reads(
    gateway: Gateway, client_for: ClientFor, admin: httpx.AsyncClient, tenant: str
) -> None:
    olga = client_for(tenant, "olga", ["operator"])
    place = f"/api/v1/admin/tenants/{tenant}"
    assert (await admin.put(place, json={"settings": {"ip_allow_list": ["127.0.0.2/32"]}, "force": True})).is_success
    for path in ("/api/v1/me", "/api/v1/runs"):
        assert_problem(await olga.get(path), 403, "address_not_allowed")
    await gateway.parts.failed_sign_ins.flush()
    async with gateway.parts.database.tenant(tenant) as records:
        found = await records.audit.page(AuditFilter(action="auth.failed"), Page(9))
    assert {(one.actor_id, one.reason, one.details["client"]) for one in found} == {
        ("olga", "address_not_allowed", "127.0.0.1")
    }
    assert sum(int(str(one.details.get("count", 1))) for one in found) == 2


async def _switched(gateway: Gateway, tenant: str, status: TenantStatus) -> None:
    async with gateway.parts.database.tenant(tenant) as records:
        found = await records.tenant.locked()
        assert found is not None
        await records.tenant.save(replace(found, status=status))


async def test_sign_ins_that_fail_are_told_with_the_address_and_not_at_any_pace(
    gateway: Gateway, client_for: ClientFor, admin: httpx.AsyncClient, tenant: str
) -> None:
    olga = client_for(tenant, "olga", ["operator"])
    await olga.get("/api/v1/me")
    await admin.delete(f"{USERS}/olga")
    await asyncio.gather(*(olga.get("/api/v1/me") for _ in range(90)))
    await gateway.parts.failed_sign_ins.flush()
    found = await listed(admin, action="auth.failed", limit=100)
    assert {one["details"]["client"] for one in found} == {"127.0.0.1"}
    assert len(found) < sum(one["details"].get("count", 1) for one in found) == 90


async def test_an_export_ends_with_its_readers_right(
    gateway: Gateway, admin: httpx.AsyncClient, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await append(gateway, tenant, 3)
    parts = replace(gateway.parts, rhythm=StreamTimings(recheck=0), closing=asyncio.Event())
    pages = export._pages

    async def meanwhile(*arguments: Any) -> AsyncIterator[Any]:
        assert (await admin.delete(f"{USERS}/vera")).is_success
        async for page in pages(*arguments):
            yield page

    async with serving(parts) as other, other.clients() as make:
        vera = make(tenant, "vera", ["auditor"])
        whole = await vera.get("/api/v1/admin/audit/export")
        assert "custom:2" in whole.text
        monkeypatch.setattr(export, "_pages", meanwhile)
        with pytest.raises(httpx.RemoteProtocolError):
            await vera.get("/api/v1/admin/audit/export")
