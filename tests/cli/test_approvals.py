import json
from collections.abc import Callable

from tests.cli.conftest import Done
from tests.cli.stub_gateway import REQUEST, Entry, StubGateway, problem

Serve = Callable[[list[Entry]], StubGateway]
Cli = Callable[..., Done]
HASH = "ab" * 32
PENDING = {
    "request_id": REQUEST,
    "title": "Assistant wants to call http_post",
    "requester_id": "alice",
    "payload": {"tool": "http_post", "arguments": {"url": "https://example.org"}},
    "required_approvers": 2,
    "can_decide": False,
    "decisions": [],
    "edited": None,
    "content_hash": HASH,
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
    assert stub.posted("/approve") == [{"comment": "fine", "content_hash": HASH}]
    assert stub.posted("/reject") == [{}]


def test_an_approval_shows_exactly_what_it_is_for(gateway: Serve, taskforce: Cli) -> None:
    arguments = {"url": "https://example.org/" + "x" * 300, "body": "pay \u202e\u200b999\x1b[2K", "note": "für"}
    stub = gateway([])
    stub.pending.append({**PENDING, "payload": {"tool": "http_post", "arguments": arguments, "reason": "r"}})
    done = taskforce("approve", REQUEST, "--json")
    assert json.loads(done.out)["request_id"] == REQUEST
    title, tool, *shown = done.err.splitlines()
    assert title == "Assistant wants to call http_post, asked by alice"
    assert tool == "tool: http_post"
    assert json.loads("\n".join(shown)) == arguments
    assert "\\u202e\\u200b999\\u001b[2K" in done.err
    assert "für" in done.err


def test_what_an_earlier_approver_has_edited_is_what_is_shown(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway([])
    stub.pending.append({**PENDING, "edited": {"tool": "http_post", "arguments": {"url": "https://example.net"}}})
    done = taskforce("approve", REQUEST)
    assert "https://example.net" in done.err
    assert "https://example.org" not in done.err


def test_of_what_is_no_tool_call_all_is_shown(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway([])
    stub.pending.append({**PENDING, "title": "More money", "payload": {"amount": "10.50"}})
    assert '"amount": "10.50"' in taskforce("approve", REQUEST).err


def test_other_arguments_for_the_rest_of_the_run(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway([])
    stub.pending.append(dict(PENDING))
    assert taskforce("approve", REQUEST, "--arguments", '{"url": "https://example.com"}', "--for-run").code == 0
    assert stub.posted("/approve") == [
        {"arguments": {"url": "https://example.com"}, "content_hash": HASH, "for_run": True}
    ]
    for wrong in ("[1]", "{", '{"amount": 1e400}', '{"to": "\\ud800"}'):
        done = taskforce("approve", REQUEST, "--arguments", wrong, "--json")
        assert (done.code, json.loads(done.out)["error"]["code"]) == (2, "arguments_invalid")
    assert len(stub.posted("/approve")) == 1


def test_a_decision_that_comes_too_late_or_on_something_else(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway([])
    stub.pending.append(dict(PENDING))
    for code in ("request_closed", "content_changed"):
        stub.answers[f"/admin/requests/{REQUEST}/approve"] = problem(409, code, "Look at it again.")
        done = taskforce("approve", REQUEST)
        assert done.code == 8
        assert code in done.err


def test_a_request_that_nobody_knows(gateway: Serve, taskforce: Cli) -> None:
    gateway([])
    assert taskforce("approve", REQUEST).code == 7
