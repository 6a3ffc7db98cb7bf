"""Versions over HTTP: drafts, their problems, and everything but what a worker is needed for."""

from typing import Any

import httpx
import pytest
import yaml

from taskforce.core.domain.canonical_json import canonical_hash
from taskforce.infrastructure.persistence.database import Database
from tests.api.gateway import ClientFor, assert_problem
from tests.fixtures.agents import GOOD, keep_approved, keep_published

AGENTS = "/api/v1/admin/agents"
YAML = {"content-type": "application/yaml"}


@pytest.fixture
def designer(client_for: ClientFor, tenant: str) -> httpx.AsyncClient:
    return client_for(tenant, "dora", ["agent_designer"])


@pytest.fixture
async def here(designer: httpx.AsyncClient) -> str:
    """An agent with a good first draft."""
    answer = await designer.post(AGENTS, json={"name": "Counter", "definition": dict(GOOD)})
    assert answer.status_code == 201
    return f"{AGENTS}/counter/versions"


async def draft(client: httpx.AsyncClient, here: str, number: str, **definition: Any) -> dict[str, Any]:
    body = {"version_number": number, "definition": {**GOOD, **definition}, "changelog": "More."}
    answer = await client.post(here, json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    assert answer.headers["location"].endswith(f"/versions/{made['version_id']}")
    return made


async def test_a_draft_takes_anything_and_lists_all_of_its_problems(designer: httpx.AsyncClient, here: str) -> None:
    wrong = {
        "tools": ["calculator", "teleport"],
        "max_iterations": 0,
        "temperature": 3,
        "model": "nobody/knows",
        "limits": {"max_tokens": -1},
        "require_approval": ["http_post"],
        "approval_roles": "cfo",
        "rag_config": {"index": "support-docs"},
    }
    answer = await designer.post(here, json={"version_number": "1.0.0", "definition": wrong})
    made = answer.json()
    assert answer.status_code == 201
    assert [one["path"] for one in made["problems"]] == [
        "system_prompt", "tools[1]", "require_approval[0]", "approval_roles", "model", "max_iterations",
        "limits.max_tokens", "temperature",
    ]  # fmt: skip
    assert made["definition"] == wrong
    refused = assert_problem(await designer.post(f"{here}/1.0.0/submit"), 409, "definition_has_problems")
    assert refused["problems"] == made["problems"]
    assert (await designer.get(f"{here}/1.0.0")).json() == made


async def test_roles_that_leave_nobody_to_decide_keep_a_version_back(
    client_for: ClientFor, designer: httpx.AsyncClient, here: str, tenant: str
) -> None:
    made = await draft(designer, here, "1.0.0", approval_roles=["ghost"])
    assert [one["path"] for one in made["problems"]] == ["approval_roles"]
    refused = assert_problem(await designer.post(f"{here}/1.0.0/submit"), 409, "definition_has_problems")
    assert refused["problems"] == made["problems"]
    admin, calls = client_for(tenant, "ada", ["admin"]), {"name": "Calls", "request_type": "tool_call"}
    for agent, problems in (("another", ["approval_roles"]), ("counter", [])):
        definition = {**calls, "workflow_id": agent, "agents": [agent], "allowed_approver_roles": ["ghost"]}
        assert (await admin.post("/api/v1/admin/workflows", json=definition)).status_code == 201
        assert [one["path"] for one in (await designer.get(f"{here}/1.0.0")).json()["problems"]] == problems
    assert (await designer.post(f"{here}/1.0.0/submit")).status_code == 200


@pytest.mark.parametrize(
    "model", ["http://127.0.0.1/x", "openai/a,openai/b", " openai/a", "", "evil//x", "anthropic/unheard", 7]
)
async def test_a_model_that_is_not_offered_is_a_problem(designer: httpx.AsyncClient, here: str, model: object) -> None:
    assert [one["path"] for one in (await draft(designer, here, "1.0.0", model=model))["problems"]] == ["model"]
    assert (await draft(designer, here, "1.0.1", model="openai/gpt-4o", fallbacks=["azure/x"]))["problems"] == []


async def test_versions_come_in_the_order_of_their_numbers(designer: httpx.AsyncClient, here: str) -> None:
    for number in ("1.0.0-rc.2", "1.10.0", "1.9.0", "1.0.0", "1.0.0-rc.10", "1.0.0-alpha"):
        await draft(designer, here, number)
    listed = (await designer.get(here)).json()["items"]
    assert [one["version_number"] for one in listed] == [
        "1.10.0", "1.9.0", "1.0.0", "1.0.0-rc.10", "1.0.0-rc.2", "1.0.0-alpha", "0.1.0",
    ]  # fmt: skip
    assert "definition" not in listed[0]
    for taken in ("1.0.0", "1.0.0+build.7"):
        answer = await designer.post(here, json={"version_number": taken, "definition": {}})
        assert_problem(answer, 409, "version_exists")
    for wrong in ("1.0.0.", "v1.0.0", "01.0.0", "1.0.0-", "1.0.0-01"):
        answer = await designer.post(here, json={"version_number": wrong, "definition": {}})
        assert_problem(answer, 422, "version_number_invalid")


async def test_a_draft_is_revised_and_its_hash_follows(
    designer: httpx.AsyncClient, here: str, client_for: ClientFor, tenant: str
) -> None:
    auditor = client_for(tenant, "aud", ["auditor"])
    first = (await designer.get(f"{here}/0.1.0")).json()
    assert first["config_hash"] == canonical_hash(GOOD)
    wanted = {"definition": {**GOOD, "temperature": 1.0}, "changelog": "Warmer.", "version_number": "0.2.0"}
    changed = (await designer.put(f"{here}/0.1.0", json=wanted)).json()
    assert (changed["version_id"], changed["version_number"]) == (first["version_id"], "0.2.0")
    assert changed["config_hash"] == canonical_hash({**GOOD, "temperature": 1})
    assert [(one["was"], one["now"], one["by"]) for one in changed["transitions"]] == [("draft", "draft", "dora")]
    again = await designer.put(f"{here}/0.2.0", json={"changelog": "Warmer."})
    assert (again.json()["transitions"], again.headers["etag"]) == (changed["transitions"], '"2"')
    which = {"action": "agent.version.change"}
    # What changed nothing is not told.
    (change,) = (await auditor.get("/api/v1/admin/audit", params=which)).json()["items"]
    names = ("version_id", "version_number", "status", "config_hash")
    assert change["details"]["version_before"] == {name: first[name] for name in names}
    assert change["details"]["version"] == {name: changed[name] for name in names}
    assert_problem(await designer.get(f"{here}/0.1.0"), 404, "version_not_found")


async def test_only_what_the_picture_shows_is_possible(designer: httpx.AsyncClient, here: str) -> None:
    for act in ("approve", "publish", "deprecate", "archive"):
        problem = assert_problem(await designer.post(f"{here}/0.1.0/{act}"), 409, "transition_not_allowed")
        assert (problem["version_status"], problem["allowed"]) == ("draft", ["draft", "pending_approval"])
    assert_problem(await designer.post(f"{here}/0.1.0/reject"), 409, "transition_not_allowed")
    submitted = await designer.post(f"{here}/0.1.0/submit", json={"comment": "Ready."})
    assert submitted.status_code == 200, submitted.text
    version = submitted.json()
    assert (version["status"], version["allowed"]) == ("pending_approval", ["approved", "draft"])
    assert version["transitions"][-1]["comment"] == "Ready."
    for act in ("submit", "publish", "deprecate", "archive"):
        problem = assert_problem(await designer.post(f"{here}/0.1.0/{act}"), 409, "transition_not_allowed")
        assert problem["allowed"] == ["approved", "draft"]
    assert_problem(await designer.put(f"{here}/0.1.0", json={"changelog": "x"}), 409, "version_immutable")
    assert_problem(await designer.delete(f"{AGENTS}/counter"), 409, "agent_in_use")


async def test_the_request_of_a_submitted_version_shows_exactly_what_is_asked_for(
    designer: httpx.AsyncClient, client_for: ClientFor, here: str, tenant: str
) -> None:
    version = (await designer.post(f"{here}/0.1.0/submit", json={"comment": "Ready."})).json()
    admin = client_for(tenant, "ada", ["admin"])
    (request,) = (await admin.get("/api/v1/admin/requests/pending")).json()["items"]
    assert request["request_id"] == version["request_id"]
    assert (request["request_type"], request["requester_id"], request["title"]) == (
        "agent_publish", "dora", "Publish counter 0.1.0",
    )  # fmt: skip
    assert (request["run_id"], request["can_decide"], request["self_approval"]) == (None, True, False)
    assert request["payload"]["definition"] == GOOD
    assert (request["payload"]["config_hash"], request["description"]) == (version["config_hash"], "Ready.")
    own = (await designer.get("/api/v1/admin/requests/pending")).json()["items"]
    assert [(one["request_id"], one["can_decide"]) for one in own] == [(version["request_id"], False)]


async def test_whoever_asks_may_not_decide_nor_somebody_without_the_role(
    designer: httpx.AsyncClient, client_for: ClientFor, here: str, tenant: str
) -> None:
    both = client_for(tenant, "dora", ["agent_designer", "admin"])
    await both.post(f"{here}/0.1.0/submit")
    assert_problem(await both.post(f"{here}/0.1.0/approve"), 409, "self_approval")
    vera = client_for(tenant, "vera", ["viewer"])
    assert_problem(await vera.post(f"{here}/0.1.0/approve"), 403, "approver_role_missing")
    assert_problem(await vera.post(f"{here}/0.1.0/submit"), 403, "permission_denied")


async def test_what_is_approved_is_published_deprecated_and_archived(
    designer: httpx.AsyncClient, database: Database, here: str, tenant: str
) -> None:
    await keep_approved(database, tenant, "counter", "0.1.0")
    await draft(designer, here, "1.0.0")
    first = await designer.post(f"{here}/0.1.0/publish", json={"comment": "Go."})
    assert (first.json()["status"], first.headers["etag"]) == ("published", '"5"')
    agent = (await designer.get(f"{AGENTS}/counter")).json()
    assert agent["current_version"] == "0.1.0"
    in_use = assert_problem(await designer.post(f"{here}/0.1.0/deprecate"), 409, "version_in_use")
    assert (in_use["aliases"], in_use["current"]) == ([], True)
    await keep_approved(database, tenant, "counter", "1.0.0")
    await designer.post(f"{here}/1.0.0/publish")
    listed = {one["version_number"]: one["status"] for one in (await designer.get(here)).json()["items"]}
    assert listed == {"0.1.0": "published", "1.0.0": "published"}
    retired = (await designer.post(f"{here}/0.1.0/deprecate", json={"comment": "Old."})).json()
    assert (retired["version"]["status"], retired["open_runs"], retired["cancelled_runs"]) == ("deprecated", 0, 0)
    archived = (await designer.post(f"{here}/0.1.0/archive")).json()["version"]
    assert (archived["status"], archived["allowed"]) == ("archived", [])
    assert [(one["now"], one["by"], one["comment"]) for one in archived["transitions"]][-3:] == [
        ("published", "dora", "Go."), ("deprecated", "dora", "Old."), ("archived", "dora", ""),
    ]  # fmt: skip
    released = await designer.post(f"{here}/1.0.0/deprecate", json={"release": True})
    assert released.status_code == 200
    assert (await designer.get(f"{AGENTS}/counter")).json()["current_version"] is None


async def test_aliases_move_and_a_rollback_leads_back(
    designer: httpx.AsyncClient, database: Database, tenant: str
) -> None:
    await designer.get("/api/v1/me")
    await keep_published(database, tenant)
    here = f"{AGENTS}/counter"
    assert_problem(await designer.post(f"{here}/rollback"), 409, "nothing_to_roll_back_to")
    await draft(designer, f"{here}/versions", "1.0.0")
    assert_problem(
        await designer.put(f"{here}/aliases/stable", json={"version": "1.0.0"}), 409, "version_not_published"
    )
    await keep_approved(database, tenant, "counter", "1.0.0")
    await designer.post(f"{here}/versions/1.0.0/publish")
    for number in ("0.1.0", "1.0.0", "0.1.0"):
        moved = await designer.put(f"{here}/aliases/stable", json={"version": number})
        assert moved.json()["aliases"] == {"stable": number}
    assert_problem(await designer.put(f"{here}/aliases/NO", json={"version": "1.0.0"}), 422, "alias_invalid")
    assert_problem(await designer.put(f"{here}/aliases/x", json={"version": "9.9.9"}), 404, "version_not_found")
    back = await designer.post(f"{here}/rollback", json={"comment": "It breaks."})
    assert back.json()["current_version"] == "0.1.0"
    assert_problem(await designer.post(f"{here}/rollback", json={"version": "0.1.0"}), 409, "version_is_current")
    forth = await designer.post(f"{here}/rollback", json={"version": "1.0.0"})
    assert forth.json()["current_version"] == "1.0.0"
    in_use = assert_problem(await designer.post(f"{here}/versions/0.1.0/deprecate"), 409, "version_in_use")
    assert (in_use["aliases"], in_use["current"]) == (["stable"], False)
    assert (await designer.delete(f"{here}/aliases/stable")).status_code == 204
    assert_problem(await designer.delete(f"{here}/aliases/stable"), 404, "alias_not_found")


async def test_the_difference_between_two_versions(designer: httpx.AsyncClient, here: str) -> None:
    await draft(
        designer, here, "1.0.0", tools=["calculator", "http_get"], rag={"index": "a", "most": 5}, max_iterations=9
    )
    await draft(designer, here, "2.0.0", rag={"index": "b", "most": 5.0}, **{"a/b": 1})
    found = (await designer.get(f"{AGENTS}/counter/diff", params={"from": "1.0.0", "to": "2.0.0"})).json()
    assert (found["before"]["version_number"], found["after"]["version_number"]) == ("1.0.0", "2.0.0")
    assert [(one["path"], one["kind"], one["before"], one["after"]) for one in found["changes"]] == [
        ("/a~1b", "added", None, 1),
        ("/max_iterations", "changed", 9, 5),
        ("/rag/index", "changed", "a", "b"),
        ("/tools", "changed", ["calculator", "http_get"], ["calculator"]),
    ]
    unnamed = (await designer.get(f"{AGENTS}/counter/diff")).json()
    assert (unnamed["before"]["version_number"], unnamed["after"]["version_number"]) == ("0.1.0", "2.0.0")
    assert_problem(await designer.get(f"{AGENTS}/counter/diff?from=x"), 404, "version_not_found")


async def test_a_version_goes_out_and_comes_in_as_yaml(designer: httpx.AsyncClient, here: str) -> None:
    await draft(designer, here, "1.0.0", system_prompt="yes\nno: 'x'\n# é", note="2026-01-01", big=1e22)
    answer = await designer.get(f"{here}/1.0.0/export")
    assert answer.headers["content-type"].startswith("application/yaml")
    assert answer.headers["content-disposition"] == 'attachment; filename="counter-1.0.0.yaml"'
    exported = yaml.safe_load(answer.text)
    was = (await designer.get(f"{here}/1.0.0")).json()
    assert (exported["version"], exported["config_hash"]) == ("1.0.0", was["config_hash"])

    again = answer.text.replace("version: 1.0.0", "version: 1.0.1")
    version = (await designer.post(f"{here}/import", content=again, headers=YAML)).json()
    assert (version["version_number"], version["config_hash"]) == ("1.0.1", was["config_hash"])
    other = answer.text.replace("slug: counter", "slug: second")
    made = await designer.post(f"{AGENTS}/import", content=other, headers=YAML)
    assert made.status_code == 201, made.text
    (first,) = made.json()["versions"]
    assert (await designer.get(f"{AGENTS}/second/versions/0.1.0")).json()["changelog"] == "More."
    assert (made.json()["slug"], first["version_number"], first["config_hash"]) == (
        "second",
        "0.1.0",
        was["config_hash"],
    )
    as_json = {"name": "Third", "definition": dict(GOOD)}
    assert (await designer.post(f"{AGENTS}/import", json=as_json)).json()["slug"] == "third"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a: &x [1]\nb: *x", "yaml_invalid"),
        ("!!python/object/apply:os.getcwd []", "yaml_invalid"),
        ("name: x\nname: y", "yaml_invalid"),
        ("{" * 100, "yaml_invalid"),
        ("x" * 200_001, "yaml_invalid"),
        ("a: !!bool foo", "yaml_invalid"),
        ("a: !!timestamp foo", "yaml_invalid"),
        ('a: !!int ""', "yaml_invalid"),
        ('a: !!float "_"', "yaml_invalid"),
        ('a: !!int "1:30"', "yaml_invalid"),
        ("a: !!null x", "yaml_invalid"),
        ('? !!merge "<<"\n: {a: 1}', "yaml_invalid"),
        ("a: ! x", "yaml_invalid"),
        ('name: "\\0"', "yaml_invalid"),
        ("definition: {a: !!set {x}}", "yaml_invalid"),
        ("definition: {a: 1e999}", "yaml_invalid"),
        ("definition: {a: 99999999999999999999}", "yaml_invalid"),
        ("name: [x]", "agent_file_invalid"),
        ("other: x", "agent_file_invalid"),
        ("definition: {}", "agent_file_invalid"),
        ("", "yaml_invalid"),
    ],
)
async def test_yaml_that_is_not_taken(designer: httpx.AsyncClient, text: str, code: str) -> None:
    answer = await designer.post(f"{AGENTS}/import", content=text, headers=YAML)
    assert_problem(answer, 422, "request_invalid" if not text and answer.json()["code"] == "request_invalid" else code)
    elsewhere = await designer.post(AGENTS, content=text or "x", headers=YAML)
    assert_problem(elsewhere, 415, "content_type_unsupported")
