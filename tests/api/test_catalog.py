"""The catalog over HTTP: agents from their making to their end, found, copied and named."""

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from api.agent_yaml import AgentFile
from api.schemas.agents import AgentIn, VersionChangeIn, VersionIn
from taskforce.core.domain.catalog.definition import MOST_VALUES
from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.identity.resource_roles import ResourceGrant
from taskforce.core.domain.tenants.tenant import TenantSettings
from taskforce.core.interfaces.identity import ResourceType
from taskforce.infrastructure.persistence.database import Database
from tests.api.gateway import ClientFor, Gateway, assert_problem, execute
from tests.fixtures.agents import GOOD, keep_published

AGENTS = "/api/v1/admin/agents"
EXECUTE = "/api/v1/agents/execute"
NEW: dict[str, Any] = {
    "name": "Customer Support Agent",
    "description": "Handles customer inquiries via email and chat",
    "category": "support",
    "tags": ["production", "nlp", "customer-facing"],
    "definition": dict(GOOD),
}


@pytest.fixture
def designer(client_for: ClientFor, tenant: str) -> httpx.AsyncClient:
    return client_for(tenant, "dora", ["agent_designer"])


async def make(client: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    answer = await client.post(AGENTS, json=NEW | changes)
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_an_agent_from_its_making_to_its_end(designer: httpx.AsyncClient) -> None:
    answer = await designer.post(AGENTS, json=NEW)
    made = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"{AGENTS}/{made['agent_id']}"
    assert answer.headers["etag"] == '"1"'
    assert (made["slug"], made["owner_id"], made["current_version"]) == ("customer-support-agent", "dora", None)
    assert made["tags"] == ["customer-facing", "nlp", "production"]
    assert [(one["version_number"], one["status"]) for one in made["versions"]] == [("0.1.0", "draft")]
    for name in (made["agent_id"], made["agent_id"].upper(), "customer-support-agent"):
        assert (await designer.get(f"{AGENTS}/{name}")).json() == made
    assert (await designer.get("/v1/admin/agents/customer-support-agent")).json() == made

    wanted = {"name": "Support", "slug": "support", "tags": ["nlp"], "category": ""}
    changed = (await designer.put(f"{AGENTS}/customer-support-agent", json=wanted)).json()
    assert (changed["name"], changed["slug"], changed["tags"], changed["category"]) == (
        "Support",
        "support",
        ["nlp"],
        None,
    )
    assert (changed["description"], changed["revision"]) == (NEW["description"], 2)
    assert_problem(await designer.get(f"{AGENTS}/customer-support-agent"), 404, "agent_not_found")
    assert (await designer.delete(f"{AGENTS}/support")).status_code == 204
    assert_problem(await designer.get(f"{AGENTS}/support"), 404, "agent_not_found")
    assert_problem(await designer.delete(f"{AGENTS}/support"), 404, "agent_not_found")


async def test_the_definition_has_the_guides_name_too(designer: httpx.AsyncClient, gateway: Gateway) -> None:
    """Python's `create_agent` calls it `initial_definition` (guide 4.2)."""
    new = {name: value for name, value in NEW.items() if name != "definition"}
    for number, given in enumerate(
        ({"initial_definition": GOOD}, {"definition": GOOD}, {"definition": GOOD, "initial_definition": GOOD})
    ):
        made = await designer.post(AGENTS, json={**new, **given, "slug": f"agent-{number}"})
        assert made.status_code == 201, made.text
        draft = await designer.get(f"{AGENTS}/agent-{number}/versions/0.1.0")
        assert draft.json()["definition"] == GOOD
    differing: tuple[dict[str, object], ...] = ({}, {**GOOD, "max_iterations": 6}, {**GOOD, "max_iterations": True})
    for other in differing:
        both = {**new, "definition": {**GOOD, "max_iterations": 1}, "initial_definition": other}
        assert_problem(await designer.post(AGENTS, json=both), 422, "request_invalid")
    assert_problem(await designer.post(AGENTS, json={**new, "initial_definition": None}), 422, "request_invalid")
    body = gateway.app.openapi()["components"]["schemas"]["AgentIn"]["properties"]
    assert "`definition`" in body["initial_definition"]["description"]


async def test_whoever_may_sign_in_may_make_agents(client_for: ClientFor, tenant: str) -> None:
    user_id = "auth0|" + "x" * 249
    made = await make(client_for(tenant, user_id, ["agent_designer"]))
    assert made["owner_id"] == user_id


async def test_what_happens_to_agents_is_audited(
    designer: httpx.AsyncClient, client_for: ClientFor, tenant: str
) -> None:
    made = await make(designer)
    await designer.put(f"{AGENTS}/{made['agent_id']}", json={"name": "Other"})
    await designer.delete(f"{AGENTS}/{made['agent_id']}")
    auditor = client_for(tenant, "aude", ["auditor"])
    log = (await auditor.get("/api/v1/admin/audit", params={"resource_type": "agent"})).json()["items"]
    assert [(one["action"], one["actor_id"], one["resource_id"]) for one in log] == [
        (action, "dora", made["agent_id"]) for action in ("agent.delete", "agent.change", "agent.create")
    ]
    before, after = log[1]["details"]["before"], log[1]["details"]["after"]
    assert (before["name"], after["name"]) == (NEW["name"], "Other")


async def test_slugs_are_unique_within_a_tenant_and_no_profiles_agent(
    designer: httpx.AsyncClient, client_for: ClientFor, tenant: str
) -> None:
    await make(designer)
    assert_problem(await designer.post(AGENTS, json=NEW), 409, "slug_taken")
    assert_problem(await designer.post(AGENTS, json=NEW | {"slug": "assistant"}), 409, "slug_taken")
    other = await make(designer, slug="other")
    answer = await designer.put(f"{AGENTS}/{other['agent_id']}", json={"slug": "customer-support-agent"})
    assert_problem(answer, 409, "slug_taken")
    await make(client_for(f"{tenant}-other", "dora", ["agent_designer"]))


@pytest.mark.parametrize("name", ["客服", "客服 bot", "Помощник", "مساعد العملاء"])
async def test_an_agent_may_be_named_in_any_script(designer: httpx.AsyncClient, name: str) -> None:
    made = await make(designer, name=name)
    assert made["name"] == name
    assert (await designer.get(f"{AGENTS}/{made['slug']}")).json()["agent_id"] == made["agent_id"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"name": ""}, "request_invalid"),
        ({"name": " x"}, "agent_name_invalid"),
        ({"name": "???"}, "slug_invalid"),
        ({"slug": "No"}, "request_invalid"),
        ({"slug": "01890000-0000-7000-8000-000000000000"}, "slug_invalid"),
        ({"tags": "nlp"}, "request_invalid"),
        ({"tags": ["a\nb"]}, "tags_invalid"),
        ({"category": " x "}, "category_invalid"),
        ({"definition": {"a": "x" * 60_000}}, "definition_too_large"),
        ({"definition": []}, "request_invalid"),
        ({"other": 1}, "request_invalid"),
    ],
)
async def test_an_agent_that_makes_no_sense(designer: httpx.AsyncClient, changes: dict[str, Any], code: str) -> None:
    assert_problem(await designer.post(AGENTS, json=NEW | changes), 422, code)


