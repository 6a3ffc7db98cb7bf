"""What `taskforce up` tells the person, or the script, that watches it."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.panel import Panel
from rich.status import Status
from rich.table import Table

from cli.stack.sources import Progress

_LONGEST_IN_PANEL = 60


class Report(Protocol):
    """The protocol of what tells a person or script how the start goes, in order."""

    def stage(self, name: str, seconds: float, note: str) -> None:
        """Reports that a stage of the start is done."""

    def busy(self, text: str) -> None:
        """Reports slow work under way; an empty text ends it."""

    def note(self, text: str) -> None:
        """Reports a line for whoever watches."""

    def failed(self, code: str, message: str) -> None:
        """Reports the error that ended the start."""

    def links(self, links: dict[str, str]) -> None:
        """Reports that the stack is up, and the addresses of its parts."""


class ConsoleReport:
    """Reports to people: a line a stage, a spinner for what is slow, a panel of links."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._status: Status | None = None

    def stage(self, name: str, seconds: float, note: str) -> None:
        """Prints a stage with its time."""
        self.busy("")
        self._console.print(f"[green]✓[/] {name:<12} [dim]{seconds:5.1f} s[/]  {note}", highlight=False)

    def busy(self, text: str) -> None:
        """Shows a spinner with the text; an empty text takes it away."""
        if text and self._status:
            self._status.update(text)
        elif text:
            self._status = self._console.status(text)
            self._status.start()
        elif self._status:
            self._status.stop()
            self._status = None

    def note(self, text: str) -> None:
        """Prints a line with the time of day."""
        self._console.print(f"[dim]{time.strftime('%H:%M:%S')}[/] {text}", highlight=False)

    def failed(self, code: str, message: str) -> None:
        """Prints the error's code and message."""
        self.busy("")
        self._console.print(f"[bold red]✗ {code}[/]", highlight=False)
        self._console.print(message, markup=False, highlight=False)

    def links(self, links: dict[str, str]) -> None:
        """Prints the addresses in a panel."""
        table = Table.grid(padding=(0, 2))
        # What one copies must not be broken by a frame: long values follow the panel.
        long = {name: value for name, value in links.items() if len(value) > _LONGEST_IN_PANEL}
        for name in (name for name in links if name not in long):
            table.add_row(f"[bold]{name}[/]", links[name])
        self._console.print(Panel(table, title="Taskforce is up", subtitle="Ctrl-C ends it", expand=False))
        for name, value in long.items():
            self._console.print(f"[bold]{name}[/]")
            self._console.print(value, soft_wrap=True, markup=False, highlight=False)


class JsonReport:
    """Reports to scripts: one JSON object a line, `event` says which."""

    def stage(self, name: str, seconds: float, note: str) -> None:
        """Writes a `stage` object."""
        self._write("stage", name=name, seconds=round(seconds, 3), note=note)

    def busy(self, text: str) -> None:
        """Writes nothing: a script needs no spinner."""

    def note(self, text: str) -> None:
        """Writes a `note` object."""
        self._write("note", text=text)

    def failed(self, code: str, message: str) -> None:
        """Writes a `failed` object."""
        self._write("failed", code=code, message=message)

    def links(self, links: dict[str, str]) -> None:
        """Writes an `up` object."""
        self._write("up", links=links)

    def _write(self, event: str, **fields: object) -> None:
        sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
        sys.stdout.flush()


class Stage:
    """A stage that is under way; `note` ends up beside its time."""

    def __init__(self, progress: Progress) -> None:
        self.note = ""
        self.progress = progress


@contextmanager
def timed(report: Report, name: str) -> Iterator[Stage]:
    """Measures a stage and reports it when it succeeds."""
    started = time.monotonic()
    report.busy(f"{name} ...")
    stage = Stage(lambda text: report.busy(f"{name}: {text}"))
    try:
        yield stage
    finally:
        report.busy("")
    report.stage(name, time.monotonic() - started, stage.note)
