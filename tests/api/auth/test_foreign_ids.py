"""What belongs to another tenant is answered, byte by byte, as what does not exist."""

import re
from collections.abc import Mapping
from uuid import uuid4

import httpx

from tests.api.gateway import ClientFor, Gateway, execute
from tests.api.test_approval_decisions import ask

GRANT = {"role_id": "viewer", "resource_type": "agent", "resource_id": "some-agent"}
VERSION = {"version_number": "9.0.0", "definition": {}}
CATALOG = {"clone": {"name": "x"}, "versions": VERSION, "import": {"version": "9.0.0"}, "{alias}": {"version": "0.1.0"}}
BODIES = {
    "messages": {"text": "x"},
    "grants": GRANT,
    "comments": {"comment": "x"},
    "reassign": {"people": ["x"]},
    **CATALOG,
} | dict.fromkeys(("cancel", "pause", "resume"))
VARYING = {"date", "x-request-id"}


def seen(answer: httpx.Response) -> tuple[int, dict[str, str], bytes]:
    headers = {name: value for name, value in answer.headers.items() if name not in VARYING}
    return answer.status_code, headers, answer.content


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

    others = {**ids, "run_id": run_id, "request_id": request_id, "tenant_id": tenant, "user_id": "only-there"}
    others["workflow_id"] = "only-there"
    await client_for(tenant, "only-there", ["viewer"]).get("/api/v1/me")
    met = 0
    for path, operations in gateway.app.openapi()["paths"].items():
        if "_id}" not in path:
            continue
        for method in operations:
            body = BODIES.get(path.rpartition("/")[2], {}) if method in {"post", "put"} else None
            query = GRANT if (method, path.rpartition("/")[2]) == ("delete", "grants") else {}
            missing = await stranger.request(method, filled(path, {}), json=body, params=query)
            assert missing.status_code == 404, (path, missing.text)
            assert seen(await stranger.request(method, filled(path, others), json=body, params=query)) == seen(missing)
            malformed = filled(path, dict.fromkeys(others, "no-id"))
            assert seen(await stranger.request(method, malformed, json=body, params=query)) == seen(missing)
            met += 1
    assert met >= 16


def filled(path: str, ids: Mapping[str, str]) -> str:
    rest = {"step": "1", "call": "1", "path": "notes.txt", "alias": "stable", **ids}
    return re.sub(r"{(\w+)}", lambda name: rest.get(name[1], str(uuid4())), path)


async def test_lists_hold_only_the_tenants_own(client_for: ClientFor, operator: httpx.AsyncClient, tenant: str) -> None:
    await execute(operator)
    stranger = client_for(f"{tenant}-other", "olga", ["admin"])
    await client_for(tenant, "ada", ["admin"]).post("/api/v1/admin/agents", json={"name": "Only there"})
    for query in ("", "?q=only"):
        found = (await stranger.get(f"/api/v1/admin/agents{query}")).json()
        assert found == {"items": [], "next_cursor": None}
    assert (await stranger.get("/api/v1/runs")).json() == {"items": [], "next_cursor": None}
    assert (await stranger.get("/api/v1/admin/requests/pending")).json() == {"items": [], "next_cursor": None}
