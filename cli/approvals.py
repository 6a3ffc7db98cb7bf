"""Commands of those who decide: list what is pending, approve, reject."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from cli.exits import Exit, Trouble
from cli.options import AsJson, Comment, RequestId, Token, Url
from cli.terminal import complain, console, write_json

if TYPE_CHECKING:
    from cli.gateway import Gateway

_LIMIT = 100


def approvals(*, as_json: AsJson = False, url: Url = None, token: Token = None) -> None:
    """Lists the requests that wait for you."""
    from cli.gateway import open_gateway
    from cli.render import now, requests_table

    found = open_gateway(url, token).get("/admin/requests/pending", limit=_LIMIT)
    if as_json:
        write_json(found.raw)
        return
    waiting = found.items("items")
    if not waiting:
        typer.echo("Nothing waits for a decision.")
        return
    console().print(requests_table(waiting, now()))
    complain('Decide: taskforce approve ID, or taskforce reject ID --comment "why"', "dim")


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
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Approves a request, and shows what it asks for; whatever has changed since then is not approved."""
    from cli.gateway import open_gateway
    from cli.render import tell_content

    said: dict[str, object] = {} if arguments is None else {"arguments": _object(arguments)}
    gateway = open_gateway(url, token)
    path = f"/admin/requests/{gateway.request_id(request)}"
    asked = gateway.get(path)
    tell_content(asked)
    said |= {"content_hash": asked.text("content_hash"), **({"for_run": True} if for_run else {})}
    _decide(gateway, f"{path}/approve", comment, said, as_json=as_json)


def reject(
    request: RequestId, *, comment: Comment = None, as_json: AsJson = False, url: Url = None, token: Token = None
) -> None:
    """Rejects a request; the comment reaches the agent."""
    from cli.gateway import open_gateway

    gateway = open_gateway(url, token)
    _decide(gateway, f"/admin/requests/{gateway.request_id(request)}/reject", comment, {}, as_json=as_json)


def _decide(gateway: "Gateway", path: str, comment: str | None, body: Mapping[str, object], *, as_json: bool) -> None:
    from cli.render import print_request

    answer = gateway.post(path, {**body, **({"comment": comment} if comment else {})})
    if as_json:
        write_json(answer.raw)
    else:
        print_request(console(), answer)


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
