"""Several jobs at once, each a process that says a line when something changes, shown in one place."""

import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import IO, TextIO

from cli.stack.processes import bound

_SHOW_SECONDS = 0.5
_TELL_SECONDS = 20.0
_STOP_SECONDS = 15
_PIECE = 65_536


@dataclass(slots=True)
class Job:
    """A process that the set-up runs.

    Attributes:
        name: For people.
        command: Program and arguments; what it writes on stdout is its state, on stderr why it failed.
        usually: How long it takes, in words.
        needed: Whether everything fails without it.
        state: The last line that it said.
        seconds: How long it took, once it has ended.
    """

    name: str
    command: Sequence[str]
    usually: str
    needed: bool = True
    state: str = ""
    seconds: float | None = None
    _process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)
    _errors: IO[bytes] | None = field(default=None, repr=False)
    _rest: bytes = b""

    def start(self) -> IO[bytes]:
        """Starts it; it ends when this process does. Returns where it says its state."""
        # A file, not a pipe: nobody reads it before the end, and a full pipe would stop the job.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  `stop` closes it
        self._process = subprocess.Popen(  # noqa: S603
            bound(self.command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._errors
        )
        if self._process.stdout is None:
            raise AssertionError("a pipe was asked for")
        return self._process.stdout

    def hear(self, piece: bytes) -> None:
        """Takes in what it wrote; the last whole line is its state."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        if lines and lines[-1].strip():
            self.state = lines[-1].decode(errors="replace").strip()

    def end(self) -> int:
        """Waits for its end, which is near, and says its exit code."""
        return self._process.wait() if self._process else 0

    def errors(self) -> str:
        """Returns what the process wrote on stderr."""
        if self._errors is None:
            return ""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace").strip()

    def ask_to_end(self) -> None:
        """Sends SIGTERM; nothing happens when it does not run."""
        if self._process and self._process.poll() is None:
            self._process.terminate()

    def stop(self) -> None:
        """Waits for its end after `ask_to_end`, and kills it when that takes too long."""
        if self._process:
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for stream in (self._errors, self._process.stdout if self._process else None):
            if stream:
                stream.close()


class Display:
    """Shows jobs: a line each that changes in a terminal, a line now and then elsewhere.

    Args:
        stream: Where people read.
        width: Of a terminal, in characters.
    """

    def __init__(self, stream: TextIO, width: int = 100) -> None:
        self._stream = stream
        self._width = width
        self._live = stream.isatty()
        self._drawn = 0
        self._told = 0.0

    def show(self, jobs: Sequence[Job], elapsed: float) -> None:
        """Shows the jobs' progress.

        Args:
            jobs: Those under way.
            elapsed: Seconds since the start.
        """
        lines = [f"  {job.name}: {job.state or 'starting'} (usually {job.usually})" for job in jobs]
        if self._live:
            self._draw([f"{int(elapsed):>4} s", *lines])
        elif elapsed - self._told >= _TELL_SECONDS:
            self._told = elapsed
            self._write("".join(f"[{int(elapsed):>3} s]{line}\n" for line in lines))

    def tell(self, line: str) -> None:
        """Prints a line that stays."""
        self._draw([])
        self._write(line + "\n")

    def _draw(self, lines: Sequence[str]) -> None:
        if self._live:
            back = f"\x1b[{self._drawn}A\x1b[J" if self._drawn else ""
            self._write(back + "".join(line[: self._width - 1] + "\n" for line in lines))
            self._drawn = len(lines)

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def run(jobs: Sequence[Job], display: Display) -> bool:
    """Runs jobs side by side until all are done, or one that is needed fails.

    Args:
        jobs: What is to be done.
        display: Shows it.

    Returns:
        Whether all that are needed succeeded.
    """
    started = time.monotonic()
    with _ending_with_us(jobs), selectors.DefaultSelector() as selector:
        for job in jobs:
            selector.register(job.start(), selectors.EVENT_READ, job)
        while under_way := [job for job in jobs if job.seconds is None]:
            for job in _listen(selector):
                job.seconds = time.monotonic() - started
                if not _told_of_end(job, display) and job.needed:
                    return False
            display.show([job for job in under_way if job.seconds is None], time.monotonic() - started)
    return True


def _listen(selector: selectors.BaseSelector) -> list[Job]:
    """Reads output for a moment; returns the jobs that have closed theirs."""
    ended = []
    for key, _ in selector.select(_SHOW_SECONDS):
        job: Job = key.data
        if piece := os.read(key.fd, _PIECE):
            job.hear(piece)
        else:
            selector.unregister(key.fileobj)
            ended.append(job)
    return ended


def _told_of_end(job: Job, display: Display) -> bool:
    succeeded = job.end() == 0
    if succeeded:
        display.tell(f"✓ {job.name}: {job.state or 'done'} ({job.seconds or 0:.0f} s)")
    else:
        display.tell(f"{'✗' if job.needed else '·'} {job.name}\n{job.errors() or job.state}")
    return succeeded


@contextmanager
def _ending_with_us(jobs: Sequence[Job]) -> Iterator[None]:
    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    try:
        yield
    finally:
        for number in before:  # nothing interrupts the tidying up
            signal.signal(number, signal.SIG_IGN)
        for job in jobs:
            # All are asked before any is waited for, so that they end side by side.
            job.ask_to_end()
        for job in jobs:
            job.stop()
        for number, handler in before.items():
            signal.signal(number, handler)


def leave(number: int, _frame: FrameType | None = None) -> None:
    """Exits by way of everybody's `finally`; a signal's handler."""
    # As shells report a process that a signal has ended.
    sys.exit(128 + number)
