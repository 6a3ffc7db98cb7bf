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
    """Hears what happens, in order."""

    def stage(self, name: str, seconds: float, note: str) -> None:
        """A stage of the start is done."""

    def busy(self, text: str) -> None:
        """Something takes its time; an empty text says that it is over."""

    def note(self, text: str) -> None:
        """A line for whoever watches."""

    def failed(self, code: str, message: str) -> None:
        """It does not work."""

    def links(self, links: dict[str, str]) -> None:
        """It is up: where everything is."""


class ConsoleReport:
    """For people: a line a stage, a spinner for what is slow, a panel of links."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._status: Status | None = None

    def stage(self, name: str, seconds: float, note: str) -> None:
        """See `Report`."""
        self.busy("")
        self._console.print(f"[green]✓[/] {name:<12} [dim]{seconds:5.1f} s[/]  {note}", highlight=False)

    def busy(self, text: str) -> None:
        """See `Report`."""
        if text and self._status:
            self._status.update(text)
        elif text:
            self._status = self._console.status(text)
            self._status.start()
        elif self._status:
            self._status.stop()
            self._status = None

    def note(self, text: str) -> None:
        """See `Report`."""
        self._console.print(f"[dim]{time.strftime('%H:%M:%S')}[/] {text}", highlight=False)

    def failed(self, code: str, message: str) -> None:
        """See `Report`."""
        self.busy("")
        self._console.print(f"[bold red]✗ {code}[/]", highlight=False)
        self._console.print(message, markup=False, highlight=False)

    def links(self, links: dict[str, str]) -> None:
        """See `Report`."""
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
    """For scripts: one JSON object a line, `event` says which."""

    def stage(self, name: str, seconds: float, note: str) -> None:
        """See `Report`."""
        self._write("stage", name=name, seconds=round(seconds, 3), note=note)

    def busy(self, text: str) -> None:
        """See `Report`."""

    def note(self, text: str) -> None:
        """See `Report`."""
        self._write("note", text=text)

    def failed(self, code: str, message: str) -> None:
        """See `Report`."""
        self._write("failed", code=code, message=message)

    def links(self, links: dict[str, str]) -> None:
        """See `Report`."""
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
