"""`taskforce doctor` on this very machine."""

import json
import socket
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from cli.doctor import doctor
from cli.stack.ports import free_port

app = typer.Typer()
app.command()(doctor)


@pytest.fixture(autouse=True)
def _quiet_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "MIGRATION_DATABASE_URL", "TEMPORAL_ADDRESS", "TASKFORCE_MODEL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("TASKFORCE_PORT", "TEMPORAL_PORT", "TEMPORAL_UI_PORT"):
        monkeypatch.setenv(name, str(free_port()))
    monkeypatch.setenv("TASKFORCE_HOME", str(tmp_path / "home"))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def found(result: Result) -> dict[str, dict[str, object]]:
    return {check["name"]: check for check in json.loads(result.stdout)["checks"]}


def test_it_lists_what_is_needed_as_json() -> None:
    result = run("--json")
    checks = found(result)
    assert {"python", "home", "disk", "temporal", "postgres", "time skipping", "model", "migrations"} <= checks.keys()
    assert checks["postgres"]["ok"] is True
    healthy = all(check["ok"] for check in checks.values() if check["required"])
    assert result.exit_code == (0 if healthy else 1)


def test_a_taken_port_fails_it_and_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("TASKFORCE_PORT", str(port))
        result = run("--json")
    assert result.exit_code == 1
    assert "TASKFORCE_PORT" in str(found(result)[f"port {port}"]["advice"])


def test_a_setting_that_cannot_be_used_is_a_finding_not_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKFORCE_PORT", "many")
    result = run("--json")
    assert result.exit_code == 1
    assert "TASKFORCE_PORT" in str(found(result)["settings"]["found"])


def test_an_external_database_and_temporal_that_do_not_answer_are_findings(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = free_port()
    monkeypatch.setenv("DATABASE_URL", f"postgresql://app:hidden-word@127.0.0.1:{nobody}/taskforce")
    monkeypatch.setenv("TEMPORAL_ADDRESS", f"127.0.0.1:{nobody}")
    result = run("--json")
    assert result.exit_code == 1
    assert found(result)["postgres"]["ok"] is False
    assert found(result)["temporal"]["ok"] is False
    assert "hidden-word" not in result.stdout


def test_people_get_a_table() -> None:
    assert "python" in run().stdout
