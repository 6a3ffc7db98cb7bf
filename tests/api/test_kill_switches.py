"""Kill switches over HTTP: who pulls which, what it tells, and that no run starts meanwhile."""

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from taskforce.infrastructure.persistence.repositories.kill_switches import switch_page
from tests.api.gateway import MODEL, ClientFor, Gateway, assert_problem, execute

SWITCHES = "/api/v1/admin/kill-switches"
WHY = {"reason": "It deletes what it should read."}
AUDITED = sa.text("SELECT * FROM audit_events WHERE resource_type = 'kill_switch' ORDER BY audit_id")


@pytest.fixture
def platform(client_for: ClientFor) -> httpx.AsyncClient:
    """Whoever runs the platform."""
    return client_for("platform", "pia", ["admin"])


@pytest.fixture
def admin(client_for: ClientFor, tenant: str) -> httpx.AsyncClient:
    return client_for(tenant, "ada", ["admin"])


async def refused(client: httpx.AsyncClient) -> str:
    """Asks for a run that must be refused; returns why."""
    answer = await client.post("/api/v1/agents/execute", json={"mission": "Go.", "model": MODEL})
    problem = assert_problem(answer, 503, "halted")
    assert int(answer.headers["retry-after"]) > 0
    return str(problem["detail"])


async def test_a_tenant_is_halted_and_let_go_by_its_administrator(
    gateway: Gateway, client_for: ClientFor, admin: httpx.AsyncClient, operator: httpx.AsyncClient, tenant: str
) -> None:
    switch = f"{SWITCHES}/tenant"
    assert_problem(await admin.get(switch), 404, "kill_switch_not_found")
    pulled = await admin.put(switch, json=WHY)
    assert pulled.status_code == 200
    told = pulled.json()
    assert (told["scope"], told["agent_id"], told["pulled_by"], told["reason"]) == (
        "tenant",
        None,
        "ada",
        WHY["reason"],
    )
    # Whoever pulled it first stays the one who did.
    again = await client_for(tenant, "anna", ["admin"]).put(switch, json={"reason": "Me too."})
    assert again.json() == (await admin.get(switch)).json() == told
    assert await refused(operator) == f"This tenant is halted: ada pulled its kill switch. Reason: {WHY['reason']}"
    await execute(client_for(f"{tenant}-b", "olga", ["operator"]))
    assert (await admin.delete(switch)).status_code == 204
    assert_problem(await admin.delete(switch), 404, "kill_switch_not_found")
    await execute(operator)
    async with gateway.parts.database.tenant(tenant) as records:
        rows = await records.users._connection.all(AUDITED)
    assert [(row.action, row.actor_id, row.resource_id) for row in rows] == [
        ("kill_switch.pull", "ada", "tenant"),
        ("kill_switch.release", "ada", "tenant"),
    ]
    assert {row.details["reason"] for row in rows} == {WHY["reason"]}


async def test_a_reason_is_needed(admin: httpx.AsyncClient) -> None:
    for body in ({}, {"reason": " "}, {"reason": "x" * 501}):
        assert_problem(await admin.put(f"{SWITCHES}/tenant", json=body), 422, "request_invalid")


async def test_one_agent_is_halted_by_its_id_or_slug(
    client_for: ClientFor, admin: httpx.AsyncClient, operator: httpx.AsyncClient, tenant: str
) -> None:
    designer = client_for(tenant, "dora", ["agent_designer"])
    made = await designer.post("/api/v1/admin/agents", json={"name": "Clerk"})
    assert made.status_code == 201, made.text
    agent_id, slug = made.json()["agent_id"], made.json()["slug"]
    pulled = await designer.put(f"{SWITCHES}/agents/{slug}", json=WHY)
    assert (pulled.json()["scope"], pulled.json()["agent_id"]) == ("agent", agent_id)
    await execute(operator)
    assert (await designer.delete(f"{SWITCHES}/agents/{agent_id.upper()}")).status_code == 204
    assert_problem(await designer.put(f"{SWITCHES}/agents/absent", json=WHY), 404, "agent_not_found")
    assert_problem(await designer.get(f"{SWITCHES}/agents/absent"), 404, "kill_switch_not_found")


async def test_the_agent_of_a_profile_is_halted(admin: httpx.AsyncClient, operator: httpx.AsyncClient) -> None:
    agent_id = (await operator.get(f"/api/v1/runs/{(await execute(operator))['run_id']}")).json()["agent_id"]
    assert (await admin.put(f"{SWITCHES}/agents/{agent_id}", json=WHY)).is_success
    assert (await refused(operator)).startswith("This agent is halted: ada")
    assert (await admin.delete(f"{SWITCHES}/agents/{agent_id}")).is_success
    await execute(operator)


