"""`taskforce sla`, against a scripted gateway."""

import csv
import io
import json
from collections.abc import Callable

from tests.cli.conftest import Done
from tests.cli.stub_gateway import AT, Entry, StubGateway

Serve = Callable[[list[Entry]], StubGateway]
Cli = Callable[..., Done]
PATH = "/admin/sla"
SUMS = {
    "total_requests": 1_200,
    "total_errors": 3,
    "error_rate_percent": 0.25,
    "latency_mean_seconds": 0.1,
    "latency_p50_seconds": 0.08,
    "latency_p95_seconds": 0.4,
    "latency_p99_seconds": 1.25,
}
BURN = {
    "1h": {"availability": 20.0, "latency": 0.5, "alarm": 14.4, "alarming": True},
    "6h": {"availability": 2.5, "latency": None, "alarm": 6.0, "alarming": False},
    "3d": {"availability": 0.4, "latency": None, "alarm": 1.0, "alarming": False},
}
EXECUTE = {**SUMS, "kind": "endpoint", "name": "/api/v1/agents/execute", "objective": None, "burn": BURN}
AGENT: dict[str, object] = {**SUMS, "kind": "agent", "name": "=cmd\u202e[bold]", "objective": None, "burn": {}}
REPORT = {**SUMS, "tenant_id": "acme", "since": AT, "until": AT, "items": [EXECUTE, AGENT], "next_cursor": None}


def test_service_levels_are_shown_with_what_burns(gateway: Serve, taskforce: Cli) -> None:
    gateway([]).documents[PATH] = REPORT
    shown = taskforce("sla").out
    assert "acme  1200 requests, 0.25 % errors, P95 0.400 s" in shown
    flat = " ".join(shown.split())
    assert "0.080 s 0.400 s 1.250 s 20.0 ! 2.5 0.4" in flat
    assert r"=cmd\u202e[bold]" in flat.replace(" ", "")


def test_a_period_without_calls_is_said(gateway: Serve, taskforce: Cli) -> None:
    gateway([]).documents[PATH] = {**REPORT, "items": []}
    assert taskforce("sla", "--window", "1h").out.endswith("Nothing was called in this period.\n")


def test_programs_get_json_or_csv_whole_and_not_both(gateway: Serve, taskforce: Cli) -> None:
    gateway([]).documents[PATH] = REPORT
    assert json.loads(taskforce("sla", "--json").out)["items"] == [EXECUTE, AGENT]
    execute, agent = csv.DictReader(io.StringIO(taskforce("sla", "--csv").out))
    assert (execute["name"], execute["total_requests"], execute["burn_availability_1h"]) == (
        "/api/v1/agents/execute",
        "1200",
        "20.0",
    )
    # No spreadsheet takes a name for a formula.
    assert agent["name"].startswith("'=")
    assert agent["burn_latency_3d"] == ""
    both = taskforce("sla", "--csv", "--json")
    assert both.code != 0
    assert "options_conflict" in both.out
