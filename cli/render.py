"""How runs, steps and approval requests look. What comes in is cleaned by `Document`; markup is never interpreted."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urljoin

from rich.cells import chop_cells
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

from cli.documents import Document
from cli.exits import Trouble
from cli.progress import StepView, ToolView
from cli.terminal import Safe, clean, complain, is_plain, one_line

STATUS_STYLES: Final = {
    "queued": "dim",
    "running": "cyan",
    "waiting": "yellow",
    "paused": "yellow",
    "completed": "green",
    "incomplete": "yellow",
    "failed": "red",
    "cancelled": "magenta",
    "approved": "green",
    "rejected": "red",
    "draft": "dim",
    "pending_approval": "yellow",
    "published": "green",
    "deprecated": "magenta",
    "archived": "dim",
}
_TOOL_MARKS: Final = {
    "succeeded": ("✓", "green"),
    "failed": ("✗", "red"),
    "refused": ("⊘", "red"),
    "denied": ("⊘", "yellow"),
    "unknown": ("?", "yellow"),
}
_TODO_MARKS: Final = {"done": ("✓", "green"), "in_progress": ("▸", "cyan"), "pending": ("○", "dim")}
_WIDE: Final = 110
_NARROWEST: Final = 20
_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86400
_SECOND_MS: Final = 1000


def duration(milliseconds: float) -> str:
    """Formats a duration for people: `12 ms`, `3.4 s`, `2 min 5 s`.

    Args:
        milliseconds: How long.
    """
    if milliseconds < _SECOND_MS:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / _SECOND_MS
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(int(seconds), _MINUTE)
    return f"{minutes} min {seconds} s" if minutes < _MINUTE else f"{minutes // _MINUTE} h {minutes % _MINUTE} min"


def age(when: datetime | None, now: datetime) -> str:
    """Formats how long ago a time was, or how far ahead it is: `5s`, `12m`, `3h`, `2d`.

    Args:
        when: A time; None reads as empty.
        now: The time now, UTC.
    """
    if when is None:
        return ""
    seconds = abs(int((now - when).total_seconds()))
    for size, letter in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "m")):
        if seconds >= size:
            return f"{seconds // size}{letter}"
    return f"{seconds}s"


def status_text(status: str) -> Text:
    """Renders a status in its colour."""
    return Text(status, style=STATUS_STYLES.get(status, ""))


def agent_of(run: Document) -> str:
    """Returns the agent of a run: `slug@version` of the catalog's, else its id."""
    pinned = run.child("agent_version")
    if pinned.text("slug"):
        return f"{pinned.text('slug')}@{pinned.text('version_number')}"
    return run.text("agent_id") or run.text("profile")


def agents_table(agents: Iterable[Document]) -> Table:
    """Renders a table of agents.

    Args:
        agents: Items of `GET /admin/agents`.
    """
    columns = (
        Column("AGENT", no_wrap=True),
        Column("CURRENT", no_wrap=True),
        Column("LATEST", no_wrap=True),
        Column("CATEGORY", no_wrap=True),
    )
    table = Table(*columns, Column("WHAT", overflow="fold"), box=None, pad_edge=False)
    for agent in agents:
        latest = Text(f"{agent.text('latest_version')} ").append(status_text(agent.text("latest_status")))
        what = Text(one_line(agent.text("name")))
        what.append(f"  {one_line(agent.text('description'), 80)}", style="dim")
        table.add_row(agent.text("slug"), agent.text("current_version") or "-", latest, agent.text("category"), what)
    return table


def print_agent(console: Console, agent: Document) -> None:
    """Prints an agent with its versions."""
    console.print(Text.assemble(("agent ", "dim"), (agent.text("slug"), "bold"), f"  {one_line(agent.text('name'))}"))
    facts = {
        "id": agent.text("agent_id"),
        "about": one_line(agent.text("description"), 300),
        "category": agent.text("category"),
        "tags": ", ".join(agent.texts("tags")),
        "owner": agent.text("owner_id"),
        "current": agent.text("current_version"),
        "aliases": agent.arguments("aliases"),
    }
    for name, fact in facts.items():
        if fact:
            console.print(Text.assemble((f"{name:<9}", "dim"), fact), soft_wrap=True)
    table = Table(Column("VERSION"), Column("STATUS"), Column("HASH"), Column("BY"), box=None, pad_edge=False)
    for one in agent.items("versions"):
        status = status_text(one.text("status"))
        table.add_row(one.text("version_number"), status, one.text("config_hash")[:12], one.text("created_by"))
    console.print(table)


