"""`taskforce run`: starts a mission and follows it."""

import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from cli.documents import Document
from cli.exits import Exit, Trouble
from cli.options import AsJson, Token, Url
from cli.streams import is_interactive, read_input
from cli.terminal import complain, console, is_plain, write_json

if TYPE_CHECKING:
    from cli.gateway import Gateway

SAMPLE_MISSION: Final = (
    "Plan your work with a todo list. Work out 17% of 2,340 and (12 + 30) * 2, "
    "find out what day of the week it is today, and save the results to report.md."
)
"""Shows a plan, several tools at once, a file and an answer, with any model."""


def run(
    mission: Annotated[str, typer.Argument(help="What is to be done; - reads it from stdin.")],
    *,
    agent: Annotated[str | None, typer.Option("--agent", help="Slug or id of the agent that does it.")] = None,
    version: Annotated[str | None, typer.Option("--version", help="Number of a version of it.")] = None,
    alias: Annotated[str | None, typer.Option("--alias", help="Name of a version of it, such as stable.")] = None,
    profile: Annotated[str | None, typer.Option("--profile", help="Name of the profile instead.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="LiteLLM name; a comma separates fallbacks.")] = None,
    session: Annotated[str | None, typer.Option("--session", help="Go on in this session.")] = None,
    max_steps: Annotated[int | None, typer.Option("--max-steps", min=1, help="Ends it with a best answer.")] = None,
    context: Annotated[
        list[str] | None, typer.Option("--context", help="k=v, or @file.json with an object; may be given again.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="k=v, to report usage by; may be given again.")] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Start it and leave.")] = False,
    cancel_on_interrupt: Annotated[
        bool, typer.Option("--cancel-on-interrupt", help="Ctrl-C cancels the run instead of asking.")
    ] = False,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Starts a mission and follows it; Ctrl-C leaves it running. With --json: a line an event, at last the run."""
    from cli.gateway import open_gateway

    if agent and profile:
        raise Trouble(Exit.USAGE, "usage", "Give --agent or --profile, not both.")
    text = read_input() if mission == "-" else mission
    order: dict[str, object] = {"mission": text, "context": read_context(context or []) or None}
    order |= {"agent_id": agent, "profile": profile, "model": model, "session_id": session, "max_steps": max_steps}
    order |= {"version": version, "alias": alias, "tags": read_tags(tag or []) or None}
    gateway = open_gateway(url, token)
    try:
        started = gateway.start({name: value for name, value in order.items() if value is not None})
        if detach:
            _tell_started(started, as_json=as_json)
            return
        found = gateway.get(f"/runs/{started.text('run_id')}")
        code = follow_here(gateway, found, as_json=as_json, cancel_on_interrupt=cancel_on_interrupt)
    finally:
        gateway.close()
    raise typer.Exit(int(code))


def follow_here(gateway: "Gateway", run: Document, *, as_json: bool, cancel_on_interrupt: bool = False) -> Exit:
    """Follows a run in the way that suits stdout: live, plain, or as JSON lines.

    Args:
        gateway: Where the run is.
        run: The run.
        as_json: JSON lines.
        cancel_on_interrupt: Ctrl-C cancels the run instead of asking.

    Returns:
        The exit code.

    Raises:
        Trouble: As `Follower.follow`.
    """
    from cli.follow import Follower
    from cli.views import JsonView, LiveView, PlainView, View

    live = not as_json and not is_plain()
    view: View = (
        JsonView() if as_json else LiveView(console(), gateway.url) if live else PlainView(console(), gateway.url)
    )
    view.opened(run)
    follower = Follower(gateway, run, view, ask=live and is_interactive(), cancel_on_interrupt=cancel_on_interrupt)
    return follower.follow().exit_code


def run_sample(url: str, token: str, *, as_json: bool = False, stop: threading.Event | None = None) -> str | None:
    """Runs the sample mission of `taskforce up`.

    Args:
        url: The gateway's base URL.
        token: A bearer token.
        as_json: JSON lines whose `event` is `sample`.
        stop: Ends the following early.

    Returns:
        The id of its workflow, if it is known.

    Raises:
        Unavailable: It could not be started or followed.
    """
    from cli.follow import follow_mission
    from cli.views import JsonView, LiveView, PlainView, View
    from taskforce.core.domain.errors import Unavailable

    live = not as_json and not is_plain()
    view: View = (
        JsonView({"event": "sample"})
        if as_json
        else LiveView(console(), url, "the sample mission")
        if live
        else PlainView(console(), url)
    )
    try:
        return follow_mission(url, token, SAMPLE_MISSION, view, stop=stop).workflow_id
    except Trouble as trouble:
        raise Unavailable(trouble.code, trouble.message) from trouble


def read_context(given: list[str]) -> dict[str, object]:
    """Reads `--context`.

    Args:
        given: `k=v` and `@file.json`, later ones win.

    Raises:
        Trouble: One is neither, or a file holds no JSON object.
    """
    context: dict[str, object] = {}
    for item in given:
        name, equals, value = item.partition("=")
        if item.startswith("@"):
            context |= _context_file(Path(item[1:]))
        elif equals and name:
            context[name] = value
        else:
            raise Trouble(Exit.USAGE, "context_invalid", f"--context takes k=v or @file.json, not {item!r}.")
    return context


def read_tags(given: list[str]) -> dict[str, str]:
    """Reads `--tag`.

    Args:
        given: `k=v`, later ones win.

    Raises:
        Trouble: One is something else.
    """
    tags: dict[str, str] = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not (equals and name):
            raise Trouble(Exit.USAGE, "tags_invalid", f"--tag takes k=v, not {item!r}.")
        tags[name] = value
    return tags


def _context_file(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        message = f"{path} cannot be read as JSON ({type(error).__name__})."
        raise Trouble(Exit.USAGE, "context_invalid", message) from None
    if not isinstance(found, dict):
        raise Trouble(Exit.USAGE, "context_invalid", f"{path} holds no JSON object.")
    return found


def _tell_started(started: Document, *, as_json: bool) -> None:
    if as_json:
        write_json(started.raw)
        return
    typer.echo(started.text("run_id"))
    complain(f"Started. Follow it: taskforce show {started.text('run_id')} --follow", "dim")
