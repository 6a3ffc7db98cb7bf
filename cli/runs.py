"""Commands about runs that exist: list, show, cancel, pause, resume, say."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.documents import Document
from cli.options import AsJson, RunId, Token, Url
from cli.terminal import complain, console, write_json

if TYPE_CHECKING:
    from cli.gateway import Gateway

_LIMIT = 20
_STEPS = 100


def runs(
    *,
    status: Annotated[str | None, typer.Option("--status", help="Only those with this status.")] = None,
    agent: Annotated[str | None, typer.Option("--agent", help="Only those of this agent.")] = None,
    session: Annotated[str | None, typer.Option("--session", help="Only those of this session.")] = None,
    mine: Annotated[bool, typer.Option("--mine", help="Only your own.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100, help="How many.")] = _LIMIT,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Lists runs, the latest first."""
    from cli.gateway import open_gateway
    from cli.render import now, runs_table

    gateway = open_gateway(url, token)
    own = "true" if mine else None
    found = gateway.get("/runs", status=status, agent_id=agent, session_id=session, mine=own, limit=limit)
    if as_json:
        write_json(found.raw)
        return
    out = console()
    out.print(runs_table(found.items("items"), out.width, now()))
    if found.text("next_cursor"):
        complain("There are more: --limit, --status and --mine choose others.", "dim")


def show(
    run: RunId,
    *,
    steps: Annotated[bool, typer.Option("--steps", help="Its steps too, with what tools answered.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Follow it to its end.")] = False,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Shows a run. With --follow it exits as `run` does."""
    from cli.gateway import open_gateway

    gateway = open_gateway(url, token)
    run_id = gateway.run_id(run)
    found = gateway.get(f"/runs/{run_id}")
    if follow:
        from cli.run import follow_here

        raise typer.Exit(int(follow_here(gateway, found, as_json=as_json)))
    listed = _all_steps(gateway, run_id) if steps else []
    if as_json:
        write_json({**found.raw, "step_list": [step.raw for step in listed]} if steps else found.raw)
        return
    _print_whole(found, listed, gateway.url)


def cancel(run: RunId, *, as_json: AsJson = False, url: Url = None, token: Token = None) -> None:
    """Cancels a run."""
    _command(run, "cancel", url, token, as_json=as_json)


def pause(run: RunId, *, as_json: AsJson = False, url: Url = None, token: Token = None) -> None:
    """Pauses a run after the step that it is at."""
    _command(run, "pause", url, token, as_json=as_json)


def resume(run: RunId, *, as_json: AsJson = False, url: Url = None, token: Token = None) -> None:
    """Lets a paused run go on."""
    _command(run, "resume", url, token, as_json=as_json)


def say(
    run: RunId,
    text: Annotated[str, typer.Argument(help="A message for the agent, or the answer to its question.")],
    *,
    question: Annotated[str | None, typer.Option("--question", help="Id of the question that it answers.")] = None,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Says something to a run, or answers its question: the one of that id, else the one that has waited longest."""
    from cli.gateway import open_gateway

    gateway = open_gateway(url, token)
    named = {} if question is None else {"question_id": question}
    answer = gateway.post(f"/runs/{gateway.run_id(run)}/messages", {"text": text, **named})
    answered = answer.text("question_id")
    if as_json:
        write_json(answer.raw)
    else:
        typer.echo(f"said, as the answer to question {answered}" if answered else "said")


def _command(run: str, verb: str, url: str | None, token: str | None, *, as_json: bool) -> None:
    from cli.gateway import open_gateway

    gateway = open_gateway(url, token)
    answer = gateway.post(f"/runs/{gateway.run_id(run)}/{verb}")
    if as_json:
        write_json(answer.raw)
    else:
        typer.echo(f"{verb} accepted; the run is {answer.text('status')}")


def _all_steps(gateway: "Gateway", run_id: str) -> list[Document]:
    found: list[Document] = []
    cursor: str | None = None
    while True:
        page = gateway.get(f"/runs/{run_id}/steps", limit=_STEPS, cursor=cursor)
        found += page.items("items")
        following = page.raw.get("next_cursor")
        # A cursor that repeats itself would be followed without end.
        if not isinstance(following, str) or following == cursor:
            return found
        cursor = following


def _print_whole(run: Document, listed: list[Document], base_url: str) -> None:
    from cli.progress import steps_of
    from cli.render import print_end, print_run, step_block, todo_lines

    out = console()
    print_run(out, run)
    for step in steps_of(listed):
        out.print(step_block(step, whole=True))
    todo = [item.items("todo") for item in listed if item.raw.get("todo") is not None]
    if todo:
        out.print()
        for line in todo_lines((item.text("status"), item.text("text")) for item in todo[-1]):
            out.print(line)
    print_end(out, run, base_url)