def runs_table(runs: Iterable[Document], width: int, now: datetime) -> Table:
    """Renders a table of runs.

    Args:
        runs: Items of `GET /runs`.
        width: Columns of the terminal; agent and tokens are shown on wide ones.
        now: The time now, UTC.
    """
    wide = width >= _WIDE
    columns = [
        Column("RUN", no_wrap=True),
        Column("STATUS", no_wrap=True),
        Column("AGE", justify="right", no_wrap=True),
    ]
    if wide:
        columns += [Column("AGENT", no_wrap=True), Column("STEPS", justify="right"), Column("TOKENS", justify="right")]
    table = Table(*columns, Column("MISSION", no_wrap=True, overflow="ellipsis"), box=None, pad_edge=False)
    for run in runs:
        row: list[RenderableType] = [
            run.text("run_id"),
            status_text(run.text("status")),
            age(run.time("created_at"), now),
        ]
        if wide:
            tokens = run.child("tokens").number("total")
            row += [agent_of(run), str(run.number("steps")), f"{tokens:,}"]
        table.add_row(*row, one_line(run.text("mission")))
    return table


def step_block(step: StepView, *, whole: bool = False) -> RenderableType:
    """Renders a step: people's messages, the thought, the tool calls.

    Args:
        step: The step.
        whole: Show observations too.
    """
    lines: list[RenderableType] = [
        *(Text(f"  » {one_line(word)}", style="magenta") for word in step.words),
        *(Text(f"  ! {one_line(failure)}", style="yellow") for failure in step.failures),
    ]
    head = Table.grid(padding=(0, 1))
    head.add_row(Text(f"{step.number:>2}", style="bold cyan"), Text(clean(step.text).strip() or "…", overflow="fold"))
    lines.append(head)
    for tool in step.tools.values():
        lines.append(tool_line(tool))
        if whole and tool.observation:
            lines.append(Padding(Text(tool.observation.rstrip(), style="dim"), (0, 0, 0, 5), expand=False))
    return Group(*lines)


def tool_line(tool: ToolView, running: RenderableType | None = None, took: str | None = None) -> Table:
    """Renders a tool call on one line.

    Args:
        tool: The call.
        running: Its mark while it runs.
        took: What stands for its duration while it runs.
    """
    mark, style = _TOOL_MARKS.get(tool.status or "", ("…", "dim"))
    what = Text(one_line(tool.name), style="bold", no_wrap=True, overflow="ellipsis")
    what.append(f" {tool.arguments}" if tool.arguments else "", style="not bold dim")
    if tool.status not in {None, "succeeded"}:
        what.append(f" {tool.status}", style=f"not bold {style}")
    end = took if tool.duration_ms is None or tool.status is None else duration(tool.duration_ms)
    grid = Table.grid(
        Column(width=4),
        Column(width=1),
        Column(no_wrap=True, overflow="ellipsis"),
        Column(no_wrap=True),
        padding=(0, 1),
    )
    grid.add_row(
        "", running if tool.status is None and running else Text(mark, style=style), what, Text(end or "", style="dim")
    )
    return grid


def todo_lines(todo: Iterable[tuple[str, str]]) -> list[Text]:
    """Renders the todo list, an item a line.

    Args:
        todo: Status and text of each item.
    """
    lines = []
    for status, text in todo:
        mark, style = _TODO_MARKS.get(status, ("·", "dim"))
        lines.append(Text.assemble((mark, style), " ", (one_line(text), "dim" if status == "done" else "")))
    return lines


def print_end(console: Console, run: Document, base_url: str) -> None:
    """Prints how a run ended: answer, error, what it used, links.

    Args:
        console: Where to.
        run: A run.
        base_url: The gateway, for links that do not name it.
    """
    answer = run.text("answer").strip()
    if answer:
        console.print()
        console.print(_answer(answer), soft_wrap=is_plain())
    if run.text("answer_result"):
        whole = urljoin(f"{base_url}/", run.text("answer_result"))
        console.print(Text.assemble(("the whole answer  ", "dim"), whole), soft_wrap=True)
    error = run.child("error")
    if error.raw:
        console.print()
        console.print(Text(f"{error.text('code')}: {error.text('message')}", style="red"), soft_wrap=True)
    console.print()
    console.print(summary(run), soft_wrap=True)
    print_links(console, run, base_url)


