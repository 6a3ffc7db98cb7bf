"""Bodies and paths to try with ids of other tenants."""

import re
from collections.abc import Mapping
from uuid import uuid4

import httpx

GRANT = {"role_id": "viewer", "resource_type": "agent", "resource_id": "some-agent"}


VERSION = {"version_number": "9.0.0", "definition": {}}


BUDGET = {"name": "x", "scope": "tenant", "unit": "tokens", "period": "month", "limit": "1"}


CATALOG = {"clone": {"name": "x"}, "versions": VERSION, "import": {"version": "9.0.0"}, "{alias}": {"version": "0.1.0"}}


BODIES = {
    "messages": {"text": "x"},
    "grants": GRANT,
    "comments": {"comment": "x"},
    "reassign": {"people": ["x"]},
    "adjustments": {"amount": "1", "currency": "USD", "reason": "x"},
    "{budget_id}": BUDGET,
    **CATALOG,
} | dict.fromkeys(("cancel", "pause", "resume"))


def body_of(path: str) -> object:
    """A body that the route of a path takes."""
    return {"reason": "x"} if "/kill-switches/" in path else BODIES.get(path.rpartition("/")[2], {})


VARYING = {"date", "x-request-id"}


def seen(answer: httpx.Response) -> tuple[int, dict[str, str], bytes]:
    headers = {name: value for name, value in answer.headers.items() if name not in VARYING}
    return answer.status_code, headers, answer.content


def filled(path: str, ids: Mapping[str, str]) -> str:
    rest = {"step": "1", "call": "1", "path": "notes.txt", "alias": "stable", **ids}
    return re.sub(r"{(\w+)}", lambda name: rest.get(name[1], str(uuid4())), path)
