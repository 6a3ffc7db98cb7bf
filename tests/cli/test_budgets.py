"""`taskforce budgets`, against a scripted gateway."""

import csv
import io
import json
from collections.abc import Callable

from starlette.responses import JSONResponse, Response

from tests.cli.conftest import Done
from tests.cli.stub_gateway import AT, Entry, StubGateway, problem

Serve = Callable[[list[Entry]], StubGateway]
Cli = Callable[..., Done]
PATH = "/admin/budgets"
LEDGER = {
    "budget_id": "b-1",
    "name": "Team",
    "subject": "",
    "unit": "money",
    "currency": "USD",
    "period_start": AT,
    "limit": "100",
    "raised_by": "0",
    "spent": "50",
    "reserved": "25",
    "left": "25",
    "soft_passed": True,
}
BUDGET = {
    "budget_id": "b-1",
    "name": "Team\u202e",
    "scope": "tenant",
    "scope_id": "",
    "unit": "money",
    "currency": "USD",
    "period": "month",
    "limit": "100",
    "soft": "0.8",
    "on_exceed": "ask",
    "unpriced": "refuse",
    "created_by": "ada",
    "created_at": AT,
    "updated_at": AT,
    "ledgers": [LEDGER],
}


def test_budgets_are_listed_with_what_is_left(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway([])
    stub.documents[PATH] = {"items": [], "next_cursor": None}
    assert taskforce("budgets", "list").out.startswith("No budget")
    stub.documents[PATH] = {"items": [BUDGET], "next_cursor": None}
    shown = taskforce("budgets", "list").out
    for part in (
        r"Team\u202e  100 USD per month, tenant, at the limit: ask",
        "  " + "█" * 12 + "▒" * 6 + "░" * 6 + " all  spent 50  reserved 25  left 25 USD, past the soft limit",
        "  b-1",
    ):
        assert part in shown
    assert json.loads(taskforce("budgets", "list", "--json").out)["items"] == [BUDGET]


def test_programs_get_a_ledger_a_line(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway([])
    unused = {**BUDGET, "budget_id": "b-2", "name": "=cmd", "ledgers": []}
    several = {
        **BUDGET,
        "scope": "user",
        "scope_id": "*",
        "ledgers": [LEDGER, {**LEDGER, "subject": "ada", "left": "-5"}],
    }
    stub.documents[PATH] = {"items": [several, unused], "next_cursor": None}
    first, second, third = csv.DictReader(io.StringIO(taskforce("budgets", "list", "--csv").out))
    assert (first["budget_id"], first["scope"], first["period"], first["spent"]) == ("b-1", "user", "month", "50")
    assert (second["subject"], second["left"], second["soft_passed"]) == ("ada", "-5", "true")
    # No spreadsheet takes a name for a formula.
    assert (third["name"], third["limit"], third["spent"]) == ("'=cmd", "100", "")
    stub.documents["/me/budgets"] = {"items": [LEDGER]}
    (own,) = csv.DictReader(io.StringIO(taskforce("budgets", "list", "--mine", "--csv").out))
    assert (own["name"], own["scope"], own["left"]) == ("Team", "", "25")
    assert "options_conflict" in taskforce("budgets", "list", "--csv", "--json").out


def test_a_bar_holds_whatever_a_ledger_says(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway([])
    full = {**LEDGER, "limit": "0"}
    over = {**LEDGER, "spent": "500", "reserved": "1e9"}
    stub.documents["/me/budgets"] = {"items": [full, over, {**LEDGER, "spent": "x"}]}
    shown = taskforce("budgets", "list", "--mine").out
    assert shown.count("█" * 24 + " Team") == 2


def test_a_limit_names_its_unit(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway([])
    stub.answers[PATH] = JSONResponse(BUDGET, 201)
    for text, sent in (
        ("100USD", {"limit": "100", "unit": "money", "currency": "USD"}),
        ("2.50 EUR", {"limit": "2.50", "unit": "money", "currency": "EUR"}),
        ("5_000_000tokens", {"limit": "5000000", "unit": "tokens"}),
        ("20runs", {"limit": "20", "unit": "runs"}),
    ):
        assert taskforce("budgets", "set", "Team", text, "--scope", "user", "--on-exceed", "stop").code == 0
        *_, (_, _, asked) = stub.asked
        assert {name: asked[name] for name in sent} == sent
        assert (asked["scope"], asked["scope_id"], asked["on_exceed"], asked["period"]) == (
            "user",
            "*",
            "stop",
            "month",
        )
    refused = taskforce("budgets", "set", "Team", "100")
    assert (refused.code, "100USD" in refused.err) == (2, True)


def test_a_budget_is_changed_shown_and_removed(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway([])
    stub.answers[f"{PATH}/b-1"] = problem(409, "budget_below_spent", "50 USD are spent already.")
    refused = taskforce("budgets", "set", "Team", "10USD", "--change", "b-1")
    assert (refused.code != 0, "50 USD are spent already." in refused.err) == (True, True)
    del stub.answers[f"{PATH}/b-1"]
    stub.documents[f"{PATH}/b-1"] = BUDGET
    assert "left 25 USD" in taskforce("budgets", "show", "b-1").out
    stub.answers[f"{PATH}/b-1"] = Response(status_code=204)
    assert taskforce("budgets", "delete", "b-1").out.startswith("Removed.")
