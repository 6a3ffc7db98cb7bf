import json
from collections.abc import Callable

from starlette.responses import JSONResponse

from tests.cli.conftest import Done
from tests.cli.stub_gateway import SIMPLE, Entry, StubGateway

Serve = Callable[[list[Entry]], StubGateway]
Cli = Callable[..., Done]
LISTED = {
    "agent_id": "019300cc-0000-7000-8000-000000000009",
    "slug": "customer-support-agent",
    "name": "Customer Support Agent\x1b[31m",
    "description": "Handles customer inquiries",
    "category": "support",
    "current_version": "1.0.0",
    "latest_version": "1.1.0",
    "latest_status": "pending_approval",
}
SHOWN = LISTED | {
    "tags": ["nlp", "production"],
    "owner_id": "alice",
    "aliases": {"stable": "1.0.0"},
    "versions": [
        {"version_number": "1.1.0", "status": "pending_approval", "config_hash": "ab" * 32, "created_by": "alice"},
        {"version_number": "1.0.0", "status": "published", "config_hash": "cd" * 32, "created_by": "alice"},
    ],
}


def test_agents_are_listed_and_what_is_asked_for_is_sent(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway([])
    stub.answers["/admin/agents"] = JSONResponse({"items": [LISTED], "next_cursor": "more"})
    done = taskforce("agents", "list", "--query", "customer", "--tag", "nlp", "--limit", "5")
    for part in ("customer-support-agent", "1.0.0", "1.1.0 pending_approval", "support", "Handles customer inquiries"):
        assert part in done.out
    assert "\x1b" not in done.out
    assert "There are more" in done.err
    assert stub.asked[-1] == ("GET", "/admin/agents", {"limit": "5", "q": "customer", "tag": "nlp"})
    assert json.loads(taskforce("agents", "list", "--json").out)["items"] == [LISTED]
    stub.answers["/admin/agents"] = JSONResponse({"items": [], "next_cursor": None})
    assert taskforce("agents", "list").out == "There is no such agent.\n"


def test_an_agent_is_shown_with_its_versions(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway([])
    stub.answers["/admin/agents/customer-support-agent"] = JSONResponse(SHOWN)
    done = taskforce("agents", "show", "customer-support-agent")
    for part in (
        "nlp, production",
        'stable="1.0.0"',
        "1.1.0",
        "pending_approval",
        "published",
        "cdcdcdcdcdcd",
        "alice",
    ):
        assert part in done.out
    assert json.loads(taskforce("agents", "show", "customer-support-agent", "--json").out) == SHOWN
    assert taskforce("agents", "show", "absent").code == 7


def test_a_run_names_the_version_of_its_agent(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway(SIMPLE)
    stub.run["agent_version"] = {"slug": "customer-support-agent", "version_number": "1.0.0"}
    done = taskforce("run", "--agent", "customer-support-agent", "--alias", "stable", "Count.")
    assert "customer-support-agent@1.0.0" in done.out
    (order,) = stub.posted("/agents/execute")
    assert order == {"mission": "Count.", "agent_id": "customer-support-agent", "alias": "stable"}
