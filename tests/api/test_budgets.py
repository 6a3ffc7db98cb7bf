"""A tenant's budgets over HTTP."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from taskforce.application.metering import budgets
from taskforce.core.domain.metering.budget_ledgers import Draw
from taskforce.core.domain.metering.budgets import LedgerKey
from taskforce.core.interfaces.repositories.budgets import CallKey
from tests.api.gateway import MODEL, ClientFor, Gateway, assert_problem, execute

BUDGETS = "/api/v1/admin/budgets"
TEAM = {"name": "Team", "scope": "tenant", "unit": "money", "currency": "USD", "period": "month", "limit": "100"}
AUDITED = sa.text("SELECT * FROM audit_events WHERE resource_type = 'budget' ORDER BY audit_id")


@pytest.fixture
def admin(client_for: ClientFor, tenant: str) -> httpx.AsyncClient:
    return client_for(tenant, "ada", ["admin"])


async def made(admin: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    """Makes a budget that must be taken."""
    answer = await admin.post(BUDGETS, json={**TEAM, **changes})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def spend(gateway: Gateway, tenant: str, budget_id: str, amount: int, subject: str = "") -> None:
    """Adds what a tool would have used this month."""
    start = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    async with gateway.parts.database.tenant(tenant) as records:
        budget = await records.budgets.get(budget_id)
        assert budget is not None
        draw = Draw(budget, LedgerKey(budget_id, subject, start), Decimal(amount))
        await records.budgets.settle(CallKey("00000000-0000-7000-8000-000000000000", 1, 1, 1), [draw], start)


async def test_a_budget_is_made_read_changed_and_removed(
    gateway: Gateway, client_for: ClientFor, admin: httpx.AsyncClient, tenant: str
) -> None:
    budget = await made(admin)
    path = f"{BUDGETS}/{budget['budget_id']}"
    assert (budget["scope_id"], budget["soft"], budget["on_exceed"], budget["ledgers"]) == ("", "0.8", "ask", [])
    await spend(gateway, tenant, budget["budget_id"], 90)
    auditor = client_for(tenant, "aud", ["auditor"])
    (ledger,) = (await auditor.get(path)).json()["ledgers"]
    assert (ledger["spent"], ledger["left"], ledger["soft_passed"]) == ("90", "10", True)
    assert (await auditor.get(BUDGETS)).json()["items"][0]["ledgers"] == [ledger]
    assert_problem(await admin.put(path, json={**TEAM, "limit": "80"}), 409, "budget_below_spent")
    assert_problem(await admin.put(path, json={**TEAM, "unit": "tokens", "currency": None}), 422, "budget_invalid")
    lowered = await admin.put(path, json={**TEAM, "limit": "80"}, params={"force": "true"})
    assert (lowered.json()["limit"], lowered.json()["ledgers"][0]["left"]) == ("80", "0")
    assert (await admin.put(path, json={**TEAM, "limit": "85.5", "name": "Us"})).json()["name"] == "Us"
    assert (await admin.delete(path)).status_code == 204
    for answer in (await admin.delete(path), await admin.get(path), await admin.put(path, json=TEAM)):
        assert_problem(answer, 404, "budget_not_found")
    async with gateway.parts.database.tenant(tenant) as records:
        rows = await records.users._connection.all(AUDITED)
    actions = ["budget.create", "budget.change", "budget.change", "budget.remove"]
    assert [row.action for row in rows] == actions
    assert rows[-1].details["before"]["limit"] == "85.5"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"currency": "USX"}, "currency_unknown"),
        ({"limit": "-1"}, "amount_invalid"),
        ({"limit": "1000000000000"}, "amount_invalid"),
        ({"limit": 5}, "request_invalid"),
        ({"scope": "planet"}, "request_invalid"),
        ({"currency": None}, "budget_invalid"),
        ({"soft": "2"}, "budget_invalid"),
        ({"scope_id": "x"}, "budget_invalid"),
    ],
)
async def test_what_cannot_be_kept_is_refused(admin: httpx.AsyncClient, changes: dict[str, Any], code: str) -> None:
    assert_problem(await admin.post(BUDGETS, json={**TEAM, **changes}), 422, code)
    assert (await admin.get(BUDGETS)).json()["items"] == []


async def test_who_may_what(client_for: ClientFor, admin: httpx.AsyncClient, tenant: str) -> None:
    budget = await made(admin)
    path = f"{BUDGETS}/{budget['budget_id']}"
    auditor, operator = client_for(tenant, "aud", ["auditor"]), client_for(tenant, "op", ["operator"])
    assert (await auditor.get(path)).json() == budget
    for answer in (
        await auditor.post(BUDGETS, json=TEAM),
        await auditor.put(path, json=TEAM),
        await auditor.delete(path),
        await operator.get(BUDGETS),
    ):
        assert_problem(answer, 403, "permission_denied")
    stranger = client_for(f"{tenant}-other", "eve", ["admin"])
    assert_problem(await stranger.get(path), 404, "budget_not_found")


async def test_budgets_are_listed_page_by_page_and_bounded(
    admin: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budgets, "MAX_BUDGETS", 3)
    names = [(await made(admin, name=name))["name"] for name in "abc"]
    assert_problem(await admin.post(BUDGETS, json=TEAM), 409, "budgets_limit_reached")
    found: list[str] = []
    cursor: str | None = None
    while True:
        page = (await admin.get(BUDGETS, params={"limit": 2, **({"cursor": cursor} if cursor else {})})).json()
        found += [one["name"] for one in page["items"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert found == names
    assert (await admin.get(BUDGETS, params={"scope": "user"})).json()["items"] == []


async def test_everybody_sees_what_is_left_for_them(
    gateway: Gateway, client_for: ClientFor, admin: httpx.AsyncClient, tenant: str
) -> None:
    everybody = client_for(tenant, "op", ["operator"])
    assert (await everybody.get("/api/v1/me/budgets")).json() == {"items": []}
    mine = await made(admin, scope="user", unit="tokens", currency=None, limit="1000")
    await made(admin, scope="user", scope_id="somebody-else")
    await spend(gateway, tenant, mine["budget_id"], 400, "op")
    (ledger,) = (await everybody.get("/api/v1/me/budgets")).json()["items"]
    assert (ledger["budget_id"], ledger["subject"], ledger["left"]) == (mine["budget_id"], "op", "600")


async def test_execute_says_what_is_left_from_the_soft_limit_on(
    gateway: Gateway, client_for: ClientFor, admin: httpx.AsyncClient, tenant: str
) -> None:
    money = await made(admin, limit="10", currency="EUR")
    tokens = await made(admin, scope="user", unit="tokens", currency=None, limit="1000")
    operator, asked = client_for(tenant, "op", ["operator"]), {"mission": "Say hello.", "model": MODEL}

    async def header() -> str | None:
        answer = await operator.post("/api/v1/agents/execute", json=asked)
        assert answer.status_code == 202
        said: str | None = answer.headers.get("taskforce-budget-remaining")
        return said

    assert await header() is None
    await spend(gateway, tenant, money["budget_id"], 7)
    await spend(gateway, tenant, tokens["budget_id"], 900, "somebody-else")
    assert await header() is None
    await spend(gateway, tenant, money["budget_id"], 1)
    assert await header() == f'"2";unit="EUR";limit="10";budget="{money["budget_id"]}"'
    await spend(gateway, tenant, tokens["budget_id"], 800, "op")
    assert (await header() or "").split(", ")[1] == f'"200";unit="tokens";limit="1000";budget="{tokens["budget_id"]}"'


async def test_a_run_shows_its_budgets_to_its_user_and_to_those_who_read_budgets(
    gateway: Gateway, client_for: ClientFor, admin: httpx.AsyncClient, tenant: str
) -> None:
    mine = await made(admin, scope="user", unit="tokens", currency=None, limit="1000")
    await made(admin, scope="agent", scope_id="another-agent")
    owner, other = client_for(tenant, "op", ["operator"]), client_for(tenant, "otto", ["operator"])
    auditor = client_for(tenant, "aud", ["auditor"])
    run_id = (await execute(owner))["run_id"]
    await spend(gateway, tenant, mine["budget_id"], 400, "op")
    path = f"/api/v1/runs/{run_id}"
    (shown,) = (await owner.get(path)).json()["budgets"]
    assert (shown["budget_id"], shown["subject"], shown["left"]) == (mine["budget_id"], "op", "600")
    assert (await auditor.get(path)).json()["budgets"] == [shown]
    # Whoever may read the run, but no budgets, does not learn what its user has left.
    assert (await other.get(path)).json()["budgets"] == []
    assert [one["budgets"] for one in (await owner.get("/api/v1/runs")).json()["items"]] == [[]]


@pytest.mark.parametrize("limit", ["9" * 41, "1e400", "NaN", "Infinity", "-0.01", "", "0x10", "12345678901234.5"])
async def test_amounts_that_are_none_are_problems_and_never_errors(admin: httpx.AsyncClient, limit: str) -> None:
    answer = await admin.post(BUDGETS, json={**TEAM, "limit": limit})
    assert_problem(answer, 422, answer.json()["code"])
    assert answer.json()["code"] in {"amount_invalid", "request_invalid"}
