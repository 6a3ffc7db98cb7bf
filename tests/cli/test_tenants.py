"""`taskforce tenants delete` asks, follows and reports."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable

from tests.cli.conftest import REPOSITORY, Done
from tests.cli.stub_gateway import Entry, StubGateway, problem

Serve = Callable[[list[Entry]], StubGateway]
Cli = Callable[..., Done]
DELETE = ("DELETE", "/admin/tenants/acme")


def report(status: str, **more: object) -> dict[str, object]:
    log = {"kept_until": "2026-01-02T00:00:00Z", "anchor": None, "seq": None, "hash": None}
    told = {"tenant_id": "acme", "requested_by": "pia", "requested_at": "2026-01-01T00:00:00Z", "runs_until": None}
    parts: dict[str, object] = {
        "phases": [],
        "runs_ended": None,
        "erased": {},
        "log": log,
        "histories": None,
        "remains": [],
    }
    return {**told, **parts, "status": status, **more}


LAST = report(
    "keeping_log",
    phases=[{"phase": "runs_ended", "at": "2026-01-01T00:00:09Z"}],
    runs_ended={"cancelled": 2},
    erased={"runs": 3, "users": 1},
    histories={"deleted": 4, "left": 0},
    remains=["Backups.\x1b[31m"],
)


def test_a_deletion_is_followed_until_all_but_the_log_is_erased(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway([])
    until = "2026-01-01T00:10:00Z"
    stub.reports = [report("requested"), report("ending_runs", runs_until=until), report("erasing"), LAST]
    done = taskforce("tenants", "delete", "acme", "--drain", "600", "--yes")
    assert done.code == 0
    assert [line for line in done.err.splitlines() if line.startswith("acme: ")] == [
        "acme: waiting for a worker",
        f"acme: ending its runs, which have time until {until}",
        "acme: erasing",
        "acme: all but the audit log is erased",
    ]
    for part in (
        "by pia",
        "runs ended",
        "cancelled 2",
        "runs 3, users 1",
        "deleted 4",
        "kept until 2026-01-02",
        "Back",
    ):
        assert part in done.out
    assert "\x1b" not in done.out
    assert stub.asked[0] == (*DELETE, {"runs": "drain", "drain_seconds": "600"})


def test_json_is_the_report_and_nothing_else(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway([])
    stub.reports = [report("requested"), LAST]
    done = taskforce("tenants", "delete", "acme", "--yes", "--json")
    assert (done.code, json.loads(done.out), done.err) == (0, LAST, "")
    assert stub.asked[0] == (*DELETE, {})
    assert json.loads(taskforce("tenants", "report", "acme", "--json").out) == LAST


def test_the_end_of_the_log_is_shown_once_it_is_known(gateway: Serve, taskforce: Cli) -> None:
    anchor = f"acme:7:{'a' * 64}"
    gateway([]).reports = [report("done", log={"kept_until": "x", "anchor": anchor})]
    assert f"ended at {anchor}" in taskforce("tenants", "report", "acme").out


def test_nothing_is_deleted_unless_somebody_says_so(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway([])
    stub.reports = [LAST]
    done = taskforce("tenants", "delete", "acme")
    assert done.code == 2
    assert "not_confirmed" in done.err
    assert stub.asked == []


def test_whoever_is_asked_types_the_id(gateway: Serve, environment: dict[str, str]) -> None:
    stub = gateway([])
    stub.reports = [LAST]
    assert typed("acne", environment) == 2
    assert stub.asked == []
    assert typed("acme", environment) == 0
    assert stub.asked[0] == (*DELETE, {})


def typed(text: str, environment: dict[str, str]) -> int:
    terminal, inside = pty.openpty()
    command = [sys.executable, "-m", "cli", "tenants", "delete", "acme"]
    with subprocess.Popen(
        command, stdin=inside, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=REPOSITORY, env=environment
    ) as process:
        os.close(inside)
        os.write(terminal, f"{text}\n".encode())
        code = process.wait(timeout=60)
    os.close(terminal)
    return code


def test_refusals_end_as_other_commands_do(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway([])
    for answer, code in (
        (problem(403, "operator_only", "Only the operator."), 6),
        (problem(404, "tenant_not_found", "There is no such tenant."), 7),
        (problem(409, "not_your_own", "Not your own."), 8),
        (problem(422, "drain_invalid", "Too long."), 2),
    ):
        stub.answers["/admin/tenants/acme"] = answer
        assert taskforce("tenants", "delete", "acme", "--yes").code == code
    del stub.answers["/admin/tenants/acme"]
    stub.reports = [report("requested")]
    stub.answers["/admin/tenants/acme/deletion"] = problem(503, "database_unavailable", "Away.")
    done = taskforce("tenants", "delete", "acme", "--yes")
    assert done.code == 9
    assert "The deletion goes on: taskforce tenants report acme" in done.err
