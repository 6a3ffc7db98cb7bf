"""The rules by which people decide."""

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from taskforce.core.domain.approvals import (
    Approval,
    ApprovalStatus,
    Channel,
    Decision,
    Terms,
    Verdict,
    content_hash,
)
from taskforce.core.domain.errors import Conflict, Invalid

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def request(**terms: object) -> Approval:
    return Approval("1", "alice", Terms(**terms), NOW)  # type: ignore[arg-type]  # each test names what it is about


def says(who: str, verdict: Verdict = Verdict.APPROVE, *, at: datetime = NOW, comment: str = "") -> Decision:
    return Decision(who, verdict, comment, Channel.API, at)


def refusal(approval: Approval, decision: Decision) -> str:
    with pytest.raises(Conflict) as refused:
        approval.decide(decision)
    return refused.value.code


def test_a_quorum_of_distinct_people_approves() -> None:
    approval = request(required_approvers=2).decide(says("bob"))
    assert approval.status(NOW) is ApprovalStatus.PENDING
    assert refusal(approval, says("bob")) == "already_decided"
    assert approval.decide(says("carol")).status(NOW) is ApprovalStatus.APPROVED


def test_the_requester_decides_only_where_the_terms_allow_it() -> None:
    assert refusal(request(), says("alice")) == "self_approval"
    assert request(self_approval=True).decide(says("alice")).status(NOW) is ApprovalStatus.APPROVED


def test_it_takes_as_many_rejections_as_the_terms_say() -> None:
    approval = request(rejections_to_close=2, required_approvers=2).decide(says("bob", Verdict.REJECT))
    assert approval.status(NOW) is ApprovalStatus.PENDING
    assert approval.decide(says("carol", Verdict.REJECT)).status(NOW) is ApprovalStatus.REJECTED


def test_a_request_expires_to_the_second_and_a_quorum_in_time_stays() -> None:
    approval = request(expire_seconds=60)
    last = NOW + 60 * SECOND - timedelta(microseconds=1)
    assert approval.status(last) is ApprovalStatus.PENDING
    assert approval.status(NOW + 60 * SECOND) is ApprovalStatus.EXPIRED
    assert refusal(approval, says("bob", at=NOW + 60 * SECOND)) == "request_closed"
    approved = approval.decide(says("bob", at=last))
    assert approved.status(NOW + 999 * SECOND) is ApprovalStatus.APPROVED


def test_a_signal_counts_only_where_the_terms_allow_it() -> None:
    claimed = Decision("bob", Verdict.APPROVE, "", Channel.SIGNAL, NOW)
    assert refusal(request(), claimed) == "channel_refused"
    assert request(signal_channel=True).decide(claimed).status(NOW) is ApprovalStatus.APPROVED


def test_the_reason_names_who_said_what() -> None:
    rejected = request().decide(says("bob", Verdict.REJECT, comment="too much"))
    assert rejected.reason(NOW) == "bob: too much"
    approved = request(required_approvers=2).decide(says("bob")).decide(says("carol", comment="fine"))
    assert approved.reason(NOW) == "bob; carol: fine"
    assert request().reason(NOW + timedelta(days=30)) == "nobody decided in time"
    assert Approval("1", "alice", Terms(), NOW, withdrawn=True).reason(NOW) == "the request was withdrawn"


@pytest.mark.parametrize("name", ["required_approvers", "rejections_to_close", "expire_seconds"])
@pytest.mark.parametrize("number", [0, -1])
def test_terms_under_which_nobody_need_be_asked_are_refused(name: str, number: int) -> None:
    with pytest.raises(Invalid) as refused:
        request(**{name: number})
    assert refused.value.code == "terms_invalid"


PEOPLE = st.sampled_from(["alice", "bob", "carol", "dave", "erin"])


@dataclass
class Heard:
    """What should count, kept apart from the rules under test."""

    approved: set[str] = field(default_factory=set)
    rejected: set[str] = field(default_factory=set)


class Deciding(RuleBasedStateMachine):
    """Any sequence of words, waits and withdrawals."""

    @initialize(approvers=st.integers(1, 3), rejections=st.integers(1, 3), oneself=st.booleans(), signals=st.booleans())
    def ask(self, approvers: int, rejections: int, oneself: bool, signals: bool) -> None:
        terms = Terms(approvers, rejections, ("admin",), oneself, 100, signals)
        self.approval, self.now, self.heard = Approval("1", "alice", terms, NOW), NOW, Heard()
        self.ended: ApprovalStatus | None = None

    @rule(who=PEOPLE, verdict=st.sampled_from(Verdict), channel=st.sampled_from(Channel))
    def decide(self, who: str, verdict: Verdict, channel: Channel) -> None:
        decision = Decision(who, verdict, "", channel, self.now)
        before = self.approval
        try:
            self.approval = before.decide(decision)
        except Conflict:
            assert self.approval is before
            return
        assert before.status(self.now) is ApprovalStatus.PENDING
        (self.heard.approved if verdict is Verdict.APPROVE else self.heard.rejected).add(who)

    @rule(seconds=st.integers(0, 60))
    def wait(self, seconds: int) -> None:
        self.now += seconds * SECOND

    @invariant()
    def nobody_counts_twice(self) -> None:
        people = [decision.approver_id for decision in self.approval.decisions]
        assert len(set(people)) == len(people)
        assert set(people) == self.heard.approved | self.heard.rejected

    @invariant()
    def nobody_counts_who_may_not(self) -> None:
        terms = self.approval.terms
        for decision in self.approval.decisions:
            assert terms.self_approval or decision.approver_id != "alice"
            assert terms.signal_channel or decision.channel is Channel.API
            assert decision.at < self.approval.expires_at

    @invariant()
    def it_is_approved_by_a_quorum_or_not_at_all(self) -> None:
        status, terms = self.approval.status(self.now), self.approval.terms
        assert (status is ApprovalStatus.APPROVED) == (len(self.heard.approved) >= terms.required_approvers)
        assert (status is ApprovalStatus.REJECTED) == (len(self.heard.rejected) >= terms.rejections_to_close)
        if status is ApprovalStatus.EXPIRED:
            assert self.now >= self.approval.expires_at

    @invariant()
    def what_has_ended_stays_as_it_ended(self) -> None:
        status = self.approval.status(self.now)
        if self.ended is not None:
            assert status is self.ended
        elif status is not ApprovalStatus.PENDING:
            self.ended = status


TestDeciding = Deciding.TestCase
TestDeciding.settings = settings(max_examples=100, stateful_step_count=20, deadline=None)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=4))
def test_the_hash_does_not_depend_on_the_order_of_keys(content: dict[str, object]) -> None:
    assert content_hash(dict(reversed(content.items()))) == content_hash(content)


@given(JSON, JSON)
def test_other_content_has_another_hash(one: object, other: object) -> None:
    assert content_hash([one, 1]) != content_hash([other, 2])


def test_the_hash_is_over_canonical_json() -> None:
    assert content_hash({"b": 1, "a": "ü"}) == hashlib.sha256('{"a":"ü","b":1}'.encode()).hexdigest()


def test_any_text_that_json_can_carry_can_be_hashed() -> None:
    assert content_hash("\ud800") != content_hash("?")
    assert content_hash("\x00") != content_hash("")
