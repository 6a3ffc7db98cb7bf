"""What of a request may stand in Temporal's history and UI."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from taskforce.core.domain.approvals.approval import Approval
from taskforce.core.domain.approvals.excerpt import MAX_EXCERPT, ExcerptRules
from taskforce.core.domain.approvals.records import Request
from taskforce.core.domain.approvals.terms import Terms

AT = datetime(2026, 1, 8, tzinfo=UTC)
KEY = "sk-live-0123456789abcdefABCDEF"


def request(payload: Mapping[str, object], *, signals: bool = True) -> Request:
    terms = Terms(required_approvers=1, allowed_roles=("admin",), expire_seconds=60, signal_channel=signals)
    approval = Approval("r-1", "alice", terms, AT)
    return Request(approval, "run-1", 1, 1, "tool_call", "tool", "pay", "Pay", payload, "hash")


def test_a_call_shows_its_arguments_and_another_request_its_payload() -> None:
    call = request({"tool": "pay", "arguments": {"to": "Ünal", "amount": 7}, "reason": "I must."})
    assert ExcerptRules().excerpt(call) == '{"to": "Ünal", "amount": 7}'
    assert ExcerptRules().excerpt(request({"amount": "10.50"})) == '{"amount": "10.50"}'


def test_nothing_is_shown_where_nobody_decides_from_there_or_the_profile_says_no() -> None:
    asked: Mapping[str, object] = {"tool": "pay", "arguments": {"amount": 7}}
    assert ExcerptRules().excerpt(request(asked, signals=False)) == ""
    assert replace(ExcerptRules(), shown=False).excerpt(request(asked)) == ""


@pytest.mark.parametrize(
    "arguments",
    [
        {"password": "hunter2hunter2"},
        {"headers": {"Authorization": "Bearer 0123456789abcdef"}},
        {"url": "https://ada:hunter2hunter2@example.org"},
        {"note": f"the key is {KEY}"},
        {"note": "ours is known-by-value"},
        {"padding": "x" * (MAX_EXCERPT - 30), "note": f"the key is {KEY}"},
    ],
)
def test_no_secret_gets_out_not_even_a_half_of_one(arguments: dict[str, object]) -> None:
    rules = ExcerptRules(secrets=("known-by-value",))
    shown = rules.excerpt(request({"tool": "pay", "arguments": arguments}))
    for secret in ("hunter2", "0123456789abcdef", "sk-live", "known-by-value"):
        assert secret not in shown


def test_it_is_bounded_and_says_what_it_leaves_out() -> None:
    shown = ExcerptRules().excerpt(request({"tool": "pay", "arguments": {"body": "word " * 5_000}}))
    assert len(shown) < MAX_EXCERPT + 40
    assert shown.endswith(" characters more)")
