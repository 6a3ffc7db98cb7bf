import json
import re
from collections.abc import Callable

import pytest

from tests.cli.conftest import Done, Person
from tests.cli.stub_gateway import REQUEST, Entry, StubGateway, problem

Serve = Callable[[list[Entry]], StubGateway]
Cli = Callable[..., Done]
HASH = "ab" * 32
OTHER_HASH = "cd" * 32
PENDING = {
    "request_id": REQUEST,
    "request_type": "tool_call",
    "status": "pending",
    "title": "Assistant wants to call http_post",
    "description": "",
    "requester_id": "alice",
    "payload": {"tool": "http_post", "arguments": {"url": "https://example.org"}, "reason": "The report is due."},
    "run_id": "019300aa-0000-7000-8000-000000000001",
    "step": 2,
    "call": 1,
    "required_approvers": 2,
    "rejections_to_close": 1,
    "allowed_roles": ["admin", "controller"],
    "allowed_people": ["u-17"],
    "comment_required": True,
    "can_decide": True,
    "carries_out": True,
    "decisions": [
        {
            "approver_id": "bob",
            "verdict": "approve",
            "comment": "fine by me",
            "channel": "signal",
            "at": "2026-01-08T08:00:00Z",
            "on_behalf_of": "carol",
            "content_hash": HASH,
        }
    ],
    "edited": None,
    "content_hash": HASH,
    "opened_at": "2026-01-08T07:00:00Z",
    "expires_at": "2026-01-08T09:00:00Z",
    "next_action": "remind",
    "next_at": "2026-01-08T08:30:00Z",
}
PUBLICATION = {
    **PENDING,
    "request_type": "agent_publish",
    "title": "Publish helper 2.0.0",
    "description": "Better words.",
    "run_id": None,
    "resource_type": "agent",
    "resource_id": "helper",
    "payload": {
        "agent_id": "a/1",
        "version_id": "v2",
        "version_number": "2.0.0",
        "config_hash": HASH,
        "definition": {"system_prompt": "Be brief.", "tools": ["http_post"]},
    },
}
DIFF = {
    "before": {"version_id": "v1", "version_number": "1.0.0", "status": "published", "config_hash": OTHER_HASH},
    "after": {"version_id": "v2", "version_number": "2.0.0", "status": "pending_approval", "config_hash": HASH},
    "changes": [
        {"path": "/system_prompt", "kind": "changed", "before": "Be kind.", "after": "Be brief."},
        {"path": "/tools", "kind": "added", "before": None, "after": ["http_post"]},
    ],
}
DIFF_PATH = "/admin/agents/a/1/diff"


@pytest.fixture
def stub(gateway: Serve) -> StubGateway:
    found = gateway([])
    found.pending.append(dict(PENDING))
    return found


