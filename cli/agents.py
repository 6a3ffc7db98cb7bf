"""Commands about the catalog: list agents, show one."""

from typing import Annotated

import typer

from cli.groups import command_group
from cli.options import AsJson, Token, Url
from cli.terminal import complain, console, write_json

app = command_group("agents", "Looks at the agents of the catalog.")

_LIMIT = 20


@app.command("list")
def list_agents(
    *,
    query: Annotated[str | None, typer.Option("--query", "-q", help="Only those that have these words.")] = None,
    category: Annotated[str | None, typer.Option("--category", help="Only those of this category.")] = None,
    tag: Annotated[str | None, typer.Option("--tag", help="Only those with this tag.")] = None,
    status: Annotated[str | None, typer.Option("--status", help="Only those with a version in this status.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100, help="How many.")] = _LIMIT,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Lists agents, the newest first; with --query the best first."""
    from cli.reporting import reported

    filters = {"q": query, "category": category, "tag": tag, "status": status}
    reported(_list)(filters=filters, limit=limit, as_json=as_json, url=url, token=token)


@app.command()
def show(
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="Its slug or its id.")],
    *,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Shows an agent with its versions. Run it: taskforce run --agent SLUG "..."."""
    from cli.reporting import reported

    reported(_show)(agent=agent, as_json=as_json, url=url, token=token)


def _list(*, filters: dict[str, str | None], limit: int, as_json: bool, url: str | None, token: str | None) -> None:
    from cli.gateway import open_gateway
    from cli.render import agents_table

    found = open_gateway(url, token).get("/admin/agents", limit=limit, **filters)
    if as_json:
        write_json(found.raw)
        return
    if not found.items("items"):
        typer.echo("There is no such agent.")
        return
    console().print(agents_table(found.items("items")))
    if found.text("next_cursor"):
        complain("There are more: --limit, --query, --category, --tag and --status choose others.", "dim")


def _show(*, agent: str, as_json: bool, url: str | None, token: str | None) -> None:
    from cli.gateway import item_path, open_gateway
    from cli.render import print_agent

    found = open_gateway(url, token).get(item_path("/admin/agents", agent))
    if as_json:
        write_json(found.raw)
    else:
        print_agent(console(), found)
