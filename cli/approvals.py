"""Commands of those who decide: list what is pending, show it, approve, reject."""

import json
import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Final

import typer

from cli.exits import Exit, Trouble
from cli.options import AsJson, Comment, RequestId, Token, Url
from cli.streams import is_interactive
from cli.terminal import complain, console, errors, write_json

if TYPE_CHECKING:
    from cli.documents import Document
    from cli.gateway import Gateway

_PAGE: Final = 100
_HASH: Final = re.compile(r"[0-9a-f]{64}")

app = typer.Typer(
    name="approvals",
    help="Lists the requests that wait for you, and shows one whole.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def approvals(context: typer.Context, *, as_json: AsJson = False, url: Url = None, token: Token = None) -> None:
    """Lists the requests that wait for you, and your own; `show ID` shows one whole."""
    if context.invoked_subcommand is None:
        # The program imports this module, so what it wraps its commands in can only be had when a command runs.
        from cli.reporting import reported

        reported(_list)(as_json=as_json, url=url, token=token)


@app.command()
def show(
    context: typer.Context, request: RequestId, *, as_json: AsJson = False, url: Url = None, token: Token = None
) -> None:
    """Shows a request whole: what is asked and by whom, who has decided, what follows, until when, and its hash."""
    from cli.reporting import reported

    # Before the command's name they count too.
    given = context.parent.params if context.parent else {}
    url, token = url or given.get("url"), token or given.get("token")
    reported(_show)(request, as_json=as_json or bool(given.get("as_json")), url=url, token=token)


def approve(
    request: RequestId,
    *,
    comment: Comment = None,
    arguments: Annotated[
        str | None,
        typer.Option("--arguments", metavar="JSON", help="Approves the tool call with these arguments instead."),
    ] = None,
    for_run: Annotated[
        bool, typer.Option("--for-run", help="The tool needs no further approval in this run, if all say so.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not show and ask; needs --hash.")] = False,
    seen: Annotated[
        str | None,
        typer.Option("--hash", metavar="HASH", help="The hash that `taskforce approvals show ID` has shown you."),
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Shows a request whole, asks, and approves exactly that; whatever has changed since then is not approved."""
    from cli.gateway import open_gateway

    instead = None if arguments is None else _object(arguments)
    _require_hash(seen, needed=yes, request=request)
    if not yes:
        _require_person(request)
    gateway = open_gateway(url, token)
    path = _path(gateway, request)
    if not yes:
        seen = _asked(gateway, path, seen, instead)
    said: dict[str, object] = {} if instead is None else {"arguments": instead}
    said |= {"content_hash": seen, **({"for_run": True} if for_run else {})}
    _decide(gateway, f"{path}/approve", comment, said, as_json=as_json)


def reject(
    request: RequestId,
    *,
    comment: Comment = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not show and ask.")] = False,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Rejects a request; the comment reaches the agent. At a terminal it is shown whole before, and you are asked."""
    from cli.gateway import open_gateway

    gateway = open_gateway(url, token)
    path = _path(gateway, request)
    # Nothing follows from a rejection, whatever it is about: so a script needs neither a hash nor --yes.
    if not yes and _is_person():
        _print_whole(gateway, gateway.get(path), to_errors=True)
        _confirm("Reject this?")
    _decide(gateway, f"{path}/reject", comment, {}, as_json=as_json)


def _list(*, as_json: bool, url: str | None, token: str | None) -> None:
    from cli.approval_view import print_waiting
    from cli.gateway import open_gateway
    from cli.render import now

    waiting = _pending(open_gateway(url, token))
    if as_json:
        write_json({"items": [one.raw for one in waiting], "next_cursor": None})
        return
    if not waiting:
        typer.echo("Nothing waits for a decision.")
        return
    print_waiting(console(), waiting, now())
    complain(
        'Look at one: taskforce approvals show ID. Decide: taskforce approve ID, or reject ID --comment "why"', "dim"
    )


def _pending(gateway: "Gateway") -> list["Document"]:
    """Reads all pages: a request that is left out may be the one that has waited longest."""
    found, cursor = [], None
    while True:
        page = gateway.get("/admin/requests/pending", limit=_PAGE, cursor=cursor)
        found += page.items("items")
        cursor = page.text("next_cursor") or None
        if cursor is None:
            return found


def _show(request: str, *, as_json: bool, url: str | None, token: str | None) -> None:
    from cli.gateway import open_gateway

    gateway = open_gateway(url, token)
    found = gateway.get(_path(gateway, request))
    if as_json:
        write_json(found.raw)
        return
    _print_whole(gateway, found)


def _print_whole(gateway: "Gateway", request: "Document", *, to_errors: bool = False) -> None:
    from cli.approval_view import print_request
    from cli.render import now

    print_request(errors() if to_errors else console(), request, _changes(gateway, request), now())


def _changes(gateway: "Gateway", request: "Document") -> "Document | None":
    """Reads what a publication changes; None for who may not read the agent, or where it is no publication."""
    from cli.gateway import item_path

    payload = request.child("payload")
    agent, version = payload.text("agent_id"), payload.text("version_id")
    if request.text("request_type") != "agent_publish" or not (agent and version):
        return None
    try:
        return gateway.get(f"{item_path('/admin/agents', agent)}/diff", to=version)
    except Trouble as trouble:
        if trouble.exit_code not in {Exit.REFUSED, Exit.NOT_FOUND}:
            raise
        return None


def _asked(gateway: "Gateway", path: str, seen: str | None, instead: Mapping[str, object] | None) -> str:
    """Shows a request and asks; returns the hash of what was shown."""
    from cli.approval_view import print_document

    found = gateway.get(path)
    shown = found.text("content_hash")
    if seen is not None and seen != shown:
        message = "The request has changed since that hash was shown; nothing was decided."
        raise Trouble(Exit.CONFLICT, "content_changed", message, hint="Look at it again: without --hash.")
    _print_whole(gateway, found, to_errors=True)
    if instead is not None:
        print_document(errors(), "you approve with these arguments instead", instead)
    _confirm("Approve exactly this?")
    return shown


def _confirm(question: str) -> None:
    if not typer.confirm(question, default=False, err=True):
        raise Trouble(Exit.USAGE, "not_confirmed", "Nothing was decided.")


def _is_person() -> bool:
    """Returns whether somebody sees what is shown, and can answer."""
    return is_interactive() and sys.stderr.isatty()


def _require_person(request: str) -> None:
    if not _is_person():
        hint = f"Look at it: taskforce approvals show {request}. Then: taskforce approve {request} --yes --hash HASH"
        raise Trouble(Exit.USAGE, "not_confirmed", "Nobody is there to be shown the request and asked.", hint=hint)


def _require_hash(seen: str | None, *, needed: bool, request: str) -> None:
    if seen is None and needed:
        hint = f"taskforce approvals show {request} shows it."
        raise Trouble(Exit.USAGE, "hash_missing", "--yes needs the hash of what you have seen: --hash HASH.", hint=hint)
    if seen is not None and not _HASH.fullmatch(seen):
        message = "A hash has 64 characters, 0 to 9 and a to f."
        raise Trouble(Exit.USAGE, "hash_invalid", message, hint=f"taskforce approvals show {request} shows it.")


def _path(gateway: "Gateway", request: str) -> str:
    return f"/admin/requests/{gateway.request_id(request)}"


def _decide(gateway: "Gateway", path: str, comment: str | None, body: Mapping[str, object], *, as_json: bool) -> None:
    from cli.approval_view import print_decided

    answer = gateway.post(path, {**body, **({"comment": comment} if comment else {})})
    if as_json:
        write_json(answer.raw)
    else:
        print_decided(console(), answer)


def _object(text: str) -> dict[str, object]:
    try:
        found = json.loads(text)
        # Half of a character and 1e400 are read, but cannot be sent.
        json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Trouble(Exit.USAGE, "arguments_invalid", "--arguments takes one JSON object.")
    return found