async def test_a_definition_holds_so_many_values_and_no_more(designer: httpx.AsyncClient) -> None:
    """Reading an agent costs by the values of all its versions, however short they are."""
    made = await make(designer)
    here = f"{AGENTS}/{made['agent_id']}/versions"
    most = {"a": [0] * (MOST_VALUES - 2)}
    added = await designer.post(here, json={"version_number": "1.0.0", "definition": most})
    assert (added.status_code, added.json()["definition"]) == (201, most)
    more = {"a": [*most["a"], 0]}
    refused = await designer.post(here, json={"version_number": "2.0.0", "definition": more})
    assert_problem(refused, 422, "definition_too_large")
    assert_problem(await designer.put(f"{here}/1.0.0", json={"definition": more}), 422, "definition_too_large")


@pytest.mark.parametrize(
    ("body", "known"),
    [
        (AgentIn, {"name": "x"}),
        (VersionIn, {"version_number": "1.0.0"}),
        (VersionChangeIn, {}),
        (AgentFile, {"name": "x"}),
    ],
)
def test_values_of_a_definition_are_counted_before_each_is_looked_at(
    body: type[BaseModel], known: dict[str, str]
) -> None:
    no_json = [object()] * MOST_VALUES
    with pytest.raises(Invalid) as refused:
        body.model_validate(known | {"definition": {"tools": no_json}})
    assert refused.value.code == "definition_too_large"