def test_pending_requests_are_listed_with_what_is_asked(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway([])
    assert taskforce("approvals").out == "Nothing waits for a decision.\n"
    stub.pending.append({**PENDING, "can_decide": False})
    done = taskforce("approvals")
    for part in (REQUEST, "alice", '{"url": "https://example.org"}', "somebody else decides"):
        assert part in done.out
    assert json.loads(taskforce("approvals", "--json").out)["items"] == stub.pending


def test_the_list_has_all_pages(stub: StubGateway, taskforce: Cli) -> None:
    stub.pages = 3
    assert taskforce("approvals").out.count(REQUEST) == 3
    assert len(json.loads(taskforce("approvals", "--json").out)["items"]) == 3


def test_the_list_cuts_no_id_at_80_columns_and_says_what_it_cuts(
    stub: StubGateway, person: Callable[..., Person], taskforce: Cli
) -> None:
    requester = "somebody-with-a-long-name@department.company.example"
    long = {"tool": "http_post", "arguments": {"body": "x" * 1_000}}
    stub.pending[0] |= {"requester_id": requester, "payload": long}
    alice = person("approvals", columns=80)
    alice.leave()
    shown = alice.seen.replace("\r\n", "")
    assert REQUEST in shown
    assert requester in shown
    for out in (shown, taskforce("approvals").out):
        assert "characters more" in out


def test_a_request_is_shown_whole(stub: StubGateway, taskforce: Cli) -> None:
    stub.pending[0]["payload"] = {**PENDING["payload"], "arguments": {"url": "x" * 5_000}}  # type: ignore[dict-item]
    shown = taskforce("approvals", "show", REQUEST[:8]).out
    for part in (
        f"request {REQUEST}  pending  tool_call",
        "Assistant wants to call http_post",
        "alice, ",
        "2026-01-08 07:00:00 UTC",
        "The report is due.",
        "019300aa-0000-7000-8000-000000000001, step 2, call 1",
        "role admin, controller or u-17",
        "(approvals needed: 2; rejections that close it: 1; each with a comment; you may)",
        "bob: approve in place of carol by signal 2026-01-08T08:00:00Z, saying: fine by me",
        "the run calls the tool with exactly these arguments",
        "2026-01-08 09:00:00 UTC",
        "remind",
        HASH,
        "x" * 5_000,
    ):
        assert part in shown


def test_a_request_is_shown_as_json_wherever_the_options_stand(stub: StubGateway, taskforce: Cli) -> None:
    for arguments in (("show", REQUEST, "--json"), ("--json", "show", REQUEST)):
        assert json.loads(taskforce("approvals", *arguments).out) == stub.pending[0]


def test_what_an_earlier_approver_has_edited_is_shown_beside_what_was_asked(stub: StubGateway, taskforce: Cli) -> None:
    edited = {"tool": "http_post", "arguments": {"url": "https://example.net"}}
    stub.pending[0] |= {"edited": edited, "content_hash": OTHER_HASH}
    shown = taskforce("approvals", "show", REQUEST).out
    assert shown.index("https://example.net") < shown.index("before an approver changed") < shown.index("example.org")
    assert "(for earlier content: counts no more)" in shown


def test_of_a_publication_the_changes_are_shown(stub: StubGateway, taskforce: Cli) -> None:
    stub.pending[0] = dict(PUBLICATION)
    assert "you may not read the agent" in taskforce("approvals", "show", REQUEST).out
    stub.documents[DIFF_PATH] = DIFF
    shown = taskforce("approvals", "show", REQUEST).out
    for part in ("Better words.", "changes to 1.0.0", "~ /system_prompt", '"Be kind."', "+ /tools", '"tools": ['):
        assert part in shown
    assert ("GET", DIFF_PATH, {"to": "v2"}) in stub.asked
    stub.documents[DIFF_PATH] = {**DIFF, "before": {**DIFF["before"], "status": "draft"}}  # type: ignore[dict-item]
    assert "no version is published now" in taskforce("approvals", "show", REQUEST).out
    stub.documents[DIFF_PATH] = {**DIFF, "after": DIFF["before"] | {"version_id": "v2"}}  # type: ignore[operator]
    assert "no longer what is asked for" in taskforce("approvals", "show", REQUEST).out


@pytest.mark.parametrize(
    ("changed", "follows"),
    [
        ({"request_type": "agent_publish"}, "the version is published"),
        ({"request_type": "agent_publish", "carries_out": False}, "nothing by itself"),
        ({"request_type": "permission_escalation", "payload": {"role": "r"}}, "alice gets the role"),
        ({"request_type": "budget_raise", "payload": {"run_id": "run-9"}}, "run run-9 may use"),
        ({"request_type": "custom", "payload": {"amount": "10.50"}}, "the approval is the record"),
        ({"for_run": True}, "without asking in this run"),
    ],
)
def test_what_follows_is_told(stub: StubGateway, taskforce: Cli, changed: dict[str, object], follows: str) -> None:
    stub.pending[0] |= changed
    shown = taskforce("approvals", "show", REQUEST).out
    assert follows in shown
    payload = changed.get("payload", {})
    assert isinstance(payload, dict)
    assert all(f'"{name}": "{value}"' in shown for name, value in payload.items())


HOSTILE = "pay \u202e\u200b999\x1b[2K\x9b2J\r\n\u2028hash         0\u00ad\u3164\U000e0041"
ESCAPED = r"pay \u202e\u200b999\u001b[2K\u009b2J\r\n\u2028hash         0\u00ad\u3164\udb40\udc41"


@pytest.mark.parametrize("command", [("approvals",), ("approvals", "show", REQUEST)])
def test_texts_of_models_and_people_show_their_controls_and_obey_none(
    stub: StubGateway, taskforce: Cli, command: tuple[str, ...]
) -> None:
    hostile = {"tool": HOSTILE, "arguments": {HOSTILE: HOSTILE, "note": "für"}, "reason": HOSTILE}
    decision = {**PENDING["decisions"][0], "approver_id": HOSTILE, "comment": HOSTILE}  # type: ignore[index]
    stub.pending[0] |= {"title": HOSTILE, "requester_id": HOSTILE, "payload": hostile, "decisions": [decision]}
    stub.pending[0] |= {"allowed_people": [HOSTILE], "description": HOSTILE, "next_action": HOSTILE}
    done = taskforce(*command)
    assert done.code == 0
    assert ESCAPED in done.out
    assert "für" in done.out
    assert not set(done.out) & set("\u202e\u200b\x1b\x9b\r\u2028\u00ad\u3164\U000e0041")
    assert not any(line.startswith("hash ") and line.split()[1] != HASH for line in done.out.splitlines())


def test_a_text_cannot_fill_the_line_to_write_on_the_next(stub: StubGateway, person: Callable[..., Person]) -> None:
    for columns in (60, 80):
        for title in (" " * (columns - 13) + "hash         0000", "x" * columns + "hash         0000"):
            stub.pending[0] |= {"title": title, "payload": {"tool": "t", "arguments": {title: title}}}
            alice = person("approvals", "show", REQUEST, columns=columns)
            alice.leave()
            lines = plain(alice.seen).splitlines()
            assert [line.split()[1] for line in lines if line.startswith("hash ")] == [HASH[: columns - 13]]
            assert all(len(line) <= columns for line in lines)


def plain(seen: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", seen.replace("\r\n", "\n"))


def test_an_approver_is_shown_all_and_asked_before_anything_is_decided(
    stub: StubGateway, person: Callable[..., Person]
) -> None:
    alice = person("approve", REQUEST[:8], "--comment", "fine")
    alice.see("https://example.org")
    alice.see("Approve exactly this? [y/N]:")
    assert stub.posted("/approve") == []
    # What changes while somebody reads is not what they approve.
    stub.pending[0] |= {"content_hash": OTHER_HASH}
    alice.type("y\n")
    alice.see("1 of 2 decisions")
    assert alice.leave() == 0
    assert stub.posted("/approve") == [{"comment": "fine", "content_hash": HASH}]


def test_whoever_does_not_say_yes_decides_nothing(stub: StubGateway, person: Callable[..., Person]) -> None:
    for command, question in (("approve", "Approve exactly this?"), ("reject", "Reject this?")):
        for answer in ("n\n", "\n", "\x04"):
            alice = person(command, REQUEST)
            alice.see("https://example.org")
            alice.see(question)
            alice.type(answer)
            assert alice.leave() != 0
    assert stub.posted("/approve") == stub.posted("/reject") == []


def test_where_nobody_is_asked_an_approval_needs_the_hash_that_was_shown(stub: StubGateway, taskforce: Cli) -> None:
    for arguments, code in (
        ((), "not_confirmed"),
        (("--hash", HASH), "not_confirmed"),
        (("--yes",), "hash_missing"),
        (("--yes", "--hash", HASH[:12]), "hash_invalid"),
    ):
        done = taskforce("approve", REQUEST, *arguments, "--json", given="y\n")
        error = json.loads(done.out)["error"]
        assert (done.code, error["code"]) == (2, code)
        assert f"taskforce approvals show {REQUEST}" in error["hint"]
    assert stub.asked == []
    done = taskforce("approve", REQUEST, "--yes", "--hash", HASH, "--comment", "fine")
    assert done.out == "approved  Assistant wants to call http_post  (1 of 2 decisions)\n"
    assert stub.posted("/approve") == [{"comment": "fine", "content_hash": HASH}]


def test_a_hash_of_something_else_is_told_before_anybody_reads_on(
    stub: StubGateway, person: Callable[..., Person]
) -> None:
    alice = person("approve", REQUEST, "--hash", OTHER_HASH)
    assert alice.leave() == 8
    assert "content_changed" in alice.seen
    assert stub.posted("/approve") == []


def test_a_script_rejects_without_being_asked_as_nothing_follows(stub: StubGateway, taskforce: Cli) -> None:
    assert json.loads(taskforce("reject", REQUEST, "--json").out)["request_id"] == REQUEST
    assert taskforce("reject", REQUEST, "--comment", "no").code == 0
    assert stub.posted("/reject") == [{}, {"comment": "no"}]


def test_other_arguments_for_the_rest_of_the_run(
    stub: StubGateway, taskforce: Cli, person: Callable[..., Person]
) -> None:
    other = ("--arguments", '{"url": "https://example.com"}', "--for-run")
    alice = person("approve", REQUEST, *other)
    alice.see("you approve with these arguments instead")
    alice.see("https://example.com")
    alice.type("y\n")
    assert alice.leave() == 0
    assert taskforce("approve", REQUEST, *other, "--yes", "--hash", HASH).code == 0
    sent = {"arguments": {"url": "https://example.com"}, "content_hash": HASH, "for_run": True}
    assert stub.posted("/approve") == [sent, sent]
    for wrong in ("[1]", "{", '{"amount": 1e400}', '{"to": "\\ud800"}'):
        done = taskforce("approve", REQUEST, "--arguments", wrong, "--json")
        assert (done.code, json.loads(done.out)["error"]["code"]) == (2, "arguments_invalid")
    assert len(stub.posted("/approve")) == 2


def test_a_decision_that_comes_too_late_or_on_something_else(stub: StubGateway, taskforce: Cli) -> None:
    for code in ("request_closed", "content_changed"):
        stub.answers[f"/admin/requests/{REQUEST}/approve"] = problem(409, code, "Look at it again.")
        done = taskforce("approve", REQUEST, "--yes", "--hash", HASH)
        assert done.code == 8
        assert code in done.err


def test_a_request_that_nobody_knows(gateway: Serve, taskforce: Cli) -> None:
    gateway([])
    assert taskforce("approvals", "show", REQUEST).code == 7
    assert taskforce("approve", REQUEST, "--yes", "--hash", HASH).code == 7
