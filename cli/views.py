"""What shows a run that is followed: JSON lines, plain lines, or a live region below the finished steps."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.panel import Panel
from rich.spinner import Spinner
from rich.table import Column, Table
from rich.text import Text

from cli.documents import Document
from cli.progress import Progress, Question, StepView, ToolView
from cli.render import (
    STATUS_STYLES,
    clock_time,
    duration,
    print_end,
    print_run,
    step_block,
    todo_lines,
    tool_line,
)
from cli.terminal import clean, complain, one_line, write_json

_FRAMES_PER_SECOND: Final = 12
_FEWEST_LINES: Final = 3


class View(Protocol):
    """The protocol of what shows a run. Called by one thread, in the order of what happened."""

    def opened(self, run: Document) -> None:
        """Shows the run at the beginning."""

    def event(self, kind: str, data: Document) -> None:
        """Shows an event of the run's stream."""

    def show(self, progress: Progress) -> None:
        """Shows the progress, after all events that came have been applied to it."""

    def note(self, text: str) -> None:
        """Shows a line of text to the person."""

    def ended(self, progress: Progress, run: Document) -> None:
        """Shows the run at its end."""

    def close(self) -> None:
        """Closes the view; nothing more is shown."""


class JsonView:
    """Shows a run to scripts: a line an event, at last the run.

    Args:
        extra: Members that each line gets too.
    """

    def __init__(self, extra: Mapping[str, object] | None = None) -> None:
        self._extra = extra or {}

    def opened(self, run: Document) -> None:
        """Writes nothing: the stream begins with the run's own event."""

    def event(self, kind: str, data: Document) -> None:
        """Writes the event as a line of JSON."""
        if kind != "connection.lost":
            write_json({**self._extra, "type": kind, **data.raw})

    def show(self, progress: Progress) -> None:
        """Writes nothing: the events have told it."""

    def note(self, text: str) -> None:
        """Writes the text to stderr, so that stdout stays JSON."""
        complain(text)

    def ended(self, progress: Progress, run: Document) -> None:
        """Writes the run as the last line."""
        write_json({**self._extra, **run.raw})

    def close(self) -> None:
        """Does nothing: each line is written at once."""


class PlainView:
    """Shows a run in files and pipes: each step once, when it is complete.

    Args:
        console: Where to.
        base_url: The gateway.
    """

    def __init__(self, console: Console, base_url: str) -> None:
        self._console = console
        self._base_url = base_url
        self._told: set[str] = set()

    def opened(self, run: Document) -> None:
        """Prints the run's head."""
        print_run(self._console, run)

    def event(self, kind: str, data: Document) -> None:
        """Prints those events that a step does not show later."""
        if kind == "model.failed":
            self.note(f"step {data.number('step')}: the model failed ({data.text('code')}): {data.text('message')}")
        elif kind == "model.retrying":
            self.note(
                f"the model is asked again at {clock_time(data.time('next_at'))}, attempt {data.number('attempt')}"
            )
        elif kind == "approval.decided":
            self.note(f"{data.text('approver_id')}: {data.text('verdict')}")
        elif kind == "approval.closed":
            self.note(f"approval {data.text('status')}{': ' if data.text('reason') else ''}{data.text('reason')}")
        elif kind == "word.added":
            self.note(f"{data.text('author_id')} says: {data.text('text')}")
        elif kind == "run.paused":
            self.note("paused")
        elif kind == "run.limits_raised":
            raised = {name: data.maybe_number(name) for name in ("max_steps", "max_tokens", "max_seconds")}
            said = [f"{name} {limit:,}" for name, limit in raised.items() if limit is not None]
            self.note(f"it may use more: {', '.join(said)}")

    def show(self, progress: Progress) -> None:
        """Prints the steps that are complete now, and once each what the run waits for."""
        for step in progress.completed():
            self._step(step)
        for line in wants(progress):
            if line.plain not in self._told:
                self._told.add(line.plain)
                self._console.print(line, soft_wrap=True)

    def note(self, text: str) -> None:
        """Prints a dim line."""
        self._console.print(Text(f"· {one_line(text, 600)}", style="dim"), soft_wrap=True)

    def ended(self, progress: Progress, run: Document) -> None:
        """Prints the remaining steps and how the run ended."""
        for step in progress.rest():
            if step.tools or clean(step.text).strip() != run.text("answer").strip():
                self._step(step)
        print_end(self._console, run, self._base_url)

    def close(self) -> None:
        """Does nothing: each line is printed at once."""

    def _step(self, step: StepView) -> None:
        # Failures were told when they happened.
        step.failures.clear()
        self._console.print(step_block(step))