async def test_a_change_is_meant_for_what_was_seen(designer: httpx.AsyncClient) -> None:
    made = await make(designer)
    here = f"{AGENTS}/{made['agent_id']}"
    seen = (await designer.get(here)).headers["etag"]
    first = await designer.put(here, json={"name": "One"}, headers={"if-match": seen})
    assert (first.status_code, first.headers["etag"]) == (200, '"2"')
    stale = {"if-match": seen}
    for method, path, body in (
        ("PUT", here, {"name": "Two"}),
        ("DELETE", here, None),
        ("POST", f"{here}/versions", {"version_number": "1.0.0", "definition": {}}),
        ("PUT", f"{here}/versions/0.1.0", {"changelog": "x"}),
        ("POST", f"{here}/versions/0.1.0/publish", None),
        ("PUT", f"{here}/aliases/stable", {"version": "0.1.0"}),
        ("POST", f"{here}/rollback", None),
    ):
        problem = assert_problem(
            await designer.request(method, path, json=body, headers=stale), 412, "revision_changed"
        )
        assert problem["revision"] == 2
    for other in ('W/"2"', '"02", "3"', '"x,2"', '"0"', '""'):
        answer = await designer.put(here, json={}, headers={"if-match": other})
        assert_problem(answer, 412, "revision_changed")
    for wrong in ("2", '"2" "3"', '"2",', '"', '*, "2"'):
        answer = await designer.put(here, json={}, headers={"if-match": wrong})
        assert_problem(answer, 422, "if_match_invalid")
    assert (await designer.put(here, json={"name": "One"}, headers={"if-match": '"1", "2"'})).is_success
    assert (await designer.put(here, json={"name": "Two"}, headers={"if-match": "*"})).json()["name"] == "Two"


