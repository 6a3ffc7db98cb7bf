"""The rules by which people decide."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from taskforce.core.domain.approvals.approval import Approval, ApprovalStatus, Channel, Decision, Verdict
from taskforce.core.domain.approvals.terms import ActionKind, Deciders, Terms, TimedAction
from taskforce.core.domain.canonical_json import canonical_hash
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


WEEKS = NOW + timedelta(days=30)


def test_a_request_that_expired_says_what_came_in_time() -> None:
    two = request(required_approvers=2, rejections_to_close=2)
    one = two.decide(says("bob", comment="fine"))
    assert one.reason(WEEKS) == "only 1 of 2 approvals came in time; bob: fine"
    both = one.decide(says("carol", Verdict.REJECT, comment="too much"))
    assert both.reason(WEEKS) == "only 1 of 2 approvals came in time; bob: fine; 1 of 2 rejections; carol: too much"
    against = two.decide(says("carol", Verdict.REJECT))
    assert against.reason(WEEKS) == "only 0 of 2 approvals came in time; 1 of 2 rejections; carol"


def test_a_request_that_was_taken_back_says_by_whom_and_why() -> None:
    assert request().withdraw(NOW, "alice", "not needed").reason(NOW) == "alice withdrew the request: not needed"
    assert request().withdraw(NOW, "alice", " ").reason(NOW) == "alice withdrew the request"
    assert request().withdraw(NOW).reason(NOW) == "the request was withdrawn"
    assert request().void(NOW, "The run has ended.").reason(NOW) == "The run has ended."


def test_a_comment_is_required_where_the_terms_say_so() -> None:
    assert refusal(request(comment_required=True), says("bob", comment="  ")) == "comment_required"
    assert request(comment_required=True).decide(says("bob", comment="fine")).status(NOW) is ApprovalStatus.APPROVED


def test_whoever_stands_for_somebody_speaks_for_both_of_them_once() -> None:
    for_carol = replace(says("bob", comment="fine"), on_behalf_of="carol")
    approval = request(required_approvers=3).decide(for_carol)
    assert refusal(approval, says("bob")) == refusal(approval, says("carol")) == "already_decided"
    assert refusal(approval, replace(says("dave"), on_behalf_of="carol")) == "already_decided"
    assert refusal(request(), replace(says("bob"), on_behalf_of="alice")) == "self_approval"
    assert request().decide(for_carol).reason(NOW) == "bob for carol: fine"


def test_an_approval_with_other_content_begins_the_count_anew() -> None:
    asked = Approval("1", "alice", Terms(required_approvers=2), NOW, content="asked")
    edited = asked.decide(says("bob")).decide(replace(says("carol"), content="edited"), seen="asked")
    assert (edited.content, edited.status(NOW)) == ("edited", ApprovalStatus.PENDING)
    with pytest.raises(Conflict, match="changed meanwhile"):
        edited.decide(says("dave"), seen="asked")
    assert refusal(edited, says("carol")) == "already_decided"
    assert edited.decide(says("bob"), seen="edited").status(NOW) is ApprovalStatus.APPROVED


def test_who_brings_back_what_they_have_approved_is_not_counted_twice() -> None:
    asked = Approval("r", "alice", Terms(required_approvers=2), NOW, content="asked")
    edited = asked.decide(says("bob")).decide(replace(says("carol"), content="edited"))
    with pytest.raises(Conflict, match="exactly this"):
        edited.decide(replace(says("bob"), content="asked"))
    # Brought back by somebody else, both stand for it.
    assert edited.decide(replace(says("dave"), content="asked")).status(NOW) is ApprovalStatus.APPROVED


def test_a_rejection_stays_whatever_the_content_becomes() -> None:
    asked = Approval("1", "alice", Terms(rejections_to_close=2), NOW, content="asked")
    rejected = asked.decide(replace(says("bob", Verdict.REJECT), content="other"))
    assert rejected.content == "asked"
    assert refusal(rejected, says("bob")) == "already_decided"


DAY = 24 * 3_600
CHAIN = (
    TimedAction(ActionKind.REASSIGN, 7 * DAY, Deciders(people=("erin",))),
    TimedAction(ActionKind.REMIND, 1 * DAY),
    TimedAction(ActionKind.WIDEN, 3 * DAY, Deciders(roles=("cfo", "admin"))),
)


def test_timed_actions_happen_one_after_the_other_and_change_who_may_decide() -> None:
    approval = request(actions=CHAIN, expire_seconds=14 * DAY)
    seen = []
    while (action := approval.next_action) is not None:
        with pytest.raises(Conflict):
            approval.act(approval.next_at() - SECOND)
        approval = approval.act(approval.next_at())
        seen.append((action.kind, approval.who))
    assert seen == [
        (ActionKind.REMIND, Deciders(("admin",))),
        (ActionKind.WIDEN, Deciders(("admin", "cfo"))),
        (ActionKind.REASSIGN, Deciders(people=("erin",))),
    ]
    assert approval.next_at() == approval.expires_at == NOW + 14 * DAY * SECOND
    assert approval.who.include("erin", ())
    assert not approval.who.include("bob", ("admin",))


def test_what_is_over_is_not_reassigned_withdrawn_voided_or_acted_on() -> None:
    over = request(actions=CHAIN, expire_seconds=14 * DAY).decide(says("bob"))
    changes: list[Callable[[], Approval]] = [
        lambda: over.reassign(Deciders(("cfo",)), NOW),
        lambda: over.withdraw(NOW),
        lambda: over.void(NOW),
        lambda: over.act(NOW + DAY * SECOND),
    ]
    for change in changes:
        with pytest.raises(Conflict) as refused:
            change()
        assert refused.value.code == "request_closed"
    assert request().void(NOW).reason(NOW) == "what was asked for has changed"
    with pytest.raises(Invalid):
        request().reassign(Deciders(), NOW)


@pytest.mark.parametrize(
    "terms",
    [
        {"allowed_roles": ()},
        {"allowed_roles": (), "allowed_people": ("bob", "bob"), "required_approvers": 2},
        {"expire_seconds": 367 * DAY},
        {"actions": (TimedAction(ActionKind.WIDEN, 60),)},
        {"actions": (TimedAction(ActionKind.REMIND, 0),)},
        {"actions": (TimedAction(ActionKind.REMIND, 72 * 3_600),)},
        {"actions": (TimedAction(ActionKind.REMIND, 60),) * 51},
    ],
)
def test_terms_that_make_no_sense_are_refused(terms: dict[str, object]) -> None:
    with pytest.raises(Invalid) as refused:
        request(**terms)
    assert refused.value.code == "terms_invalid"


@pytest.mark.parametrize("name", ["required_approvers", "rejections_to_close", "expire_seconds"])
@pytest.mark.parametrize("number", [0, -1])
def test_terms_under_which_nobody_need_be_asked_are_refused(name: str, number: int) -> None:
    with pytest.raises(Invalid) as refused:
        request(**{name: number})
    assert refused.value.code == "terms_invalid"


PEOPLE = st.sampled_from(["alice", "bob", "carol", "dave", "erin"])
CONTENTS = st.sampled_from([None, "asked", "edited", "edited again"])
ACTIONS = st.lists(
    st.builds(
        TimedAction,
        st.sampled_from(ActionKind),
        st.integers(1, 99),
        st.builds(Deciders, st.just(("admin",)), st.lists(PEOPLE, max_size=2).map(tuple)),
    ),
    max_size=4,
).map(tuple)


class Deciding(RuleBasedStateMachine):
    """Any sequence of words, edits, waits, timed actions, reassignments and ends."""

    @initialize(
        approvers=st.integers(1, 3),
        rejections=st.integers(1, 3),
        oneself=st.booleans(),
        signals=st.booleans(),
        actions=ACTIONS,
    )
    def ask(
        self, approvers: int, rejections: int, oneself: bool, signals: bool, actions: tuple[TimedAction, ...]
    ) -> None:
        terms = Terms(approvers, rejections, ("admin",), oneself, 100, signals, actions=actions)
        self.approval, self.now = Approval("1", "alice", terms, NOW, content="asked"), NOW
        self.content, self.acted = "asked", 0
        self.ended: ApprovalStatus | None = None

    @rule(
        who=PEOPLE,
        verdict=st.sampled_from(Verdict),
        channel=st.sampled_from(Channel),
        behalf=st.none() | PEOPLE,
        content=CONTENTS,
        seen=CONTENTS,
    )
    def decide(
        self, who: str, verdict: Verdict, channel: Channel, behalf: str | None, content: str | None, seen: str | None
    ) -> None:
        decision = Decision(who, verdict, "", channel, self.now, behalf, content)
        before = self.approval
        try:
            self.approval = before.decide(decision, seen)
        except Conflict:
            assert self.approval is before
            return
        assert before.status(self.now) is ApprovalStatus.PENDING
        assert seen in {None, self.content}
        if verdict is Verdict.APPROVE:
            self.content = content or self.content

    @rule(seconds=st.integers(0, 60))
    def wait(self, seconds: int) -> None:
        self.now += seconds * SECOND

    @rule()
    def act(self) -> None:
        before = self.approval
        try:
            self.approval = before.act(self.now)
        except Conflict:
            return
        self.acted += 1
        assert before.status(self.now) is ApprovalStatus.PENDING
        assert self.now >= before.next_at()

    @rule(who=PEOPLE)
    def reassign(self, who: str) -> None:
        with suppress(Conflict):
            self.approval = self.approval.reassign(Deciders(people=(who,)), self.now)

    @rule(end=st.sampled_from(["withdraw", "void"]))
    def end(self, end: str) -> None:
        with suppress(Conflict):
            self.approval = getattr(self.approval, end)(self.now)

    @invariant()
    def nobody_counts_twice(self) -> None:
        approval = self.approval
        counted = [d for d in approval.decisions if d.verdict is Verdict.REJECT or d.content == approval.content]
        people = [person for decision in counted for person in decision.people]
        assert len(set(people)) == len(people)

    @invariant()
    def nobody_counts_who_may_not(self) -> None:
        terms = self.approval.terms
        for decision in self.approval.decisions:
            assert terms.self_approval or "alice" not in decision.people
            assert terms.signal_channel or decision.channel is Channel.API
            assert decision.at < self.approval.expires_at

    @invariant()
    def it_is_approved_by_a_quorum_of_the_same_content_or_not_at_all(self) -> None:
        status, terms = self.approval.status(self.now), self.approval.terms
        if status in {ApprovalStatus.WITHDRAWN, ApprovalStatus.VOIDED}:
            return
        assert self.approval.content == self.content
        approved = sum(d.content == self.content for d in self.approval.decisions if d.verdict is Verdict.APPROVE)
        rejected = sum(d.verdict is Verdict.REJECT for d in self.approval.decisions)
        assert (status is ApprovalStatus.REJECTED) == (rejected >= terms.rejections_to_close)
        if status is not ApprovalStatus.REJECTED:
            assert (status is ApprovalStatus.APPROVED) == (approved >= terms.required_approvers)
        if status is ApprovalStatus.EXPIRED:
            assert self.now >= self.approval.expires_at

    @invariant()
    def actions_happen_in_order_and_once(self) -> None:
        assert self.approval.acted == self.acted <= len(self.approval.terms.actions)
        assert self.approval.who

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
    assert canonical_hash(dict(reversed(content.items()))) == canonical_hash(content)


@given(JSON, JSON)
def test_other_content_has_another_hash(one: object, other: object) -> None:
    assert canonical_hash([one, 1]) != canonical_hash([other, 2])


def test_the_hash_is_over_canonical_json() -> None:
    assert canonical_hash({"b": 1, "a": "ü"}) == hashlib.sha256('{"a":"ü","b":1}'.encode()).hexdigest()


def test_any_text_that_json_can_carry_can_be_hashed() -> None:
    assert canonical_hash("\ud800") != canonical_hash("?")
    assert canonical_hash("\x00") != canonical_hash("")


def test_who_rejects_has_approved_nothing_also_when_an_edit_is_taken_back() -> None:
    approval = replace(request(required_approvers=2, rejections_to_close=2), content="first")
    approval = approval.decide(says("bob")).decide(replace(says("carol"), content="second"))
    approval = approval.decide(says("bob", Verdict.REJECT)).decide(replace(says("dan"), content="first"))
    assert approval.status(NOW) is ApprovalStatus.PENDING
    assert approval.decide(says("erin")).status(NOW) is ApprovalStatus.APPROVED
