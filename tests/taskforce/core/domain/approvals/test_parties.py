"""Who counts as one person where a request is decided."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskforce.core.domain.approvals.approval import Approval, Channel, Decision, Verdict
from taskforce.core.domain.approvals.parties import DecisionGrounds, Party, recent_grants
from taskforce.core.domain.approvals.terms import Terms
from taskforce.core.domain.errors import Conflict
from taskforce.core.domain.identity.access_grants import AccessGrant, grants_between
from taskforce.core.domain.identity.users import UserRecord

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
PEOPLE = st.frozensets(st.sampled_from(["ada", "bob", "cyd", "dan"]), min_size=1, max_size=3)
PARTIES = st.builds(Party, PEOPLE, st.frozensets(st.sampled_from(["ada", "bob", "cyd", "dan"]), max_size=2))
TIMES = (Terms(required_approvers=3), Terms(required_approvers=3, self_approval=True))


def party(*people: str, sponsors: tuple[str, ...] = ()) -> Party:
    return Party(frozenset(people), frozenset(sponsors))


@given(PARTIES, PARTIES)
def test_whoever_is_one_with_another_is_so_from_both_sides(one: Party, other: Party) -> None:
    assert one.is_same_as(other) == other.is_same_as(one)
    assert one.is_tied_to(other) == other.is_tied_to(one)
    assert one.is_same_as(one)


def test_who_has_let_somebody_in_is_tied_to_them_and_two_whom_they_let_in_are_not_tied_to_each_other() -> None:
    ada, bob, cyd = party("ada"), party("bob", sponsors=("ada",)), party("cyd", sponsors=("ada",))
    assert ada.is_tied_to(bob)
    assert not bob.is_tied_to(cyd)
    assert not ada.is_same_as(bob)


def code(approval: Approval, approver: str, decides: Party, asks: Party) -> str | None:
    try:
        approval.check_independent(approver, decides, asks)
    except Conflict as refused:
        return refused.code
    return None


@pytest.mark.parametrize(
    ("decides", "asks", "found"),
    [
        (party("bob"), party("ada"), None),
        (party("bob", "ada"), party("ada"), "self_approval"),
        (party("bob"), party("ada", "bob"), "self_approval"),
        (party("bob", sponsors=("ada",)), party("ada"), "not_independent"),
        (party("bob", sponsors=("cyd",)), party("ada", "cyd"), "not_independent"),
    ],
)
def test_nobody_decides_behind_whom_the_requester_stands(decides: Party, asks: Party, found: str | None) -> None:
    strict, lax = (Approval("r", "ada", terms, NOW) for terms in TIMES)
    assert code(strict, "bob", decides, asks) == found
    assert code(lax, "bob", decides, asks) is None


@pytest.mark.parametrize(
    ("decides", "found"),
    [
        (party("bob"), None),
        (party("bob", "eve"), "already_decided"),
        (party("bob", "eric"), "already_decided"),
        (party("bob", sponsors=("eric",)), "not_independent"),
        (party("fay"), "not_independent"),
        (party("bob", sponsors=("fay",)), None),
    ],
)
def test_nobody_decides_behind_whom_another_stands_who_has_decided(decides: Party, found: str | None) -> None:
    spoken = Decision("eve", Verdict.APPROVE, "", Channel.API, NOW, party=party("eve", "eric", sponsors=("fay",)))
    approval = Approval("r", "ada", TIMES[0], NOW, (spoken,))
    assert code(approval, "bob", decides, party("ada")) == found
    # What was said is said once more when its first saying was lost.
    assert code(approval, "eve", party("eve", "eric"), party("ada")) is None


@pytest.mark.parametrize(
    ("grounds", "roles"),
    [
        (DecisionGrounds(frozenset({"new"})), {None, "new"}),
        (DecisionGrounds(frozenset({"new", "old"})), {None}),
        (DecisionGrounds(frozenset({"other"})), {None}),
        (DecisionGrounds(frozenset({"new"}), named=True), {None}),
        (None, {None, "new", "newer"}),
    ],
)
def test_a_role_ties_if_it_is_recent_and_they_decide_by_it_alone(
    grounds: DecisionGrounds | None, roles: set[str | None]
) -> None:
    ages = {None: 1, "new": 2, "newer": 3, "old": 30}
    grants = [AccessGrant("bob", "ada", NOW - hours * HOUR, role) for role, hours in ages.items()]
    assert {one.role for one in recent_grants(grants, NOW - 24 * HOUR, grounds)} == roles


def test_what_a_change_gives_somebody() -> None:
    bob = UserRecord("acme", "bob", "bob", active=False, granted_roles=frozenset({"viewer"}))
    after = UserRecord(
        "acme", "bob", "bob", granted_roles=frozenset({"admin"}), lent_roles={"operator": NOW + HOUR}
    ).given("auditor", NOW + HOUR, NOW)
    assert [one.role for one in grants_between(bob, after, "ada", NOW)] == [None, "admin", "auditor", "operator"]
    assert grants_between(after, after, "ada", NOW) == ()
    longer = after.given("operator", NOW + 2 * HOUR, NOW)
    assert grants_between(after, longer, "ada", NOW, "k") == (AccessGrant("bob", "ada", NOW, "operator", "k"),)
    assert grants_between(longer, after, "ada", NOW) == ()
    assert [one.role for one in grants_between(None, bob, "ada", NOW)] == [None, "viewer"]