async def test_of_two_who_change_the_same_state_one_is_told(designer: httpx.AsyncClient) -> None:
    here = f"{AGENTS}/{(await make(designer))['agent_id']}"
    answers = await asyncio.gather(
        *(designer.put(here, json={"name": f"Name {n}"}, headers={"if-match": '"1"'}) for n in range(8))
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 7


async def test_a_tenant_has_as_many_agents_as_it_may(
    gateway: Gateway, designer: httpx.AsyncClient, database: Database, tenant: str
) -> None:
    await designer.get("/api/v1/me")
    async with database.tenant(tenant) as records:
        own = await records.tenant.locked()
        assert own is not None
        await records.tenant.save(replace(own, settings=TenantSettings(max_agents=7)))
    answers = await asyncio.gather(
        *(designer.post(AGENTS, json={"name": f"Agent {number}", "definition": {}}) for number in range(50))
    )
    refused = [answer for answer in answers if answer.status_code != 201]
    assert len(refused) == 43
    for answer in refused:
        assert assert_problem(answer, 409, "agents_limit_reached")["max_agents"] == 7
    found = (await designer.get(AGENTS, params={"limit": 100})).json()["items"]
    assert len(found) == 7
    await designer.delete(f"{AGENTS}/{found[0]['agent_id']}")
    await make(designer)


async def test_lists_are_filtered_and_come_in_pages(
    designer: httpx.AsyncClient, database: Database, tenant: str
) -> None:
    await designer.get("/api/v1/me")
    for number in range(5):
        await make(designer, name=f"Agent {number}", tags=["even" if number % 2 == 0 else "odd"], owner_id=f"o{number}")
    await keep_published(database, tenant)

    async def names(**query: Any) -> list[str]:
        found: list[str] = []
        cursor: str | None = None
        while True:
            page = (
                await designer.get(AGENTS, params={"limit": 2, **query, **({"cursor": cursor} if cursor else {})})
            ).json()
            assert len(page["items"]) <= 2
            found += [one["name"] for one in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                return found

    every = [f"Agent {number}" for number in reversed(range(5))]
    assert await names(category="support") == every
    assert await names(tag=["odd"]) == ["Agent 3", "Agent 1"]
    assert sorted(await names(tag=["odd", "even"])) == sorted(every)
    assert await names(status="published") == ["Counter"]
    assert await names(status="draft") == every
    assert await names(owner_id="o2") == ["Agent 2"]
    assert await names(owner_id="o2", tag="odd") == []
    assert sorted(await names(q="agent")) == sorted(every)
    assert await names(q="agent 3") == ["Agent 3"]
    assert await names(q="count") == ["Counter"]
    assert await names(q="even", status="draft") == ["Agent 4", "Agent 2", "Agent 0"]
    assert await names(q="?!") == []


async def test_words_find_agents_the_best_first(designer: httpx.AsyncClient) -> None:
    await make(designer, name="Refunds", description="Pays money back.", tags=[])
    await make(designer, name="Clerk", description="Knows the policies, and every refund.", tags=["premium"])
    await make(designer, name="Chat", description="Talks.", tags=["refund", "tier:premium"])

    async def found(question: str) -> list[str]:
        return [one["name"] for one in (await designer.get(AGENTS, params={"q": question})).json()["items"]]

    assert await found("refund") == ["Refunds", "Chat", "Clerk"]
    assert await found("REFUNDS") == ["Refunds", "Chat", "Clerk"]
    assert await found("prem") == ["Chat", "Clerk"]
    assert await found("policy") == ["Clerk"]
    assert await found("refund talk") == ["Chat"]
    assert await found("refund zebra") == []
    assert await found("'); DROP TABLE agents; --") == []


async def test_the_parameters_of_a_list_that_make_no_sense(designer: httpx.AsyncClient) -> None:
    for query in ("status=unheard", f"q={'x' * 501}", "limit=0", f"tag={'x' * 101}"):
        assert_problem(await designer.get(f"{AGENTS}?{query}"), 422, "request_invalid")
    for query in ("cursor=x", "q=x&cursor=cmFua3wxfHg", "q=x&cursor=AAAA", "cursor=cmFua3wxLjB8eA"):
        assert_problem(await designer.get(f"{AGENTS}?{query}"), 422, "cursor_invalid")
    assert (await designer.get(f"{AGENTS}?q=%00&category=%00&owner_id=%00&tag=%00")).json()["items"] == []


@pytest.mark.parametrize(
    "name", ["%00", "..%2f..%2fetc", "%F0%9F%98%80", "x" * 3_000, "a%2Fb", "%27%20OR%201=1", "-", "A"]
)
async def test_names_that_no_agent_can_have(designer: httpx.AsyncClient, name: str) -> None:
    for method, path in (("GET", name), ("DELETE", name), ("GET", f"{name}/versions"), ("POST", f"{name}/rollback")):
        answer = await designer.request(method, f"{AGENTS}/{path}")
        assert answer.status_code == 404, answer.text
    here = f"{AGENTS}/{(await make(designer))['slug']}"
    for path in (f"versions/{name}", f"versions/{name}/export", f"diff?from={name[:60]}"):
        assert (await designer.get(f"{here}/{path}")).status_code == 404


async def test_a_copy_of_an_agent(
    designer: httpx.AsyncClient, client_for: ClientFor, database: Database, tenant: str
) -> None:
    await designer.get("/api/v1/me")
    source = await keep_published(database, tenant, temperature=0.5)
    answer = await designer.post(f"{AGENTS}/counter/clone", json={"name": "Second counter", "tags": ["copy"]})
    copy = answer.json()
    assert answer.status_code == 201
    assert (copy["slug"], copy["category"], copy["tags"]) == ("second-counter", "maths", ["copy"])
    assert [one["status"] for one in copy["versions"]] == ["draft"]
    assert copy["versions"][0]["config_hash"] == source.versions[0].config_hash
    assert copy["current_version"] is None
    bare = {"name": "Third counter", "description": "", "category": "", "tags": []}
    copy = (await designer.post(f"{AGENTS}/second-counter/clone", json=bare)).json()
    assert (copy["description"], copy["category"], copy["tags"]) == ("", None, [])
    assert_problem(await designer.post(f"{AGENTS}/absent/clone", json={"name": "x"}), 404, "agent_not_found")
    stranger = client_for(f"{tenant}-other", "dora", ["agent_designer"])
    foreign = await stranger.post(f"{AGENTS}/{source.agent_id}/clone", json={"name": "x"})
    assert_problem(foreign, 404, "agent_not_found")


async def test_a_role_on_one_agent_counts_there_by_either_name_and_makes_no_copies(
    gateway: Gateway, designer: httpx.AsyncClient, client_for: ClientFor, tenant: str
) -> None:
    agent, other = await make(designer), await make(designer, name="Other")
    vera = client_for(tenant, "vera", ["viewer"])
    await vera.get("/api/v1/me")
    grant = ResourceGrant("vera", "agent_designer", ResourceType.AGENT, agent["agent_id"])
    async with gateway.parts.database.tenant(tenant) as records:
        await records.roles.grant(grant, "test", gateway.parts.clock())
    for name in (agent["agent_id"], agent["slug"]):
        assert (await vera.put(f"{AGENTS}/{name}", json={"description": "Mine."})).status_code == 200
    assert_problem(await vera.put(f"{AGENTS}/other", json={}), 403, "permission_denied")
    assert_problem(await vera.put(f"{AGENTS}/{other['agent_id']}", json={}), 403, "permission_denied")
    assert_problem(await vera.post(f"{AGENTS}/{agent['slug']}/clone", json={"name": "x"}), 403, "permission_denied")
    assert_problem(await vera.post(AGENTS, json=NEW), 403, "permission_denied")


async def test_a_role_is_granted_by_the_slug_and_kept_by_the_id(
    client_for: ClientFor, database: Database, tenant: str
) -> None:
    admin, vera = client_for(tenant, "ada", ["admin"]), client_for(tenant, "vera", ["viewer"])
    await vera.get("/api/v1/me")
    agent = await keep_published(database, tenant)
    assert_problem(await vera.post(EXECUTE, json={"mission": "x", "agent_id": "counter"}), 403, "permission_denied")
    grant = {"role_id": "operator", "resource_type": "agent", "resource_id": "counter"}
    granted = await admin.post("/api/v1/admin/users/vera/grants", json=grant)
    assert (granted.status_code, granted.json()["resource_id"]) == (201, agent.agent_id)
    for name in ("counter", agent.agent_id, agent.agent_id.upper()):
        await execute(vera, agent_id=name)
    for other in ({}, {"agent_id": "assistant"}, {"agent_id": "absent"}):
        assert_problem(await vera.post(EXECUTE, json={"mission": "x", **other}), 403, "permission_denied")
    assert (await admin.delete("/api/v1/admin/users/vera/grants", params=grant)).status_code == 204
    assert_problem(await vera.post(EXECUTE, json={"mission": "x", "agent_id": "counter"}), 403, "permission_denied")


async def test_policies_know_the_tags_of_agents(
    designer: httpx.AsyncClient, client_for: ClientFor, database: Database, tenant: str
) -> None:
    admin, olga = client_for(tenant, "ada", ["admin"]), client_for(tenant, "olga", ["operator"])
    await keep_published(database, tenant)
    when = [{"resource_tags": {"has_any": ["nlp"]}}]
    rule = {"id": "no-nlp", "effect": "deny", "actions": ["agent:execute"], "when": when}
    saved = await admin.put("/api/v1/admin/policies", json={"version": 1, "rules": [rule]})
    assert saved.status_code == 200, saved.text
    async with asyncio.timeout(60):  # within which the policy counts
        while True:
            if (await olga.post(EXECUTE, json={"mission": "x", "agent_id": "counter"})).status_code == 403:
                break
            await asyncio.sleep(0.05)
    for name in ("counter", (await designer.get(f"{AGENTS}/counter")).json()["agent_id"]):
        answer = await olga.post(EXECUTE, json={"mission": "x", "agent_id": name})
        assert_problem(answer, 403, "policy_denied")
    await execute(olga, agent_id="assistant")
    await keep_published(database, tenant, "Plain")
    plain = await designer.put(f"{AGENTS}/plain", json={"tags": ["other"]})
    assert plain.status_code == 200
    await execute(olga, agent_id="plain")


async def test_lists_leave_out_agents_that_a_rule_denies(
    designer: httpx.AsyncClient, client_for: ClientFor, tenant: str
) -> None:
    admin, vic = client_for(tenant, "ada", ["admin"]), client_for(tenant, "vic", ["viewer"])
    hidden = (await make(designer, name="Secret support"))["agent_id"]
    other = (await make(designer, name="Open support"))["agent_id"]
    resources = [{"type": "agent", "ids": [hidden]}]
    rule = {"id": "hidden", "effect": "deny", "actions": ["agent:read"], "resources": resources}
    saved = await admin.put("/api/v1/admin/policies", json={"version": 1, "rules": [rule]})
    assert saved.status_code == 200, saved.text
    async with asyncio.timeout(60):  # within which the policy counts
        while True:
            if (await vic.get(f"{AGENTS}/secret-support")).status_code == 403:
                break
            await asyncio.sleep(0.05)
    for query in ({}, {"q": "support"}):
        listed = (await vic.get(AGENTS, params=query)).json()["items"]
        assert [one["agent_id"] for one in listed] == [other]
