"""`taskforce costs`: a preview with bars, files, and the life of a report."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.responses import Response

from cli.exits import Exit
from tests.cli.conftest import Done
from tests.cli.stub_gateway import Entry, StubGateway, problem

Serve = Callable[[list[Entry]], StubGateway]
Cli = Callable[..., Done]
COSTS, REPORT, REPORTS = "/admin/costs", "/admin/costs/report", "/admin/costs/reports"
ID = "019300aa-0000-7000-8000-000000000001"
LINE = {
    "dimensions": {"department": "eng"},
    "other": False,
    "kind": "model",
    "model": "openai/gpt-4o",
    "part": "cache_write",
    "quantity": "1234567",
    "unit": "tokens",
    "unit_price": "0.0000025",
    "averaged": True,
    "currency": "USD",
    "amount": "3.09",
}
DOCUMENT = {
    "report_id": None,
    "status": "preview",
    "start": "2026-10-31T18:30:00+00:00",
    "end": "2026-11-30T18:30:00+00:00",
    "time_zone": "Asia/Kolkata",
    "group_by": ["department"],
    "totals": [
        {
            "currency": "USD",
            "total": "2.59",
            "groups": [
                {"dimensions": {"department": "eng"}, "other": False, "amount": "3.09"},
                {"dimensions": {}, "other": True, "amount": "0.00"},
            ],
        }
    ],
    "lines": [LINE],
    "unpriced": [{**LINE, "model": "own/x\x1b[2J", "unit_price": None, "amount": None, "currency": None}],
    "wasted": [{"tokens": 1_100}],
    "adjustments": [{"currency": "USD", "amount": "-0.50", "reason": "Volume\ndiscount", "author": "ada"}],
}


def test_a_bar_a_group_a_table_of_lines_and_the_total_are_shown(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway([])
    stub.documents[COSTS] = DOCUMENT
    shown = taskforce("costs", "--from", "2026-11", "--by", "department", env={"COLUMNS": "120"})
    assert shown.code == Exit.OK, shown.err
    assert stub.asked == [("GET", COSTS, {"start": "2026-11-01", "end": "2026-11-30", "group_by": "department"})]
    assert "2026-11-01 00:00 to 2026-12-01 00:00 (Asia/Kolkata)  preview" in shown.out
    assert "█" * 40 in shown.out
    for text in ("3.09 USD", "model, openai/gpt-4o, cache write", "1,234,567 tokens", "0.0000025 (average)"):
        assert text in shown.out
    assert "-0.50 USD: Volume\\ndiscount (ada)" in shown.out
    assert "Total 2.59 USD" in shown.out
    assert "is in no sum" in shown.out
    assert "1,100 tokens were wasted" in shown.out
    assert "\x1b[2J" not in shown.out


def test_nothing_has_cost_anything(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway([])
    stub.documents[COSTS] = {**DOCUMENT, "totals": [], "lines": [], "unpriced": [], "wasted": [], "group_by": []}
    assert "Nothing has cost anything." in taskforce("costs").out


def test_json_csv_and_focus_come_alone(gateway: Serve, taskforce: Cli, tmp_path: Path) -> None:
    stub = gateway([])
    stub.documents[COSTS] = DOCUMENT
    assert json.loads(taskforce("costs", "--json").out) == DOCUMENT
    stub.answers[COSTS] = Response("entry,amount\r\n", media_type="text/csv")
    assert taskforce("costs", "--csv").out == "entry,amount\n"
    assert stub.asked[-1] == ("GET", COSTS, {"format": "csv"})
    stub.answers[f"{REPORTS}/{ID}"] = Response("BilledCost\r\n", media_type="text/csv")
    file = tmp_path / "focus.csv"
    done = taskforce("costs", "show", ID, "--focus", str(file))
    assert (done.code, done.out, file.read_bytes()) == (Exit.OK, "", b"BilledCost\r\n")
    assert stub.asked[-1] == ("GET", f"{REPORTS}/{ID}", {"format": "focus"})
    assert "file_not_written" in taskforce("costs", "show", ID, "--focus", str(tmp_path)).err
    assert taskforce("costs", "--csv", "--json").code == Exit.USAGE


def test_a_report_is_made_adjusted_issued_and_listed(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway([])
    made = {**DOCUMENT, "report_id": ID, "status": "draft"}
    stub.documents |= {
        REPORT: made,
        f"{REPORTS}/{ID}": made,
        f"{REPORTS}/{ID}/adjustments": made,
        f"{REPORTS}/{ID}/issue": {**made, "status": "issued", "issued_by": "ada"},
        REPORTS: {"items": [{**made, "totals": [{"currency": "USD", "total": "2.59"}]}], "next_cursor": None},
    }
    assert ID in taskforce("costs", "report", "--from", "2026-11", "--by", "department, tag:x").out
    body = {"start": "2026-11-01", "end": "2026-11-30", "time_zone": None, "group_by": ["department", "tag:x"]}
    assert stub.posted(REPORT) == [body]
    taskforce("costs", "adjust", ID, "--currency", "EUR", "-m", "Volume discount", "--", "-0.5")
    adjustment = {"amount": "-0.5", "currency": "EUR", "reason": "Volume discount"}
    assert stub.posted("/adjustments") == [adjustment]
    assert "issued by ada" in taskforce("costs", "issue", ID).out
    listed = taskforce("costs", "list", env={"COLUMNS": "140"}).out
    assert "2.59 USD" in listed
    assert ID in listed
    assert json.loads(taskforce("costs", "list", "--json").out)["items"][0]["report_id"] == ID
    assert json.loads(taskforce("costs", "show", ID, "--json").out) == made
    assert "end_missing" in taskforce("costs", "report", "--from", "2026-11-05").err


@pytest.mark.parametrize("arguments", [("--by", "planet"), ("show", "../../users")])
def test_a_refusal_is_told(gateway: Serve, taskforce: Cli, arguments: tuple[str, ...]) -> None:
    stub = gateway([])
    stub.answers[COSTS] = problem(422, "dimension_unknown", "A report is grouped by: department.")
    done = taskforce("costs", *arguments)
    assert done.code != Exit.OK
    assert "dimension_unknown" in done.err or "not_found" in done.err
