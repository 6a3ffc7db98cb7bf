import subprocess
import sys
from collections.abc import Callable

from typer.testing import CliRunner

from cli.main import app
from tests.cli.conftest import REPOSITORY, Done


def test_help_names_all_commands_and_exit_codes() -> None:
    shown = CliRunner().invoke(app, ["--help"]).stdout
    for name in (
        "up",
        "doctor",
        "token",
        "run",
        "runs",
        "show",
        "cancel",
        "say",
        "approvals",
        "approve",
        "reject",
        "kill-switches",
        "tenants",
    ):
        assert f" {name} " in shown
    assert "130 interrupted" in shown


def test_help_loads_nothing_heavy() -> None:
    heavy = {"httpx", "pydantic", "sqlalchemy", "temporalio", "litellm", "cli.up", "cli.doctor", "rich.markdown"}
    program = f"import sys, cli.main; sys.exit(','.join({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


def test_an_unknown_command_is_wrong_usage(taskforce: Callable[..., Done]) -> None:
    done = taskforce("fly")
    assert (done.code, done.out) == (2, "")
