import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.stub_gateway import Entry, StubGateway

REPOSITORY = Path(__file__).resolve().parents[2]
SECRET = "0123456789abcdef0123456789abcdef"


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment in which nothing of the developer's own shows."""
    foreign = ("TASKFORCE_", "TEMPORAL_", "JWT_", "DATABASE_", "MIGRATION_", "NO_COLOR", "FORCE_COLOR", "COLUMNS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {**kept, "PYTHONPATH": str(REPOSITORY), "TASKFORCE_HOME": str(tmp_path / "home"), "LANG": "C.UTF-8"}


@pytest.fixture
def taskforce(environment: dict[str, str], tmp_path: Path) -> Callable[..., Done]:
    """Runs the command as a script does."""

    def run(*arguments: str, env: Mapping[str, str] | None = None, given: str = "") -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "cli", *arguments],
            env={**environment, **(env or {})},
            cwd=tmp_path,
            input=given,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def gateway(environment: dict[str, str]) -> Iterator[Callable[[list[Entry]], StubGateway]]:
    """Serves a script, and lets `taskforce` find it."""
    with ExitStack() as stack:

        def serve(script: list[Entry]) -> StubGateway:
            stub = StubGateway(script)
            environment["TASKFORCE_URL"] = stack.enter_context(stub.serving())
            environment["TASKFORCE_TOKEN"] = "a-token"
            return stub

        yield serve
