"""`taskforce kill-switches`, against a scripted gateway."""

import json
from collections.abc import Callable

import pytest
from starlette.responses import JSONResponse, Response

from tests.cli.conftest import Done, Person
from tests.cli.stub_gateway import AT, Entry, StubGateway, problem

Serve = Callable[[list[Entry]], StubGateway]
Cli = Callable[..., Done]
SWITCH = {
    "scope": "agent",
    "tenant_id": "acme",
    "agent_id": "helper",
    "reason": "It deletes.\u202e\nwhat it should read",
    "pulled_by": "ada",
    "pulled_at": AT,
}
OF_ALL = {**SWITCH, "scope": "installation", "tenant_id": None, "agent_id": None, "pulled_by": "pia"}
PATH = "/admin/kill-switches"
PATHS = (
    (("agent", "a/b"), f"{PATH}/agents/a/b"),
    (("tenant",), f"{PATH}/tenant"),
    (("tenant", "acme"), f"{PATH}/tenants/acme"),
    (("installation", "--yes"), f"{PATH}/installation"),
)


def test_what_is_halted_is_listed_with_who_and_why(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway([])
    stub.documents[PATH] = {"items": [], "next_cursor": None}
    assert taskforce("kill-switches", "list").out == "No kill switch is pulled.\n"
    by_operator = {**SWITCH, "scope": "tenant_by_operator", "agent_id": None}
    stub.documents[PATH] = {"items": [SWITCH, by_operator, OF_ALL], "next_cursor": None}
    shown = taskforce("kill-switches", "list").out
    for part in ("agent helper of acme  pulled by ada", "tenant acme  pulled", "the whole installation  pulled by pia"):
        assert part in shown
    assert shown.count(r"  It deletes.\u202e\nwhat it should read" + "\n") == 3
    assert json.loads(taskforce("kill-switches", "list", "--json").out)["items"] == [SWITCH, by_operator, OF_ALL]


@pytest.mark.parametrize(("target", "path"), PATHS)
def test_a_switch_is_pulled_with_its_reason_and_let_go(
    gateway: Serve, taskforce: Cli, target: tuple[str, ...], path: str
) -> None:
    stub = gateway([])
    stub.answers[path] = JSONResponse(SWITCH)
    assert json.loads(taskforce("kill-switches", "pull", *target, "--reason", "Why.", "--json").out) == SWITCH
    stub.answers[path] = Response(status_code=204)
    assert "Let go" in taskforce("kill-switches", "release", *target).out
    assert stub.asked == [("PUT", path, {"reason": "Why."}), ("DELETE", path, {})]


def test_what_is_not_said_is_asked_for(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway([])
    for arguments in (
        ("pull", "tenant"),
        ("pull", "agent", "--reason", "x"),
        ("pull", "everything", "--reason", "x"),
        ("pull", "installation", "acme", "--reason", "x", "--yes"),
        ("pull", "installation", "--reason", "x"),
        ("release", "installation"),
        ("release", "agent"),
    ):
        assert taskforce("kill-switches", *arguments).code == 2
    assert stub.asked == []


def test_whoever_halts_all_tenants_is_asked(gateway: Serve, person: Callable[..., Person]) -> None:
    stub = gateway([])
    stub.answers[f"{PATH}/installation"] = JSONResponse(OF_ALL)
    for answer, asked in (("n\n", 0), ("y\n", 1)):
        pia = person("kill-switches", "pull", "installation", "--reason", "Why.")
        pia.see("All agents of all tenants will be halted. Do it? [y/N]:")
        pia.type(answer)
        assert (pia.leave() == 0) is bool(asked)
        assert len(stub.asked) == asked


def test_refusals_end_as_other_commands_do(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway([])
    stub.answers[f"{PATH}/tenants/acme"] = problem(403, "operator_only", "Only the operator.")
    assert taskforce("kill-switches", "release", "tenant", "acme").code == 6