_TOKENS_TOLD = {
    "cached": "cached",
    "cache_write": "written to the cache",
    "reasoning": "reasoning",
    "wasted": "wasted",
    "estimated": "estimated",
}
"""What is told of a run's tokens where it is not 0, by its name in the API."""


def summary(run: Document) -> Text:
    """Renders one line: status, steps, tools, tokens, time."""
    status, tokens = run.text("status"), run.child("tokens")
    line = Text.assemble((status, f"bold {STATUS_STYLES.get(status, '')}"))
    if run.text("stop_reason"):
        line.append(f" ({run.text('stop_reason')})")
    if run.text("waiting_for"):
        line.append(f" for {run.text('waiting_for')}")
    retry = run.child("retry")
    if retry.raw and retry.number("attempt") == 1:
        # Nothing is tried at a time that could be told: it waits for whoever pulled a switch, or for the database.
        line.append(f" ({one_line(retry.text('message'))})")
    elif retry.raw:
        line.append(f", attempt {retry.number('attempt')} at {clock_time(retry.time('next_at'))}")
        line.append(f" ({one_line(retry.text('code'))})")
    line.append(f" · {run.number('steps')} steps · {run.number('tool_calls')} tool calls")
    line.append(f" · {tokens.number('total'):,} tokens ({tokens.number('input'):,} in, {tokens.number('output'):,} out")
    told = [f", {tokens.number(name):,} {said}" for name, said in _TOKENS_TOLD.items() if tokens.number(name)]
    line.append(f"{''.join(told)})")
    started, finished = run.time("started_at") or run.time("created_at"), run.time("finished_at")
    if started and finished:
        line.append(f" · {duration((finished - started).total_seconds() * _SECOND_MS)}")
    return line


def print_links(console: Console, run: Document, base_url: str) -> None:
    """Prints the links of a run that a person opens; never broken over lines, for they are copied.

    Args:
        console: Where to.
        run: A run.
        base_url: The gateway, for links that do not name it.
    """
    links = run.child("links")
    for name, key in (("run", "self"), ("temporal", "temporal_ui")):
        if links.text(key):
            line = Text.assemble((f"{name:<9}", "dim"), urljoin(f"{base_url}/", links.text(key)))
            console.print(line, soft_wrap=True)


def print_run(console: Console, run: Document) -> None:
    """Prints a run's head: id, agent, mission."""
    models = ", ".join(run.texts("models"))
    agent = agent_of(run)
    head = Text.assemble(
        ("run ", "dim"), (run.text("run_id"), "bold"), ("  " + " · ".join(filter(None, [agent, models])), "dim")
    )
    console.print(head, soft_wrap=True)
    if run.text("mission"):
        console.print(Text(run.text("mission").strip(), style="italic"), soft_wrap=is_plain())
    console.print()


def print_folded(console: Console, start: str, text: str, then: str | None = None) -> None:
    """Prints a text that goes on, where it is too long, behind a margin: so it cannot write a line of its own.

    Args:
        console: Where to.
        start: What stands before it.
        text: One line, see `visible`.
        then: The margin of the lines after the first; `start` again if it is left out.
    """
    width = max(console.width - len(start), _NARROWEST)
    for place, part in enumerate(chop_cells(text, width) if text else []):
        margin = start if place == 0 or then is None else then
        console.print(Text.assemble((margin, "dim"), part), soft_wrap=True)


def complain_of(trouble: Trouble) -> None:
    """Shows what went wrong: one line, and what to do about it."""
    facts = ", ".join(filter(None, [trouble.code, f"request {trouble.request_id}" if trouble.request_id else ""]))
    complain(f"✗ {one_line(trouble.message, 600)} ({facts})", "bold red")
    if trouble.hint:
        complain(f"  {trouble.hint}")


def clock_time(at: datetime | None) -> str:
    """Formats a time of day, UTC."""
    return "-" if at is None else f"{at.astimezone(UTC):%H:%M:%S} UTC"


def now() -> datetime:
    """Returns the time, UTC."""
    return datetime.now(UTC)


def _answer(answer: str) -> RenderableType:
    if is_plain():
        return Text(answer)
    from rich.markdown import Markdown
    from rich.panel import Panel

    return Panel(Safe(Markdown(answer, hyperlinks=False)), title="answer", title_align="left", border_style="green")
