"""`taskforce kill-switches`: lists what is halted, pulls a kill switch and lets it go."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

import typer

from cli.exits import Exit, Trouble
from cli.groups import command_group
from cli.options import AsJson, Token, Url
from cli.streams import is_interactive

if TYPE_CHECKING:
    from cli.documents import Document

_PAGE: Final = 100


class Scope(StrEnum):
    """The extent of a switch."""

    AGENT = "agent"
    TENANT = "tenant"
    INSTALLATION = "installation"


ScopeArgument = Annotated[Scope, typer.Argument(metavar="agent|tenant|installation", help="What it halts.")]
Name = Annotated[
    str | None,
    typer.Argument(
        metavar="[NAME]",
        help="The agent, by id or slug; the tenant, for the platform's operator, else your own.",
        show_default=False,
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask about the whole installation.")]

app = command_group("kill-switches", "Halts an agent, a tenant or the whole installation, and lets it go on.")


@app.command("list")
def list_switches(*, as_json: AsJson = False, url: Url = None, token: Token = None) -> None:
    """Lists the switches that are pulled: of your tenant, or of all tenants for the platform's operator."""
    # The program imports this module, so what it wraps its commands in can only be had when a command runs.
    from cli.reporting import reported

    reported(_list)(as_json=as_json, url=url, token=token)


@app.command()
def pull(
    scope: ScopeArgument,
    name: Name = None,
    *,
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why; the owners of halted runs read it.")],
    yes: Yes = False,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Pulls a kill switch: no step of what it halts begins any more, and no run starts."""
    from cli.reporting import reported

    reported(_pull)(scope, name, reason=reason, yes=yes, as_json=as_json, url=url, token=token)


@app.command()
def release(
    scope: ScopeArgument,
    name: Name = None,
    *,
    yes: Yes = False,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Lets a kill switch go: what it halted goes on within seconds."""
    from cli.reporting import reported

    reported(_release)(scope, name, yes=yes, as_json=as_json, url=url, token=token)


def _list(*, as_json: bool, url: str | None, token: str | None) -> None:
    from cli.gateway import open_gateway
    from cli.terminal import write_json

    gateway = open_gateway(url, token)
    found: list[Document] = []
    cursor: str | None = None
    while True:
        page = gateway.get("/admin/kill-switches", limit=_PAGE, cursor=cursor)
        found += page.items("items")
        cursor = page.text("next_cursor") or None
        if cursor is None:
            break
    if as_json:
        write_json({"items": [one.raw for one in found], "next_cursor": None})
        return
    if not found:
        typer.echo("No kill switch is pulled.")
    for one in found:
        _print(one)


def _pull(
    scope: Scope, name: str | None, *, reason: str, yes: bool, as_json: bool, url: str | None, token: str | None
) -> None:
    from cli.gateway import open_gateway
    from cli.terminal import write_json

    path = _path(scope, name)
    if scope is Scope.INSTALLATION and not yes:
        _confirm("All agents of all tenants will be halted")
    pulled = open_gateway(url, token).put(path, {"reason": reason})
    if as_json:
        write_json(pulled.raw)
    else:
        _print(pulled)


def _release(scope: Scope, name: str | None, *, yes: bool, as_json: bool, url: str | None, token: str | None) -> None:
    from cli.gateway import open_gateway
    from cli.terminal import write_json

    path = _path(scope, name)
    if scope is Scope.INSTALLATION and not yes:
        _confirm("All agents of all tenants will go on")
    open_gateway(url, token).delete(path)
    if as_json:
        write_json({"released": True})
    else:
        typer.echo("Let go: what it halted goes on within seconds, unless another switch halts it.")


def _path(scope: Scope, name: str | None) -> str:
    from cli.gateway import item_path

    if scope is Scope.AGENT and name is None:
        raise Trouble(Exit.USAGE, "agent_missing", "Say which agent: its id or its slug.")
    if scope is Scope.INSTALLATION and name is not None:
        raise Trouble(Exit.USAGE, "name_not_taken", "The installation has no name.")
    return f"/admin/kill-switches/{scope}" if name is None else item_path(f"/admin/kill-switches/{scope}s", name)


def _confirm(consequence: str) -> None:
    if not is_interactive():
        raise Trouble(Exit.USAGE, "not_confirmed", "Nobody is there to be asked.", hint="--yes does it without asking.")
    if not typer.confirm(f"{consequence}. Do it?", default=False, err=True):
        raise Trouble(Exit.USAGE, "not_confirmed", "Nothing was done.")


def _print(switch: "Document") -> None:
    from cli.render import age, now, print_folded
    from cli.terminal import console

    scope, out = switch.exact("scope"), console()
    whose = f" {switch.exact('tenant_id')}" if switch.exact("tenant_id") else ""
    what = {"agent": f"agent {switch.exact('agent_id')} of{whose}", "installation": "the whole installation"}
    by = f"pulled by {switch.exact('pulled_by')} {age(switch.time('pulled_at'), now())} ago"
    operators = ", the platform's operator" if scope in {"tenant_by_operator", "installation"} else ""
    print_folded(out, "", f"{what.get(scope, f'tenant{whose}')}  {by}{operators}")
    print_folded(out, "  ", switch.exact("reason"))