async def test_what_the_operator_halts_no_tenant_lets_go(
    gateway: Gateway, platform: httpx.AsyncClient, admin: httpx.AsyncClient, operator: httpx.AsyncClient, tenant: str
) -> None:
    switch = f"{SWITCHES}/tenants/{tenant}"
    assert_problem(await platform.put(switch, json=WHY), 404, "tenant_not_found")
    await execute(operator)
    assert_problem(await admin.put(switch, json=WHY), 403, "operator_only")
    assert (await platform.put(switch, json=WHY)).is_success
    assert (await admin.get(switch)).json()["pulled_by"] == "pia"
    assert "This tenant is halted: the platform's operator pia" in await refused(operator)
    assert_problem(await admin.delete(f"{SWITCHES}/tenant"), 404, "kill_switch_not_found")
    assert_problem(await admin.delete(switch), 403, "operator_only")
    assert (await platform.delete(switch)).is_success
    await execute(operator)
    async with gateway.parts.database.tenant(tenant) as records:
        rows = await records.users._connection.all(AUDITED)
    assert [(row.action, row.details["actor_tenant"]) for row in rows] == [
        ("kill_switch.pull", "platform"),
        ("kill_switch.release", "platform"),
    ]


async def test_a_tenant_sees_nothing_of_anothers_switch(
    client_for: ClientFor, platform: httpx.AsyncClient, operator: httpx.AsyncClient, tenant: str
) -> None:
    await execute(operator)
    assert (await platform.put(f"{SWITCHES}/tenants/{tenant}", json=WHY)).is_success
    stranger = client_for(f"{tenant}-b", "bert", ["admin"])
    assert_problem(await stranger.get(f"{SWITCHES}/tenants/{tenant}"), 404, "tenant_not_found")
    assert_problem(await stranger.delete(f"{SWITCHES}/tenants/{tenant}"), 404, "tenant_not_found")
    assert_problem(await stranger.put(f"{SWITCHES}/tenants/{tenant}", json=WHY), 404, "tenant_not_found")


async def test_the_installation_is_halted_by_the_operator_and_every_tenant_reads_why(
    platform: httpx.AsyncClient, admin: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    switch = f"{SWITCHES}/installation"
    assert_problem(await admin.put(switch, json=WHY), 403, "operator_only")
    assert (await platform.put(switch, json=WHY)).is_success
    try:
        assert (await admin.get(switch)).json()["reason"] == WHY["reason"]
        assert_problem(await admin.delete(switch), 403, "operator_only")
        assert (await refused(operator)).startswith("The whole installation is halted: the platform's operator pia")
    finally:
        assert (await platform.delete(switch)).status_code == 204
    await execute(operator)


async def listed(client: httpx.AsyncClient, limit: int = 100) -> list[dict[str, object]]:
    """All pages."""
    found: list[dict[str, object]] = []
    cursor = None
    while True:
        answer = await client.get(SWITCHES, params={"limit": limit, **({"cursor": cursor} if cursor else {})})
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["items"]) <= limit
        found += answer.json()["items"]
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return found


async def test_a_tenant_lists_its_own_switches_and_the_operator_all_page_by_page(
    client_for: ClientFor,
    platform: httpx.AsyncClient,
    admin: httpx.AsyncClient,
    operator: httpx.AsyncClient,
    tenant: str,
) -> None:
    agent_id = (await operator.get(f"/api/v1/runs/{(await execute(operator))['run_id']}")).json()["agent_id"]
    stranger = client_for(f"{tenant}-b", "bert", ["admin"])
    await execute(client_for(f"{tenant}-b", "olga", ["operator"]))
    assert await listed(admin) == []
    for client, path in (
        (admin, f"agents/{agent_id}"),
        (admin, "tenant"),
        (platform, f"tenants/{tenant}"),
        (stranger, "tenant"),
        (platform, "installation"),
    ):
        assert (await client.put(f"{SWITCHES}/{path}", json=WHY)).is_success
    try:
        agents_own = (await admin.get(f"{SWITCHES}/agents/{agent_id}")).json()
        own = [(tenant, "agent"), (tenant, "tenant"), (tenant, "tenant_by_operator")]
        for limit in (1, 2, 100):
            seen = await listed(admin, limit)
            assert agents_own in seen
            assert [(one["tenant_id"], one["scope"]) for one in seen if one["tenant_id"]] == own
            assert [one["scope"] for one in seen if not one["tenant_id"]] == ["installation"]
            everything = await listed(platform, limit)
            assert all(one in everything for one in seen)
            assert (f"{tenant}-b", "tenant") in {(one["tenant_id"], one["scope"]) for one in everything}
        assert not any(one["tenant_id"] == tenant for one in await listed(stranger))
        assert_problem(await operator.get(SWITCHES), 403, "permission_denied")
        assert_problem(await admin.get(SWITCHES, params={"cursor": "x"}), 422, "cursor_invalid")
    finally:
        assert (await platform.delete(f"{SWITCHES}/installation")).is_success


async def test_the_operators_list_reads_no_more_rows_than_a_page(gateway: Gateway, platform: httpx.AsyncClient) -> None:
    await platform.get(SWITCHES)
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    page = switch_page(("a", "b", "c"), 20).compile(dialect=dialect, compile_kwargs={"literal_binds": True})
    async with gateway.parts.database.tenant("platform") as records:
        # A few rows are read and sorted as quickly; what counts is that the index has them in this order.
        for way in ("seqscan", "bitmapscan", "sort"):
            await records.users._connection.all(sa.text(f"SELECT set_config('enable_{way}', 'off', true)"))
        rows = await records.users._connection.all(sa.text(f"EXPLAIN {page}"))
    told = "\n".join(str(row) for row in rows)
    assert "Index Scan using kill_switches_pkey" in told
    assert "Sort" not in told
