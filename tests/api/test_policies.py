"""The policy document over HTTP."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.api.gateway import ClientFor, Gateway, assert_problem

POLICIES = "/api/v1/admin/policies"
TRY = f"{POLICIES}/dry-run"
WEEKEND: dict[str, Any] = {
    "id": "no-weekend-runs",
    "effect": "deny",
    "description": "Nobody works on weekends.",
    "actions": ["agent:execute"],
    "roles": ["operator"],
    "when": [{"time": {"days": ["sat", "sun"], "from": "00:00", "to": "24:00", "zone": "Europe/Berlin"}}],
}
PAYROLL: dict[str, Any] = {
    "id": "payroll",
    "effect": "allow",
    "actions": ["agent:execute"],
    "resources": [{"type": "agent", "ids": ["payroll-bot"]}],
    "users": ["vera"],
}
SATURDAY, MONDAY = "2026-01-17T12:00:00+01:00", "2026-01-19T12:00:00Z"
BOT = {"type": "agent", "id": "payroll-bot"}
RUN = {"action": "agent:execute", "resource": BOT}


def document(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"version": 1, "rules": list(rules)}


@pytest.fixture
def admin(client_for: ClientFor, tenant: str) -> httpx.AsyncClient:
    return client_for(tenant, "ada", ["admin"])


async def test_a_document_is_replaced_as_a_whole(admin: httpx.AsyncClient) -> None:
    empty = (await admin.get(POLICIES)).json()
    assert empty == {"document": document(), "version": 0, "saved_by": None, "at": None}
    first = (await admin.put(POLICIES, json=document(WEEKEND, PAYROLL))).json()
    assert (first["document"], first["version"], first["saved_by"]) == (document(WEEKEND, PAYROLL), 1, "ada")
    assert (await admin.get(POLICIES)).json() == first
    second = (await admin.put(POLICIES, json=document())).json()
    assert (second["document"], second["version"]) == (document(), 2)
    assert (await admin.get(POLICIES)).json() == second


async def test_what_was_read_can_be_saved_again(admin: httpx.AsyncClient) -> None:
    await admin.put(POLICIES, json=document(WEEKEND, PAYROLL))
    read = (await admin.get(POLICIES)).json()["document"]
    assert (await admin.put(POLICIES, json=read)).json()["document"] == read


async def test_a_wrong_document_is_refused_with_all_its_problems(admin: httpx.AsyncClient) -> None:
    wrong = document(WEEKEND | {"actions": ["agent:fly"]}, PAYROLL | {"colour": "red"})
    problem = assert_problem(await admin.put(POLICIES, json=wrong), 422, "policy_invalid")
    assert [one["path"] for one in problem["problems"]] == ["rules[0].actions[0]", "rules[1].colour"]
    assert problem["count"] == 2
    tried = await admin.post(TRY, json={"document": wrong, "cases": [RUN | {"roles": ["operator"]}]})
    assert assert_problem(tried, 422, "policy_invalid")["problems"] == problem["problems"]
    assert (await admin.get(POLICIES)).json()["version"] == 0


@pytest.mark.parametrize("body", [None, [], "x", 7])
async def test_a_document_is_an_object(admin: httpx.AsyncClient, body: object) -> None:
    assert_problem(await admin.put(POLICIES, json=body), 422, "request_invalid")


async def test_an_author_gives_only_what_they_hold(
    client_for: ClientFor, admin: httpx.AsyncClient, tenant: str
) -> None:
    await admin.post("/api/v1/admin/roles", json={"name": "Deputy", "permissions": ["policy:manage"]})
    deputy = client_for(tenant, "dan", ["custom:deputy"])
    problem = assert_problem(await deputy.put(POLICIES, json=document(PAYROLL)), 403, "permission_denied")
    assert problem["permission"] == "agent:execute"
    assert (await deputy.put(POLICIES, json=document(WEEKEND))).json()["saved_by"] == "dan"


async def test_each_tenant_has_its_own_document(client_for: ClientFor, admin: httpx.AsyncClient, tenant: str) -> None:
    await admin.put(POLICIES, json=document(WEEKEND))
    stranger = client_for(f"{tenant}-other", "ada", ["admin"])
    assert (await stranger.get(POLICIES)).json()["version"] == 0
    assert (await stranger.put(POLICIES, json=document(PAYROLL))).json()["version"] == 1
    assert (await admin.get(POLICIES)).json()["document"] == document(WEEKEND)


async def test_a_dry_run_explains_both_answers_and_saves_nothing(
    client_for: ClientFor, admin: httpx.AsyncClient, tenant: str
) -> None:
    await client_for(tenant, "vera", ["viewer"]).get("/api/v1/me")
    await admin.put(POLICIES, json=document(WEEKEND))
    cases = [
        RUN | {"roles": ["operator"], "at": SATURDAY},
        RUN | {"roles": ["operator"], "at": MONDAY},
        RUN | {"user_id": "vera"},
    ]
    answer = await admin.post(TRY, json={"document": document(PAYROLL), "cases": cases})
    saturday, monday, vera = answer.json()["items"]
    assert saturday["current"] == {
        "allowed": False,
        "reason": "denied by rule 'no-weekend-runs': Nobody works on weekends.",
        "base": "held",
        "rules": [
            {"rule_id": "no-weekend-runs", "effect": "deny", "applies": True, "reason": "all that it states holds"}
        ],
    }
    assert (saturday["proposed"]["allowed"], saturday["changes"]) == (True, True)
    assert (monday["current"]["allowed"], monday["changes"]) == (True, False)
    why = "when[0]: mon 13:00 in Europe/Berlin is outside its hours"
    assert [one["reason"] for one in monday["current"]["rules"]] == [why]
    assert (vera["current"]["base"], vera["current"]["allowed"], vera["changes"]) == ("missing", False, True)
    assert vera["proposed"]["reason"] == "allowed by rule 'payroll'"
    assert (await admin.get(POLICIES)).json()["version"] == 1


async def test_without_a_document_the_answers_of_now_are_explained(admin: httpx.AsyncClient) -> None:
    tagged = WEEKEND | {"when": [{"resource_tags": {"has_any": ["secret"]}}]}
    await admin.put(POLICIES, json=document(tagged))
    secret = {"action": "agent:execute", "resource": BOT | {"tags": ["secret"]}, "roles": ["operator"]}
    found = (await admin.post(TRY, json={"cases": [secret, RUN | {"roles": ["operator"]}]})).json()["items"]
    assert [one["current"]["allowed"] for one in found] == [False, True]
    assert [(one["proposed"], one["changes"]) for one in found] == [(None, False)] * 2


async def test_people_of_another_tenant_are_not_there(
    client_for: ClientFor, admin: httpx.AsyncClient, tenant: str
) -> None:
    await client_for(f"{tenant}-other", "only-there", ["viewer"]).get("/api/v1/me")
    answers = [await admin.post(TRY, json={"cases": [RUN | {"user_id": name}]}) for name in ("only-there", "not-there")]
    for answer in answers:
        problem = assert_problem(answer, 422, "policy_cases_invalid")
        assert problem["problems"] == [{"path": "cases[0].user_id", "problem": "names no active user."}]


@pytest.mark.parametrize(
    "case",
    [
        RUN,
        RUN | {"user_id": "vera", "roles": []},
        RUN | {"user_id": "vera", "key_id": "k", "attributes": {"department": "hr"}},
        RUN | {"roles": [], "key_id": "k"},
        RUN | {"roles": [], "action": "agent:fly"},
        RUN | {"roles": [], "resource": {"type": "agents"}},
        RUN | {"roles": [], "at": "2026-01-17T12:00:00"},
        RUN | {"roles": [], "at": "0001-01-01T00:00:00+14:00"},
        RUN | {"roles": [], "at": 1_768_000_000},
        RUN | {"roles": [], "tenant_id": "other"},
    ],
)
async def test_a_case_that_makes_no_sense(admin: httpx.AsyncClient, case: dict[str, object]) -> None:
    assert_problem(await admin.post(TRY, json={"cases": [case]}), 422, "request_invalid")


@pytest.mark.parametrize("count", [0, 101])
async def test_a_dry_run_takes_so_many_cases(admin: httpx.AsyncClient, count: int) -> None:
    cases = [RUN | {"roles": ["operator"]}] * count
    assert_problem(await admin.post(TRY, json={"cases": cases}), 422, "request_invalid")


async def test_a_document_that_cannot_be_read_stops_everybody_and_an_administrator_replaces_it(
    gateway: Gateway, client_for: ClientFor, admin: httpx.AsyncClient, tenant: str
) -> None:
    olga = client_for(tenant, "olga", ["operator"])
    await admin.put(POLICIES, json=document(WEEKEND))
    async with gateway.parts.database.tenant(tenant) as records:
        await records.policies.add({"version": 2, "rules": []}, "the future", gateway.parts.clock())
    assert_problem(await answering(olga, 503), 503, "policy_unreadable")
    assert (await admin.get(POLICIES)).json()["document"] == {"version": 2, "rules": []}
    case = {"cases": [RUN | {"roles": ["operator"]}]}
    assert_problem(await admin.post(TRY, json=case), 503, "policy_unreadable")
    assert (await admin.put(POLICIES, json=document())).json()["version"] == 3
    assert (await admin.post(TRY, json=case)).status_code == 200
    await answering(olga, 200)


async def answering(client: httpx.AsyncClient, status: int) -> httpx.Response:
    """The first answer with this status: what was saved counts within a second."""
    async with asyncio.timeout(60):
        while True:
            answer = await client.get("/api/v1/runs")
            if answer.status_code == status:
                return answer
            await asyncio.sleep(0.05)
