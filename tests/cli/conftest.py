import os
import pty
import select
import subprocess
import sys
import time
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


class Person:
    """Somebody at a terminal."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.execve(sys.executable, [sys.executable, "-m", "cli", *command], environment)
        self.seen = ""

    def see(self, text: str) -> None:
        deadline = time.monotonic() + 60
        while text not in self.seen:
            assert time.monotonic() < deadline, f"{text!r} did not come in {self.seen!r}"
            if select.select([self._fd], [], [], 0.5)[0]:
                self.seen += self._read()
        self.seen = self.seen.partition(text)[2]

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def leave(self) -> int:
        while more := self._read():
            self.seen += more
        os.close(self._fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _read(self) -> str:
        try:
            return os.read(self._fd, 65536).decode(errors="replace")
        except OSError:  # what Linux says when the other side has closed
            return ""


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


@pytest.fixture
def person(environment: dict[str, str]) -> Callable[..., Person]:

    def at_a_terminal(*command: str, columns: int = 100) -> Person:
        return Person(list(command), {**environment, "TERM": "xterm-256color", "COLUMNS": str(columns)})

    return at_a_terminal
