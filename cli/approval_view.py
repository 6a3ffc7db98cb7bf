"""How requests for approval look: whole, with everything that an approver answers for, and in the list.

What people and models have written cannot pass for a line of ours: each text is on one line with escapes for what is
not seen, and what does not fit goes on under its own column.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final

from rich.console import Console
from rich.text import Text

from cli.documents import Document
from cli.render import age, print_folded, status_text
from cli.terminal import exact_json, one_line
from taskforce.core.domain.visible_text import visible

_NAME: Final = 12
_GUTTER: Final = "  │ "
_LISTED: Final = 400
_MARKS: Final = {"added": "+", "removed": "-", "changed": "~"}


def print_waiting(console: Console, requests: Iterable[Document], now: datetime) -> None:
    """Prints the list of requests that wait.

    Args:
        console: Where to.
        requests: Items of `GET /admin/requests/pending`.
        now: The time now, UTC.
    """
    for request in requests:
        head = Text.assemble((request.exact("request_id"), "bold"), f"  asked by {request.exact('requester_id')}")
        head.append(f"  {age(request.time('expires_at'), now)} left", style="dim")
        if not request.flag("can_decide", default=True):
            head.append("  (yours; somebody else decides)", style="yellow")
        console.print(head, soft_wrap=True)
        asked = _asked(request)
        for line in (request.exact("title"), _brief(asked.raw.get("arguments", {}) if asked.raw.get("tool") else {})):
            print_folded(console, "  ", line)


def print_request(console: Console, request: Document, changes: Document | None, now: datetime) -> None:
    """Prints a request whole.

    Args:
        console: Where to.
        request: The request.
        changes: Of a publication: the differences to the version that is published now; None if they are not known.
        now: The time now, UTC.
    """
    head = Text.assemble(("request ", "dim"), (request.exact("request_id"), "bold"), "  ")
    console.print(head.append(status_text(request.exact("status"))).append(f"  {request.exact('request_type')}"))
    for name, text in _facts(request, now):
        _print_fact(console, name, text)
    _print_content(console, request)
    if request.text("request_type") == "agent_publish":
        _print_changes(console, request, changes)


def print_document(console: Console, title: str, document: object) -> None:
    """Prints a JSON document whole, behind a gutter that no line of it can leave.

    Args:
        console: Where to.
        title: What it is.
        document: What a JSON parser returned.
    """
    console.print(Text(title, style="bold"))
    for line in exact_json(document).split("\n"):
        print_folded(console, _GUTTER, line)


def print_decided(console: Console, request: Document) -> None:
    """Prints on one line what a decision has made of a request."""
    decisions = request.items("decisions")
    line = Text.assemble(status_text(request.text("status")), f"  {one_line(request.text('title'))}")
    line.append(f"  ({len(decisions)} of {request.number('required_approvers') or 1} decisions)", style="dim")
    console.print(line, soft_wrap=True)


def _facts(request: Document, now: datetime) -> Iterator[tuple[str, str]]:
    yield "what", request.exact("title")
    yield "asked by", f"{request.exact('requester_id')}, {_when(request, 'opened_at', now)}"
    for reason in (request.exact("description"), request.child("payload").exact("reason")):
        if reason:
            yield "reason", reason
    if request.exact("run_id"):
        yield "run", f"{request.exact('run_id')}, step {request.number('step')}, call {request.number('call')}"
    elif request.exact("resource_id"):
        yield "about", f"{request.exact('resource_type')} {request.exact('resource_id')}"
    yield "may decide", _deciders(request)
    yield from (("decided", _decided(one, request)) for one in request.items("decisions"))
    if request.exact("reason"):
        yield "outcome", request.exact("reason")
    yield "if approved", _consequence(request)
    yield "expires", _when(request, "expires_at", now)
    if request.exact("next_action"):
        yield "before that", f"{request.exact('next_action')}, {_when(request, 'next_at', now)}"
    yield "hash", request.exact("content_hash")


def _when(request: Document, key: str, now: datetime) -> str:
    at = request.time(key)
    if at is None:
        return "at a time that is not known"
    relative = f"in {age(at, now)}" if at > now else f"{age(at, now)} ago"
    return f"{relative} ({at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC)"


def _deciders(request: Document) -> str:
    roles, people = request.exact_texts("allowed_roles"), request.exact_texts("allowed_people")
    who = [f"role {', '.join(roles)}"] if roles else []
    who += [", ".join(people)] if people else []
    needed = f"approvals needed: {request.number('required_approvers') or 1}"
    closing = f"rejections that close it: {request.number('rejections_to_close') or 1}"
    own = "you may" if request.flag("can_decide", default=True) else "you may not"
    comment = "; each with a comment" if request.flag("comment_required") else ""
    return f"{' or '.join(who) or 'nobody'} ({needed}; {closing}{comment}; {own})"


def _decided(one: Document, request: Document) -> str:
    behalf = f" in place of {one.exact('on_behalf_of')}" if one.exact("on_behalf_of") else ""
    channel = f" by {one.exact('channel')}" if one.exact("channel") else ""
    said = f"{one.exact('approver_id')}: {one.exact('verdict')}{behalf}{channel} {one.exact('at')}".rstrip()
    other = one.exact("content_hash") not in {"", request.exact("content_hash")}
    earlier = " (for earlier content: counts no more)" if other and one.text("verdict") == "approve" else ""
    comment = f", saying: {one.exact('comment')}" if one.exact("comment") else ""
    return f"{said}{earlier}{comment}"


def _consequence(request: Document) -> str:
    kind, payload = request.text("request_type"), request.child("payload")
    if kind == "tool_call":
        rest = ", and the tool again without asking in this run" if request.flag("for_run") else ""
        return f"the run calls the tool with exactly these arguments{rest}"
    if not request.flag("carries_out", default=True):
        return "nothing by itself: somebody who may does it"
    follows = {
        "agent_publish": "the version is published: new runs of the agent use it",
        "permission_escalation": f"{request.exact('requester_id')} gets the role that is named below",
        "data_export": f"{request.exact('requester_id')} may download the export",
        "budget_raise": _raised(payload),
    }
    return follows.get(kind, "nothing by itself: the approval is the record")


def _raised(payload: Document) -> str:
    if payload.exact("budget_id"):
        return "the budget is raised by the amount that is named below, for this period alone"
    return f"run {payload.exact('run_id')} may use as much as is named below"


def _asked(request: Document) -> Document:
    return request.child("edited") if request.raw.get("edited") else request.child("payload")


def _print_content(console: Console, request: Document) -> None:
    asked, first = _asked(request), request.child("payload")
    if not first.raw.get("tool"):
        print_document(console, "what is asked for", asked.raw)
        return
    _print_fact(console, "tool", asked.exact("tool"))
    print_document(console, "arguments", asked.raw.get("arguments", {}))
    if asked is not first and request.raw.get("edited"):
        print_document(console, "arguments before an approver changed them", first.raw.get("arguments", {}))


def _print_changes(console: Console, request: Document, changes: Document | None) -> None:
    if changes is None:
        console.print(Text("changes: you may not read the agent, so they cannot be shown", style="yellow"))
        return
    before, after = changes.child("before"), changes.child("after")
    if before.exact("status") not in {"published", "deprecated"} or before.raw == after.raw:
        console.print(Text("changes: no version is published now; all of it is new", style="bold"))
        return
    if after.exact("config_hash") != request.child("payload").exact("config_hash"):
        console.print(Text("changes: the version is no longer what is asked for", style="red"))
        return
    console.print(Text(f"changes to {before.exact('version_number')}, the version that is published now", style="bold"))
    for one in changes.items("changes"):
        _print_change(console, one)
    if not changes.items("changes"):
        print_folded(console, _GUTTER, "none")


def _print_change(console: Console, change: Document) -> None:
    kind = change.text("kind")
    print_folded(console, _GUTTER, f"{_MARKS.get(kind, '?')} {change.exact('path')}")
    for key, without in (("before", "added"), ("after", "removed")):
        if kind != without:
            for line in exact_json(change.raw.get(key)).split("\n"):
                print_folded(console, _GUTTER, f"  {key:<6} {line}")


def _brief(arguments: object) -> str:
    """Formats arguments on one line, for the list; what is cut off is said."""
    import json

    text = visible(json.dumps(arguments, ensure_ascii=False)) if arguments else ""
    if len(text) <= _LISTED:
        return text
    return f"{text[:_LISTED]}… and {len(text) - _LISTED} characters more"


def _print_fact(console: Console, name: str, text: str) -> None:
    print_folded(console, f"{name:<{_NAME}} ", text, then=" " * (_NAME + 1))