class LiveView(PlainView):
    """Shows a run in a terminal: finished steps scroll away above a region that shows what is going on.

    Args:
        console: A terminal's.
        base_url: The gateway.
        keys: What the status line says of keys.
    """

    def __init__(self, console: Console, base_url: str, keys: str = "Ctrl-C leaves") -> None:
        super().__init__(console, base_url)
        self._keys = keys
        self._began = time.monotonic()
        self._progress: Progress | None = None
        self._spinner = Spinner("dots", style="cyan")
        self._live = Live(
            console=console, get_renderable=self._frame, refresh_per_second=_FRAMES_PER_SECOND, transient=True
        )

    def show(self, progress: Progress) -> None:
        """Prints the steps that are complete now, and redraws the region of the others."""
        for step in progress.completed():
            self._step(step)
        self._progress = progress
        if not self._live.is_started:
            self._live.start()

    def ended(self, progress: Progress, run: Document) -> None:
        """Removes the region, and prints how the run ended."""
        self.close()
        super().ended(progress, run)

    def close(self) -> None:
        """Removes the region."""
        self._progress = None
        self._live.stop()

    @contextmanager
    def suspended(self) -> Iterator[Console]:
        """Takes the region away while a person types; `show` brings it back."""
        self._progress = None
        self._live.stop()
        yield self._console

    def recall(self, progress: Progress) -> None:
        """Prints the step that is under way, and open requests: what a person needs to know who is asked."""
        for step in progress.steps.values():
            self._step(step)
        for line in decisions(progress):
            self._console.print(line, soft_wrap=True)

    def _frame(self) -> RenderableType:
        progress = self._progress
        if progress is None:
            return Text()
        footer = [*self._todo(progress), *_waiting(progress), self._status(progress)]
        console = self._console
        height = sum(len(console.render_lines(part, pad=False)) for part in footer)
        room = max(_FEWEST_LINES, console.height - height - 2)
        return Group(_Tail([_current(step) for step in list(progress.steps.values())], room), *footer)

    def _todo(self, progress: Progress) -> list[RenderableType]:
        lines = todo_lines(progress.todo)
        most = max(_FEWEST_LINES, self._console.height // 3)
        if len(lines) > most:
            open_at = next((place for place, (status, _) in enumerate(progress.todo) if status != "done"), 0)
            first = min(max(0, open_at - 1), len(lines) - most)
            rest = len(lines) - most
            lines = [*lines[first : first + most], Text(f"  and {rest} more", style="dim")]
        if not lines:
            return []
        return [Panel(Group(*lines), title="todo", title_align="left", border_style="dim")]

    def _status(self, progress: Progress) -> RenderableType:
        seconds = time.monotonic() - self._began
        facts = f" · step {progress.latest or '-'} · {progress.tokens:,} tokens · {duration(seconds * 1000)}"
        lost = not progress.connected
        status = "connection lost, trying again" if lost else progress.status
        line = Text.assemble((status, "red" if lost else STATUS_STYLES.get(status, "")), (facts, "dim"))
        grid = Table.grid(
            Column(width=2), Column(no_wrap=True, ratio=1), Column(no_wrap=True, justify="right"), expand=True
        )
        grid.add_row(self._spinner, line, Text(self._keys, style="dim"))
        return grid


class _Tail:
    """Renders the last lines of what would be too high."""

    def __init__(self, parts: list[RenderableType], most: int) -> None:
        self._parts = parts
        self._most = most

    def __rich_console__(self, console: Console, options: object) -> Iterator[RenderableType]:
        from rich.segment import Segment, Segments

        lines = console.render_lines(Group(*self._parts), pad=False) if self._parts else []
        if len(lines) > self._most:
            yield Text(f"  … {len(lines) - self._most + 1} lines above", style="dim")
            # The note takes one of the lines.
            lines = lines[-(self._most - 1) :]
        for line in lines:
            yield Segments([*line, Segment.line()])


def _current(step: StepView) -> RenderableType:
    now = datetime.now(UTC)
    head = Table.grid(padding=(0, 1))
    head.add_row(
        Text(f"{step.number:>2}", style="bold cyan"), Text(clean(step.text).strip() or "thinking", overflow="fold")
    )
    lines: list[RenderableType] = [head]
    # A copy: the region is drawn by a thread of its own, while events add to the step.
    for tool in list(step.tools.values()):
        took = duration(max(0.0, (now - tool.began).total_seconds() * 1000)) if tool.began else ""
        lines.append(tool_line(tool, Spinner("dots", style="cyan"), took))
    return Group(*lines)


def wants(progress: Progress) -> list[Text]:
    """Renders what the run waits for from a person, and the exact commands that give it.

    Args:
        progress: The run so far.
    """
    lines = decisions(progress)
    for asked in progress.asked():
        lines.append(
            Text.assemble(("? ", "bold yellow"), one_line(asked.question or "The agent asks for an answer.", 2000))
        )
        lines.append(Text(f"  {answering(progress.run_id, asked)}", style="cyan"))
    return lines


def answering(run_id: str, tool: ToolView) -> str:
    """Returns the command that answers a question.

    Args:
        run_id: The run that asks.
        tool: The call that waits for the answer.
    """
    named = f"--question {one_line(tool.question_id)} " if tool.question_id else ""
    return f'taskforce say {run_id} {named}"your answer"'


def decisions(progress: Progress) -> list[Text]:
    """Renders the open requests for approval, and the exact commands that decide them.

    Args:
        progress: The run so far.
    """
    return [line for question in progress.requests.values() for line in _decision(question)]


def _decision(question: Question) -> list[Text]:
    return [
        Text.assemble(
            ("? ", "bold yellow"), f"{one_line(question.tool)} needs approval, request {question.request_id}"
        ),
        Text(f"  taskforce approve {question.request_id}", style="cyan"),
        Text(f'  taskforce reject {question.request_id} --comment "why"', style="cyan"),
    ]


def _waiting(progress: Progress) -> list[RenderableType]:
    lines = wants(progress)
    if not lines:
        return []
    title = f"waiting for {one_line(progress.waiting_for, 50)}" if progress.waiting_for else "waiting"
    return [Panel(Padding(Group(*lines), 0), title=title, title_align="left", border_style="yellow")]


def stdin_ready(seconds: float) -> bool:
    """Returns whether a line can be read from stdin.

    Args:
        seconds: How long to wait for one.
    """
    import select

    return bool(select.select([sys.stdin], [], [], seconds)[0])
