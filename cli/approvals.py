"""Commands of those who decide: list what is pending, approve, reject."""

import typer

from cli.options import AsJson, Comment, RequestId, Token, Url
from cli.terminal import complain, console, write_json

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
    request: RequestId, *, comment: Comment = None, as_json: AsJson = False, url: Url = None, token: Token = None
) -> None:
    """Approves a request."""
    _decide(request, "approve", comment, url, token, as_json=as_json)


def reject(
    request: RequestId, *, comment: Comment = None, as_json: AsJson = False, url: Url = None, token: Token = None
) -> None:
    """Rejects a request; the comment reaches the agent."""
    _decide(request, "reject", comment, url, token, as_json=as_json)


def _decide(request: str, verb: str, comment: str | None, url: str | None, token: str | None, *, as_json: bool) -> None:
    from cli.gateway import open_gateway
    from cli.render import print_request

    gateway = open_gateway(url, token)
    path = f"/admin/requests/{gateway.request_id(request)}/{verb}"
    answer = gateway.post(path, {"comment": comment} if comment else {})
    if as_json:
        write_json(answer.raw)
    else:
        print_request(console(), answer)
