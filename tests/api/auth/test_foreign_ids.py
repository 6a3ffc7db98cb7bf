"""What belongs to another tenant is answered, byte by byte, as what does not exist."""

import httpx

from tests.api.approvals import ask
from tests.api.auth.foreign_ids import BUDGET, GRANT, body_of, filled, seen
from tests.api.gateway import ClientFor, Gateway, execute


async def test_a_foreign_id_is_answered_like_a_missing_one(
    gateway: Gateway, client_for: ClientFor, tenant: str
) -> None:
    owner = client_for(tenant, "olga", ["operator", "admin"])
    run_id = (await execute(owner))["run_id"]
    request_id = await ask(gateway.parts.database, tenant, run_id)
    stranger = client_for(f"{tenant}-other", "olga", ["operator", "admin"])

    workflow = {"workflow_id": "only-there", "name": "Theirs", "request_type": "data_export"}
    assert (await owner.post("/api/v1/admin/workflows", json=workflow)).status_code == 201
    agent = (await owner.post("/api/v1/admin/agents", json={"name": "Only there"})).json()
    ids = {"agent_id": agent["agent_id"], "version_id": agent["versions"][0]["version_id"]}

    made = await owner.post("/api/v1/admin/budgets", json=BUDGET)
    ids["budget_id"] = made.json()["budget_id"]

    others = {**ids, "run_id": run_id, "request_id": request_id, "tenant_id": tenant, "user_id": "only-there"}
    others["workflow_id"] = "only-there"
    await client_for(tenant, "only-there", ["viewer"]).get("/api/v1/me")
    met = 0
    for path, operations in gateway.app.openapi()["paths"].items():
        if "_id}" not in path:
            continue
        for method in operations:
            body = body_of(path) if method in {"post", "put"} else None
            query = GRANT if (method, path.rpartition("/")[2]) == ("delete", "grants") else {}
            missing = await stranger.request(method, filled(path, {}), json=body, params=query)
            assert missing.status_code == 404, (path, missing.text)
            assert seen(await stranger.request(method, filled(path, others), json=body, params=query)) == seen(missing)
            malformed = filled(path, dict.fromkeys(others, "no-id"))
            assert seen(await stranger.request(method, malformed, json=body, params=query)) == seen(missing)
            met += 1
    assert met >= 16


async def test_lists_hold_only_the_tenants_own(client_for: ClientFor, operator: httpx.AsyncClient, tenant: str) -> None:
    await execute(operator)
    stranger = client_for(f"{tenant}-other", "olga", ["admin"])
    await client_for(tenant, "ada", ["admin"]).post("/api/v1/admin/agents", json={"name": "Only there"})
    for query in ("", "?q=only"):
        found = (await stranger.get(f"/api/v1/admin/agents{query}")).json()
        assert found == {"items": [], "next_cursor": None}
    assert (await stranger.get("/api/v1/runs")).json() == {"items": [], "next_cursor": None}
    assert (await stranger.get("/api/v1/admin/requests/pending")).json() == {"items": [], "next_cursor": None}
