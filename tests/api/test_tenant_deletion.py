"""Deleting a tenant over HTTP: who may, what is closed at once, and the report that stays."""

from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from taskforce.core.domain.audit.events import AuditFilter, AuditRecord
from taskforce.core.domain.paging import Page
from tests.api.gateway import ClientFor, Gateway, assert_problem, execute
from tests.chaos.invariants import eventually

TENANTS = "/api/v1/admin/tenants"
ME = "/api/v1/me"


@pytest.fixture
def platform(client_for: ClientFor) -> httpx.AsyncClient:
    return client_for("platform", "pia", ["admin"])


async def key_of(admin: httpx.AsyncClient) -> dict[str, str]:
    me = (await admin.get(ME)).json()["user_id"]
    made = await admin.post("/api/v1/admin/api-keys", json={"name": "ci", "user_id": me, "roles": ["admin"]})
    assert made.status_code == 201, made.text
    return {"X-API-Key": made.json()["api_key"]}


def nobody(gateway: Gateway) -> AbstractAsyncContextManager[httpx.AsyncClient]:
    return httpx.AsyncClient(base_url=gateway.url, trust_env=False, timeout=60)


async def logged(gateway: Gateway, tenant: str) -> list[AuditRecord]:
    which = AuditFilter(resource_type="tenant", resource_id=tenant)
    async with gateway.parts.database.tenant("platform") as records:
        return list(await records.audit.page(which, Page(10)))


async def test_only_the_platforms_operator_deletes_and_never_the_own_ground(
    client_for: ClientFor, platform: httpx.AsyncClient, tenant: str
) -> None:
    admin, other = client_for(tenant, "ada", ["admin"]), client_for(f"{tenant}-other", "ada", ["admin"])
    assert (await admin.get(ME)).is_success
    for method, path in (("DELETE", f"{TENANTS}/{tenant}"), ("GET", f"{TENANTS}/{tenant}/deletion")):
        assert_problem(await admin.request(method, path), 403, "operator_only")
        assert_problem(await other.request(method, path), 404, "tenant_not_found")
        vera = client_for(tenant, "vera", ["viewer"])
        assert_problem(await vera.request(method, path), 403, "permission_denied")
    assert_problem(await platform.delete(f"{TENANTS}/platform"), 409, "not_your_own")
    for absent in (f"{tenant}-absent", "%00", "x" * 65, "a%20b"):
        assert_problem(await platform.delete(f"{TENANTS}/{absent}"), 404, "tenant_not_found")
        assert_problem(await platform.get(f"{TENANTS}/{absent}"), 404, "tenant_not_found")
        assert_problem(await platform.put(f"{TENANTS}/{absent}", json={"name": "x"}), 404, "tenant_not_found")
    assert_problem(await platform.get(f"{TENANTS}/{tenant}/deletion"), 404, "deletion_not_found")
    assert (await admin.get(ME)).is_success


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("runs=drain", "drain_invalid"),
        ("drain_seconds=5", "drain_invalid"),
        ("runs=cancel&drain_seconds=5", "drain_invalid"),
        ("runs=drain&drain_seconds=0", "drain_invalid"),
        ("runs=drain&drain_seconds=2592001", "drain_invalid"),
        ("runs=drain&drain_seconds=soon", "request_invalid"),
        (f"runs=drain&drain_seconds={'9' * 5_000}", "request_invalid"),
        ("runs=finish", "request_invalid"),
    ],
)
async def test_a_way_to_end_runs_that_makes_no_sense(
    client_for: ClientFor, platform: httpx.AsyncClient, tenant: str, query: str, code: str
) -> None:
    olga = client_for(tenant, "olga", ["operator"])
    assert (await olga.get(ME)).is_success
    assert_problem(await platform.delete(f"{TENANTS}/{tenant}?{query}"), 422, code)
    assert (await olga.get(ME)).is_success


