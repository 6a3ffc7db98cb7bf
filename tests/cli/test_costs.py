"""`taskforce costs`: a preview with bars, files, and the life of a report."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from starlette.responses import Response

from cli.costs_view import report_view, reports_table
from cli.documents import Document
from cli.exits import Exit
from tests.cli.conftest import Done
from tests.cli.stub_gateway import Entry, StubGateway, problem

Serve = Callable[[list[Entry]], StubGateway]
Cli = Callable[..., Done]
COSTS, REPORT, REPORTS = "/admin/costs", "/admin/costs/report", "/admin/costs/reports"
ID = "019300aa-0000-7000-8000-000000000001"
DAYS = "/admin/usage/aggregation"
USAGE = {
    "items": [
        {
            "start": f"2026-11-0{day}T00:00:00+05:30",
            "sums": {"costs": [{"currency": "USD", "amount": amount}, {"currency": "EUR", "amount": "9"}]},
        }
        for day, amount in ((3, "2.000"), (4, "1"))
    ]
}
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


def test_bars_of_days_and_groups_a_table_of_lines_and_the_total_are_shown(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway([])
    stub.documents |= {COSTS: DOCUMENT, DAYS: USAGE}
    shown = taskforce("costs", "--from", "2026-11", "--by", "department", env={"COLUMNS": "120"})
    assert shown.code == Exit.OK, shown.err
    month = {"start": "2026-11-01", "end": "2026-11-30"}
    assert stub.asked == [("GET", COSTS, {**month, "group_by": "department"}), ("GET", DAYS, {**month, "step": "day"})]
    assert "2026-11 (Asia/Kolkata)  preview" in shown.out
    assert f"2026-11-03 {'█' * 40} 2 USD" in shown.out
    assert f"2026-11-04 {'█' * 20}{' ' * 20} 1 USD" in shown.out
    assert f"eng   {'█' * 40} 3.09 USD" in shown.out
    assert "EUR" not in shown.out
    for text in ("3.09 USD", "model, openai/gpt-4o, cache write", "1,234,567 tokens", "~2.5 per 1M"):
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
    listed = taskforce("costs", "list").out.splitlines()[1]
    assert listed.split() == [ID, "draft", "2026-11", "department", "2.59", "USD"]
    assert json.loads(taskforce("costs", "list", "--json").out)["items"][0]["report_id"] == ID
    assert json.loads(taskforce("costs", "show", ID[:10], "--json").out) == made
    assert "end_missing" in taskforce("costs", "report", "--from", "2026-11-05").err


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ({"unit_price": "0.00000131125513752766361"}, "~1.31126 per 1M"),
        ({"unit_price": "0.0000025", "averaged": False}, "  2.5 per 1M"),
        ({"unit_price": "0.013", "averaged": False, "unit": "executions"}, "  0.013"),
        ({"unit_price": "0.333333333333333333333333", "unit": "records"}, "~0.333333"),
        ({"unit_price": None}, "  -"),
    ],
)
def test_prices_are_those_of_a_million_tokens_and_averages_are_short(
    gateway: Serve, taskforce: Cli, line: dict[str, object], shown: str
) -> None:
    stub = gateway([])
    stub.documents |= {f"{REPORTS}/{ID}": {**DOCUMENT, "unpriced": [], "lines": [{**LINE, **line}]}}
    assert f"{shown}    3.09\n" in taskforce("costs", "show", ID).out


@pytest.mark.parametrize(
    ("start", "end", "shown"),
    [
        ("2026-11-30T18:30", "2026-12-31T18:30", "2026-12"),
        ("2026-11-30T18:30", "2026-12-01T18:30", "2026-12-01"),
        ("2026-10-31T18:30", "2026-12-31T18:30", "2026-11-01 to 2026-12-31"),
        ("2026-11-30T18:30", "2026-12-31T18:45", "2026-12-01 00:00 to 2027-01-01 00:15"),
        ("2026-11-01T00:00", "2026-11-01T00:15", "2026-11-01 05:30 to 05:45"),
        ("2026-11-01T00:00", "2026-12-01T00:00", "2026-11-01 05:30 to 2026-12-01 05:30"),
    ],
)
def test_a_period_is_told_as_people_name_it(start: str, end: str, shown: str) -> None:
    report = {**DOCUMENT, "start": f"{start}:00+00:00", "end": f"{end}:00+00:00", "totals": []}
    assert str(next(report_view(Document(report), 80))) == f"{shown} (Asia/Kolkata)  preview"


@pytest.mark.parametrize(("columns", "shown"), [(80, f"{ID[:13]}  issued"), (120, f"{ID}  issued")])
def test_a_list_fits_the_terminal(columns: int, shown: str) -> None:
    totals = [{"currency": "USD", "total": "12345.60"}]
    out = io.StringIO()
    report = Document({**DOCUMENT, "report_id": ID, "status": "issued", "totals": totals})
    Console(file=out, width=columns).print(reports_table([report], columns))
    assert shown in out.getvalue()
    assert "12345.60 USD" in out.getvalue()


@pytest.mark.parametrize("columns", [80, 120])
def test_lines_fit_the_terminal(columns: int) -> None:
    out = io.StringIO()
    console = Console(file=out, width=columns, force_terminal=True, color_system=None)
    for part in report_view(Document(DOCUMENT), columns, Document(USAGE)):
        console.print(part)
    assert max(len(line.rstrip()) for line in out.getvalue().splitlines()) <= columns
    for text in ("1,234,567 tokens", "~2.5 per 1M", "3.09 USD", "QUANTITY"):
        assert text in out.getvalue()
    assert "…" not in out.getvalue()


def test_an_option_before_a_command_is_refused_and_not_forgotten(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway([])
    done = taskforce("costs", "--json", "list")
    assert (done.code, stub.asked) == (Exit.USAGE, [])
    assert "after the command" in done.err


@pytest.mark.parametrize("arguments", [("--by", "planet"), ("show", "../../users")])
def test_a_refusal_is_told(gateway: Serve, taskforce: Cli, arguments: tuple[str, ...]) -> None:
    stub = gateway([])
    stub.answers[COSTS] = problem(422, "dimension_unknown", "A report is grouped by: department.")
    done = taskforce("costs", *arguments)
    assert done.code != Exit.OK
    assert "dimension_unknown" in done.err or "id_invalid" in done.err
