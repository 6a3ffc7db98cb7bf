"""Processes of the local stack: who they are, how they start, how they end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cli.stack.environments import BUILDS, ORDINARY, chosen

_CHILD = Path(__file__).with_name("child.py")
LINUX: bool = sys.platform == "linux"
_LOG_BYTES = 10_000_000
_POLL_SECONDS = 0.05
_KILLED_SECONDS = 5


@dataclass(frozen=True, slots=True)
class ProcessId:
    """The identity of a process, which no later one has that happens to get its number.

    Attributes:
        pid: The number.
        started: When it started, as the system tells it; opaque, compared only.
    """

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> "ProcessId | None":
        """Finds the process that has this number now, or None."""
        started = _started(pid)
        return cls(pid, started) if started else None

    def alive(self) -> bool:
        """Returns whether that very process runs."""
        return _started(self.pid) == self.started

    def end(self, grace_seconds: float) -> None:
        """Asks the process to end, and kills it when it does not within the grace; without a grace, at once."""
        if not self.alive():
            return
        with suppress(ProcessLookupError):  # it may end between two looks
            if grace_seconds:
                os.kill(self.pid, signal.SIGTERM)
            if not wait_until(lambda: not self.alive(), grace_seconds) and self.alive():
                os.kill(self.pid, signal.SIGKILL)
                wait_until(lambda: not self.alive(), _KILLED_SECONDS)


class Child:
    """A program that this process starts, restarts and ends.

    It has a session of its own, so that Ctrl-C in a terminal reaches the supervisor only, which then ends its children
    in order. Where the system supports it, it also ends when the thread that started it is gone: start it from a thread
    that lives as long as it should.

    Args:
        name: For people and for the log's name.
        command: Program and arguments.
        log: File to which its output is appended.
        environment: All of its environment.
        directory: Where it runs.
    """

    def __init__(
        self, name: str, command: Sequence[str], *, log: Path, environment: Mapping[str, str], directory: Path
    ) -> None:
        self.name = name
        self.log = log
        self._command = list(command)
        self._environment = dict(environment)
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it; returns at once."""
        self.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _rotate(self.log)
        with open_private(self.log) as output:
            self._process = subprocess.Popen(  # noqa: S603  the command is the product's own
                bound(self._command, private=True),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
                cwd=self._directory,
                # Ctrl-C goes to the whole session of the terminal; the supervisor ends its children in order.
                start_new_session=True,
            )

    def alive(self) -> bool:
        """Returns whether the program runs."""
        return self._process is not None and self._process.poll() is None

    def exit_code(self) -> int | None:
        """Returns the exit code; negative for a signal; None while it runs or before it did."""
        return self._process.poll() if self._process else None

    def identity(self) -> ProcessId | None:
        """Returns the process's identity for the state file; None when it does not run."""
        return ProcessId.of(self._process.pid) if self._process and self.alive() else None

    def stop(self, grace_seconds: float) -> None:
        """Asks it to end and waits, then kills it; nothing happens when it does not run."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def last_words(self, lines: int = 15) -> str:
        """Reads the end of the program's log."""
        return tail(self.log, lines)


def bound(command: Sequence[str], *, private: bool = False) -> list[str]:
    """Wraps a command so that it ends with the thread that starts it, where the system supports it.

    Args:
        command: Program and arguments.
        private: What it writes (databases, files of runs) is for this user only.
    """
    umask = "077" if private else "-"
    # Isolated and without site-packages: it starts in milliseconds, and nothing of the person's Python has a say.
    return [sys.executable, "-I", "-S", str(_CHILD), str(os.getpid()), umask, *command]


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Polls a condition; says whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def open_private(log: Path) -> BinaryIO:
    """Opens a log to append to; a new one is for this user only."""
    return os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def tail(path: Path, lines: int) -> str:
    """Reads the last lines of a text file; empty when there is none."""
    try:
        with path.open("rb") as file:
            # A log may have grown large; its end is asked for.
            file.seek(max(0, path.stat().st_size - 64_000))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""


def environment_without(*prefixes: str) -> dict[str, str]:
    """Selects what any program may see of this process's environment: neither secrets nor the product's settings.

    Args:
        prefixes: Variables that begin so are left out, as the program would take them for its own.
    """
    ordinary = chosen(os.environ, (*ORDINARY, *BUILDS))
    return {name: value for name, value in ordinary.items() if not name.startswith(prefixes)}


def command_name(pid: int) -> str | None:
    """Finds the name of the program that a process runs, or None when there is no such process."""
    if not _started(pid):  # also one that has ended and that nobody has collected
        return None
    if LINUX:
        try:
            return Path(f"/proc/{pid}/comm").read_text().strip()
        except OSError:
            return None
    return _ask_ps(pid, "comm=").rpartition("/")[2] or None


def running_in(directory: Path, name: str) -> list[int]:
    """Processes of a program whose current directory this is; none where the system does not tell (Linux does)."""
    pids = (int(path.name) for path in Path("/proc").glob("[0-9]*"))
    return [pid for pid in pids if command_name(pid) == name and _directory(pid) == str(directory)]


def _directory(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/cwd").readlink())
    except OSError:
        return ""


def _started(pid: int) -> str:
    if not LINUX:
        return _ask_ps(pid, "lstart=")
    try:
        # After the last bracket: the second field is the program's name, which may hold blanks and brackets.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    # The fields 3 and 22 of proc(5): the state, and the time of the start in clock ticks.
    state, ticks = fields[0], fields[19]
    # A zombie keeps its number and its start, and does nothing any more.
    return "" if state in {"Z", "X"} else ticks


def _ask_ps(pid: int, column: str) -> str:
    answer = subprocess.run(  # noqa: S603
        ["ps", "-p", str(pid), "-o", column],  # noqa: S607
        env=environment_without(),
        capture_output=True,
        text=True,
        check=False,
    )
    return answer.stdout.strip()


def _rotate(log: Path) -> None:
    if log.exists() and log.stat().st_size > _LOG_BYTES:
        log.replace(log.with_name(log.name + ".1"))