async def test_nobody_gets_in_from_that_moment_on_and_asking_again_finds_the_same(
    gateway: Gateway, client_for: ClientFor, platform: httpx.AsyncClient, tenant: str
) -> None:
    admin = client_for(tenant, "ada", ["admin"])
    run = await execute(admin)
    key = await key_of(admin)
    answer = await platform.delete(f"{TENANTS}/{tenant}?runs=drain&drain_seconds=600")
    assert (answer.status_code, answer.headers["location"]) == (202, f"{TENANTS}/{tenant}/deletion")
    report = answer.json()
    expect: dict[str, Any] = {"tenant_id": tenant, "status": "requested", "requested_by": "pia", "runs": "drain"}
    assert {name: report[name] for name in expect} == expect
    until = datetime.fromisoformat(report["requested_at"]) + timedelta(seconds=600)
    assert datetime.fromisoformat(report["runs_until"]) == until
    assert report["request_id"] == answer.headers["x-request-id"]
    assert (report["phases"], report["erased"], report["runs_ended"], report["histories"]) == ([], {}, None, None)
    for client in (admin, client_for(tenant, "nina", ["admin"])):
        assert_problem(await client.get(ME), 403, "tenant_disabled")
    assert_problem(await admin.post("/api/v1/agents/execute", json={"mission": "x"}), 403, "tenant_disabled")
    assert_problem(await admin.get(run["links"]["self"]), 403, "tenant_disabled")
    async with nobody(gateway) as caller:
        assert_problem(await caller.get(ME, headers=key), 403, "tenant_disabled")
    again = await platform.delete(f"{TENANTS}/{tenant}")
    assert (again.status_code, again.json()) == (202, report)
    assert (await platform.get(report["links"]["self"])).json() == report
    assert_problem(await platform.put(f"{TENANTS}/{tenant}", json={"active": True}), 409, "tenant_deleting")
    assert_problem(await platform.post(TENANTS, json={"tenant_id": tenant}), 409, "tenant_deleted")
    [event] = await logged(gateway, tenant)
    assert (event.actor_id, event.outcome, event.request_id) == ("pia", "allowed", report["request_id"])
    assert event.details == {"runs": "drain", "runs_until": until.astimezone(UTC).isoformat()}


async def test_the_report_outlives_the_tenant_and_its_id_is_not_given_again(
    working_gateway: Gateway, working_client_for: ClientFor, tenant: str
) -> None:
    platform = working_client_for("platform", "pia", ["admin"])
    admin = working_client_for(tenant, "ada", ["admin"])
    assert (await admin.get(ME)).is_success
    key = await key_of(admin)
    kept = (await platform.delete(f"{TENANTS}/{tenant}")).json()["links"]["self"]

    async def is_done() -> bool:
        return bool((await platform.get(kept)).json()["status"] == "done")

    await eventually(is_done)
    report = (await platform.get(kept)).json()
    assert [one["phase"] for one in report["phases"]] == [
        "begun", "runs_ended", "data_erased", "histories_deleted", "verified",
    ]  # fmt: skip
    assert (report["runs"], report["runs_until"], report["runs_ended"]) == ("cancel", None, {})
    assert (report["erased"]["users"], report["erased"]["api_keys"], report["erased"]["tenants"]) == (1, 1, 1)
    assert report["log"]["anchor"] == f"{tenant}:{report['log']['seq']}:{report['log']['hash']}"
    assert report["histories"] == {"deleted": 0, "left": 0}
    assert report["erased_at"] is not None
    assert len(report["remains"]) >= 4

    assert_problem(await platform.get(f"{TENANTS}/{tenant}"), 404, "tenant_not_found")
    assert_problem(await admin.get(ME), 403, "tenant_deleted")
    assert_problem(await working_client_for(tenant, "new", ["admin"]).get(ME), 403, "tenant_deleted")
    async with nobody(working_gateway) as caller:
        assert_problem(await caller.get(ME, headers=key), 401, "api_key_invalid")
    assert_problem(await platform.post(TENANTS, json={"tenant_id": tenant}), 409, "tenant_deleted")
    assert_problem(await platform.get(f"{TENANTS}/{tenant}"), 404, "tenant_not_found")
    assert (await platform.delete(f"{TENANTS}/{tenant}")).json() == report
    erased, asked = await logged(working_gateway, tenant)
    assert (asked.action, asked.actor_id) == ("tenant.delete", "pia")
    assert (erased.action, erased.actor_id, erased.on_behalf_of) == ("tenant.erased", "system", "pia")
    assert erased.details == {"rows": sum(report["erased"].values()), "log_end": report["log"]["anchor"]}
