"""`taskforce tenants`: for whoever runs the platform. Deletes a tenant, and shows the report of it."""

import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from cli.exits import Exit, Trouble
from cli.groups import command_group
from cli.options import AsJson, Token, Url
from cli.streams import is_interactive

if TYPE_CHECKING:
    from cli.documents import Document
    from cli.gateway import Gateway

_EVERY_SECONDS: Final = 1.0
_OVER: Final = frozenset({"keeping_log", "done"})
_SAID: Final = {
    "requested": "waiting for a worker",
    "ending_runs": "ending its runs",
    "erasing": "erasing",
    "keeping_log": "all but the audit log is erased",
    "done": "nothing of it is left",
}

TenantId = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's id.")]

app = command_group("tenants", "Deletes tenants, and shows what became of those that were deleted.")


@app.command()
def delete(
    tenant: TenantId,
    *,
    drain: Annotated[
        int | None,
        typer.Option(
            "--drain",
            min=1,
            metavar="SECONDS",
            help="Let its runs go on for so long; by default they are cancelled.",
            show_default=False,
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Deletes a tenant with all that it has, and follows it until all but the audit log is erased.

    Nobody of the tenant gets in from the beginning on. The audit log stays for its time; what was erased when, and by
    whose wish, is kept for ever, and so the id is not given again. Ctrl-C leaves; the deletion goes on.
    """
    # The program imports this module, so what it wraps its commands in can only be had when a command runs.
    from cli.reporting import reported

    reported(_delete)(tenant=tenant, drain=drain, yes=yes, as_json=as_json, url=url, token=token)


@app.command()
def report(tenant: TenantId, *, as_json: AsJson = False, url: Url = None, token: Token = None) -> None:
    """Shows the report of a tenant's deletion, as far as it has come."""
    from cli.reporting import reported

    reported(_report)(tenant=tenant, as_json=as_json, url=url, token=token)


def _delete(*, tenant: str, drain: int | None, yes: bool, as_json: bool, url: str | None, token: str | None) -> None:
    from cli.gateway import open_gateway

    if not yes:
        _confirm(tenant)
    gateway = open_gateway(url, token)
    runs = None if drain is None else "drain"
    begun = gateway.delete(_path(tenant), runs=runs, drain_seconds=drain)
    try:
        _show(_followed(gateway, tenant, begun, quiet=as_json), as_json=as_json)
    except Trouble as trouble:
        trouble.hint = f"The deletion goes on: taskforce tenants report {tenant}. {trouble.hint}".strip()
        raise


def _report(*, tenant: str, as_json: bool, url: str | None, token: str | None) -> None:
    from cli.gateway import open_gateway

    _show(open_gateway(url, token).get(f"{_path(tenant)}/deletion"), as_json=as_json)


def _confirm(tenant: str) -> None:
    if not is_interactive():
        raise Trouble(Exit.USAGE, "not_confirmed", "Nobody is there to be asked.", hint="--yes deletes without asking.")
    typed = typer.prompt(f"Everything of {tenant} will be erased, for ever. Type its id to delete it", err=True)
    if typed.strip() != tenant:
        raise Trouble(Exit.USAGE, "not_confirmed", "That is another id; nothing was deleted.")


def _followed(gateway: "Gateway", tenant: str, deletion: "Document", *, quiet: bool) -> "Document":
    from cli.terminal import complain

    told = ""
    while True:
        status = deletion.text("status")
        if status != told and not quiet:
            complain(f"{tenant}: {_SAID.get(status, status)}{_until(deletion, status)}", "dim")
        told = status
        if status in _OVER:
            return deletion
        time.sleep(_EVERY_SECONDS)
        deletion = gateway.get(f"{_path(tenant)}/deletion")


def _until(deletion: "Document", status: str) -> str:
    until = deletion.text("runs_until")
    return f", which have time until {until}" if status == "ending_runs" and until else ""


def _show(found: "Document", *, as_json: bool) -> None:
    from cli.terminal import console, write_json

    if as_json:
        write_json(found.raw)
        return
    out = console()
    for name, value in _lines(found):
        out.print(f"{name:<17} {value}", soft_wrap=True)


def _lines(found: "Document") -> list[tuple[str, str]]:
    log, histories = found.child("log"), found.child("histories")
    lines = [
        ("tenant", found.text("tenant_id")),
        ("status", _SAID.get(found.text("status"), found.text("status"))),
        ("asked for", f"by {found.text('requested_by')} at {found.text('requested_at')}"),
        *((phase.text("phase").replace("_", " "), phase.text("at")) for phase in found.items("phases")),
        ("runs", _counted(found.child("runs_ended"))),
        ("requests", _counted(found.child("requests_closed"))),
        ("rows erased", _counted(found.child("erased"))),
    ]
    if histories.raw:
        lines.append(("histories", _counted(histories)))
    anchor = log.text("anchor")
    lines.append(("audit log", f"ended at {anchor}" if anchor else f"kept until {log.text('kept_until')}"))
    return lines + [("remains", text) for text in found.texts("remains")]


def _counted(numbers: "Document") -> str:
    from cli.terminal import one_line

    return one_line(", ".join(f"{name} {numbers.number(name)}" for name in sorted(numbers.raw)) or "none", 2_000)


def _path(tenant: str) -> str:
    from cli.gateway import item_path

    return item_path("/admin/tenants", tenant)
