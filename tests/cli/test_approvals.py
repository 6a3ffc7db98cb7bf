import json
from collections.abc import Callable

from tests.cli.conftest import Done
from tests.cli.stub_gateway import REQUEST, Entry, StubGateway, problem

Serve = Callable[[list[Entry]], StubGateway]
Cli = Callable[..., Done]
PENDING = {
    "request_id": REQUEST,
    "title": "Assistant wants to call http_post",
    "requester_id": "alice",
    "payload": {"tool": "http_post", "arguments": {"url": "https://example.org"}},
    "required_approvers": 2,
    "can_decide": False,
    "decisions": [],
    "expires_at": "2026-01-08T09:00:00Z",
}


def test_pending_requests_are_listed_with_what_is_asked(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway([])
    assert taskforce("approvals").out == "Nothing waits for a decision.\n"
    stub.pending.append(dict(PENDING))
    done = taskforce("approvals")
    for part in (REQUEST, "alice", 'url="https://example.org"', "somebody else decides"):
        assert part in done.out
    assert json.loads(taskforce("approvals", "--json").out)["items"] == [PENDING]


def test_decisions_are_sent_with_their_comment(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway([])
    stub.pending.append(dict(PENDING))
    done = taskforce("approve", REQUEST[:8], "--comment", "fine")
    assert done.out == "approved  Assistant wants to call http_post  (1 of 2 decisions)\n"
    assert json.loads(taskforce("reject", REQUEST, "--json").out)["request_id"] == REQUEST
    assert stub.posted("/approve") == [{"comment": "fine"}]
    assert stub.posted("/reject") == [{}]


def test_a_decision_that_comes_too_late(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway([])
    stub.answers[f"/admin/requests/{REQUEST}/approve"] = problem(409, "request_closed", "It is closed.")
    done = taskforce("approve", REQUEST)
    assert done.code == 8
    assert "request_closed" in done.err
