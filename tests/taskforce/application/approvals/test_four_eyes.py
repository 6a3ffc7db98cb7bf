"""A decision counts for the human behind it: what `docs/approvals.md` promises under "Four eyes", a test for each."""

from dataclasses import replace
from datetime import timedelta

import pytest

from taskforce.application.approvals.changes import ApprovalChanges
from taskforce.application.approvals.decisions import DecisionAttempt, RecordedDecision
from taskforce.application.approvals.delegations import delegate
from taskforce.application.approvals.requests import ApprovalRequestSpec, insert_request
from taskforce.application.identity import users
from taskforce.application.identity.api_keys import NewKey, issue_key
from taskforce.application.identity.principals import Actor, load_principal_for_key
from taskforce.application.identity.users import NewUser, UserChange
from taskforce.core.domain.approvals.approval import ApprovalStatus, Channel, Decision, Verdict
from taskforce.core.domain.approvals.changes import Change
from taskforce.core.domain.approvals.parties import MOST_PEOPLE
from taskforce.core.domain.approvals.records import HistoryEntry
from taskforce.core.domain.approvals.terms import ActionKind, Deciders, Terms, TimedAction
from taskforce.core.domain.errors import DomainError
from taskforce.core.domain.identity.users import UserRecord
from taskforce.core.domain.ids import new_id
from tests.taskforce.application.identity.people import actor
from tests.taskforce.application.scenario import AGENT, RULES, Stage

HOUR = timedelta(hours=1)
DAY = 24 * HOUR
TERMS = Terms(required_approvers=2, allowed_roles=("operator",))
OPEN_TO_KEYS = replace(TERMS, service_accounts=True)
OPERATOR, WIDE = frozenset({"operator"}), frozenset({"admin", "operator"})


async def speaking(stage: Stage, who: str, key_id: str | None = None) -> Actor:
    """Somebody, by a key perhaps, as they stand now."""
    async with stage.database.tenant(stage.tenant_id) as records:
        return Actor(await load_principal_for_key(records, who, key_id, RULES, stage.now), RULES, None, stage.now)


async def asked(
    stage: Stage, who: str = "rita", key_id: str | None = None, terms: Terms = TERMS, **escalation: object
) -> str:
    """Somebody asks for something, by a key perhaps; returns the request."""
    kind = "permission_escalation" if escalation else "custom"
    wanted = ApprovalRequestSpec(kind, "May I?", "", "none", "", escalation, terms)
    asks = await speaking(stage, who, key_id)
    async with stage.database.tenant(stage.tenant_id) as records:
        return (await insert_request(records, asks, wanted, new_id())).approval.request_id


async def word(stage: Stage, request_id: str, who: str, key_id: str | None = None) -> str:
    """Somebody approves, by a key perhaps: `counts`, or the code of what stands against it."""
    try:
        behalf = await stage.decisions.authorize(
            DecisionAttempt(stage.tenant_id, request_id, who, Channel.API, key_id=key_id)
        )
    except DomainError as refused:
        return refused.code
    said = Decision(who, Verdict.APPROVE, "", Channel.API, stage.now, behalf, key_id=key_id)
    await stage.decisions.record(stage.tenant_id, request_id, RecordedDecision(said))
    return "counts"


async def key(stage: Stage, issuer: str, of: str, by: str | None = None, roles: frozenset[str] = OPERATOR) -> str:
    """A key that somebody issues, for themselves or another, by a key perhaps."""
    return (await issue_key(stage.database, await speaking(stage, issuer, by), NewKey(of, "ci", roles))).key.key_id


async def service(stage: Stage, maker: str, name: str, by: str | None = None, roles: frozenset[str] = OPERATOR) -> None:
    wanted = NewUser("service", name, roles=roles)
    await users.create_user(stage.database, await speaking(stage, maker, by), wanted)


async def give(stage: Stage, giver: str, to: str, *roles: str) -> None:
    await users.change_user(stage.database, await actor(stage, giver), to, UserChange(roles=frozenset(roles)))


async def told(stage: Stage, request_id: str, who: str) -> HistoryEntry:
    """Somebody's word as the history tells it."""
    async with stage.database.tenant(stage.tenant_id) as records:
        history = await records.requests.history(request_id)
    (one,) = [one for one in history if (one.kind, one.actor_id) == ("approved_by", who)]
    return one


@pytest.fixture(autouse=True)
async def people(stage: Stage) -> None:
    """Rita asks, olga and otto decide by what their identity provider says; ada and adam administer."""
    await stage.person("rita", "viewer")
    for name in ("olga", "otto"):
        await stage.person(name, "operator")
    for name in ("ada", "adam"):
        await stage.person(name, "admin", "operator")


async def test_two_people_are_two(stage: Stage) -> None:
    request_id = await asked(stage)
    assert [await word(stage, request_id, who) for who in ("olga", "otto")] == ["counts", "counts"]


# A key that somebody else has issued, and a service account, decide nothing.


async def test_a_key_issued_in_a_colleagues_name_decides_nothing(stage: Stage) -> None:
    request_id = await asked(stage)
    for colleague in ("olga", "otto"):
        assert await word(stage, request_id, colleague, await key(stage, "ada", colleague)) == "key_may_not"


async def test_a_service_account_decides_nothing(stage: Stage) -> None:
    request_id = await asked(stage)
    await service(stage, "ada", "svc")
    assert await word(stage, request_id, "svc", await key(stage, "ada", "svc")) == "key_may_not"
    # Nor does it where nobody has signed in, by a signal that claims its name.
    assert await word(stage, request_id, "svc") == "key_may_not"


async def test_a_key_that_somebody_has_issued_for_themselves_decides_as_they_do(stage: Stage) -> None:
    request_id = await asked(stage)
    own = await key(stage, "ada", "ada")
    assert await word(stage, request_id, "ada", own) == "counts"
    assert await word(stage, request_id, "ada") == "already_decided"


async def test_a_key_issued_by_a_key_that_somebody_else_issued_decides_nothing(stage: Stage) -> None:
    """Else ada would issue the key of adam's with which adam issues one for himself."""
    request_id = await asked(stage)
    of_adam = await key(stage, "ada", "adam", roles=WIDE)
    own = await key(stage, "adam", "adam", by=of_adam)
    assert await word(stage, request_id, "adam", own) == "key_may_not"


@pytest.mark.parametrize(("terms", "code"), [(TERMS, "key_may_not"), (OPEN_TO_KEYS, "not_independent")])
async def test_a_key_whose_issuer_is_not_known_decides_nothing(stage: Stage, terms: Terms, code: str) -> None:
    request_id, own = await asked(stage, terms=terms), await key(stage, "ada", "ada")
    async with stage.database.tenant(stage.tenant_id) as records:
        made = await records.keys.get(own)
        assert made is not None
        nameless = replace(made, key_id=new_id(), hash="0" * 64, created_by="")
        await records.keys.add(nameless)
    assert await word(stage, request_id, "ada", nameless.key_id) == code


async def test_a_service_account_whose_maker_is_not_known_decides_nothing(stage: Stage) -> None:
    request_id = await asked(stage, terms=OPEN_TO_KEYS)
    async with stage.database.tenant(stage.tenant_id) as records:
        found = UserRecord(stage.tenant_id, "svc", "svc", kind="service", granted_roles=OPERATOR)
        await records.users.add(found, stage.now)
    assert await word(stage, request_id, "svc", await key(stage, "ada", "svc")) == "not_independent"


async def test_nobody_speaks_by_the_key_of_another(stage: Stage) -> None:
    request_id, own = await asked(stage), await key(stage, "ada", "ada")
    assert await word(stage, request_id, "olga", own) == "approver_unknown"


# Where the definition lets them decide, everybody in the chain of issuers is one person.


async def test_two_keys_of_one_issuer_are_one_person(stage: Stage) -> None:
    request_id = await asked(stage, terms=OPEN_TO_KEYS)
    assert await word(stage, request_id, "olga", await key(stage, "ada", "olga")) == "counts"
    assert await word(stage, request_id, "otto", await key(stage, "ada", "otto")) == "already_decided"
    assert await word(stage, request_id, "ada") == "already_decided"
    assert await word(stage, request_id, "adam") == "counts"
    assert (await told(stage, request_id, "olga")).data["counted_with"] == ["ada"]


async def test_two_service_accounts_of_one_maker_are_one_person_whoever_issued_their_keys(stage: Stage) -> None:
    request_id = await asked(stage, terms=OPEN_TO_KEYS)
    for name in ("svc-1", "svc-2"):
        await service(stage, "ada", name)
    assert await word(stage, request_id, "svc-1", await key(stage, "adam", "svc-1")) == "counts"
    assert await word(stage, request_id, "svc-2", await key(stage, "ada", "svc-2")) == "already_decided"
    assert await word(stage, request_id, "adam") == "already_decided"
    assert await word(stage, request_id, "olga") == "counts"


async def test_the_chain_of_issuers_is_followed_through_keys_and_accounts(stage: Stage) -> None:
    """Ada issues a key to a service account that manages users, and that makes another account with a key."""
    request_id = await asked(stage, terms=OPEN_TO_KEYS)
    await service(stage, "ada", "svc-admin", roles=WIDE)
    by = await key(stage, "ada", "svc-admin", roles=WIDE)
    await service(stage, "svc-admin", "svc-2", by)
    of_second = await key(stage, "svc-admin", "svc-2", by)
    assert await word(stage, request_id, "svc-2", of_second) == "counts"
    assert (await told(stage, request_id, "svc-2")).data["counted_with"] == ["ada", "svc-admin"]
    assert await word(stage, request_id, "ada") == "already_decided"


async def test_a_chain_that_is_too_long_to_follow_decides_nothing(stage: Stage) -> None:
    request_id = await asked(stage, terms=OPEN_TO_KEYS)
    last = await key(stage, "ada", "ada")
    async with stage.database.tenant(stage.tenant_id) as records:
        first = await records.keys.get(last)
        assert first is not None
        for number in range(MOST_PEOPLE + 2):
            made = replace(first, key_id=new_id(), hash=f"{number:064x}", created_by_key=last)
            await records.keys.add(made)
            last = made.key_id
    assert await word(stage, request_id, "ada", last) == "not_independent"


# The requester is barred likewise.


async def test_whoever_issued_the_key_that_asks_does_not_decide(stage: Stage) -> None:
    request_id = await asked(stage, "olga", await key(stage, "ada", "olga"))
    assert await word(stage, request_id, "ada") == "self_approval"
    assert await word(stage, request_id, "adam") == "counts"


async def test_whoever_made_the_service_account_that_asks_does_not_decide(stage: Stage) -> None:
    await service(stage, "ada", "svc")
    request_id = await asked(stage, "svc", await key(stage, "adam", "svc"))
    assert [await word(stage, request_id, who) for who in ("ada", "adam")] == ["self_approval", "self_approval"]
    assert await word(stage, request_id, "olga") == "counts"


async def test_whoever_issued_the_key_that_started_a_run_does_not_decide_its_calls(stage: Stage) -> None:
    await stage.person("alice", "operator")
    key_id = await key(stage, "ada", "alice")
    accepted = await stage.accepted(actor=stage.acting(key_id=key_id), agent=replace(AGENT, approval=TERMS))
    await stage.reply(accepted.run_id, 1, ("pay", {"amount": 3}))
    request_id = (await stage.decisions.open_call(stage.ref(accepted.run_id), new_id())).approval.request_id
    assert await word(stage, request_id, "ada") == "self_approval"
    assert await word(stage, request_id, "adam") == "counts"


async def test_the_requester_does_not_decide_by_a_key_in_anothers_name(stage: Stage) -> None:
    request_id = await asked(stage, "ada", terms=OPEN_TO_KEYS)
    assert await word(stage, request_id, "olga", await key(stage, "ada", "olga")) == "self_approval"


async def test_where_the_terms_let_the_requester_decide_so_does_whoever_stands_behind(stage: Stage) -> None:
    terms = replace(OPEN_TO_KEYS, self_approval=True)
    request_id = await asked(stage, "ada", terms=terms)
    assert await word(stage, request_id, "olga", await key(stage, "ada", "olga")) == "counts"
    assert await word(stage, request_id, "ada") == "already_decided"


# Delegations.


async def away(stage: Stage, who: str, to: str) -> None:
    await delegate(stage.database, await actor(stage, who), to, stage.now, stage.now + DAY)


async def test_a_word_in_somebodys_place_speaks_for_both_once(stage: Stage) -> None:
    request_id = await asked(stage)
    for name in ("rob", "sue"):
        await stage.person(name, "viewer")
    await away(stage, "olga", "rob")
    assert await word(stage, request_id, "rob") == "counts"
    await away(stage, "olga", "sue")
    for who in ("olga", "sue", "rob"):
        assert await word(stage, request_id, who) == "already_decided"


async def test_nobody_decides_in_the_requesters_place_nor_the_requester_in_anybodys(stage: Stage) -> None:
    await stage.person("sue", "viewer")
    request_id = await asked(stage, "olga")
    await away(stage, "olga", "sue")
    await away(stage, "otto", "olga")
    assert [await word(stage, request_id, who) for who in ("sue", "olga")] == ["self_approval", "self_approval"]


async def test_a_delegation_is_not_handed_on(stage: Stage) -> None:
    for name in ("sue", "tom"):
        await stage.person(name, "viewer")
    await away(stage, "olga", "sue")
    await away(stage, "sue", "tom")
    request_id = await asked(stage)
    assert await word(stage, request_id, "tom") == "approver_role_missing"
    assert await word(stage, request_id, "sue") == "counts"


async def test_a_delegation_hands_on_no_lent_role(stage: Stage) -> None:
    for name in ("sue", "tom"):
        await stage.person(name, "viewer")
    async with stage.database.tenant(stage.tenant_id) as records:
        sue = await records.users.locked("sue")
        assert sue is not None
        await records.users.save(sue.given("operator", stage.now + HOUR, stage.now), stage.now)
    await away(stage, "sue", "tom")
    request_id = await asked(stage)
    assert await word(stage, request_id, "tom") == "approver_role_missing"
    assert await word(stage, request_id, "sue") == "counts"


async def test_in_the_place_of_somebody_whom_the_requester_has_just_let_in_nobody_decides(stage: Stage) -> None:
    for name in ("sue", "tom"):
        await stage.person(name, "viewer")
    await give(stage, "ada", "sue", "operator")
    await away(stage, "sue", "tom")
    request_id = await asked(stage, "ada")
    assert await word(stage, request_id, "tom") == "not_independent"


# Who has only just been let in.


async def test_whom_the_requester_has_just_made_an_approver_does_not_decide(stage: Stage) -> None:
    await stage.person("sue", "viewer")
    request_id = await asked(stage, "ada")
    await give(stage, "ada", "sue", "operator")
    assert await word(stage, request_id, "sue") == "not_independent"
    # However long the request is open: the hours are counted from before it was made.
    stage.now += 2 * DAY
    await stage.person("ada", "admin")
    assert await word(stage, request_id, "sue") == "not_independent"


async def test_whom_the_requester_has_just_made_a_user_does_not_decide(stage: Stage) -> None:
    await users.create_user(stage.database, await actor(stage, "ada"), NewUser("person", "sue"))
    await stage.person("sue", "operator")
    request_id = await asked(stage, "ada")
    assert await word(stage, request_id, "sue") == "not_independent"


async def test_whom_the_requester_has_just_called_back_does_not_decide(stage: Stage) -> None:
    await stage.deactivate("olga")
    ada = await actor(stage, "ada")
    await users.change_user(stage.database, ada, "olga", UserChange(active=True))
    request_id = await asked(stage, "ada")
    assert await word(stage, request_id, "olga") == "not_independent"


async def test_giver_and_receiver_make_no_quorum_whoever_speaks_first(stage: Stage) -> None:
    await stage.person("sue", "viewer")
    await give(stage, "ada", "sue", "operator")
    for first, second in (("ada", "sue"), ("sue", "ada")):
        request_id = await asked(stage)
        assert await word(stage, request_id, first) == "counts"
        assert await word(stage, request_id, second) == "not_independent"
        assert await word(stage, request_id, "otto") == "counts"


async def test_who_was_let_in_by_whom_the_requester_has_just_let_in_does_not_decide(stage: Stage) -> None:
    for name in ("sue", "tom"):
        await stage.person(name, "viewer")
    await give(stage, "ada", "sue", "admin")
    await give(stage, "sue", "tom", "operator")
    request_id = await asked(stage, "ada")
    assert await word(stage, request_id, "tom") == "not_independent"


async def test_a_role_that_was_taken_back_from_the_giver_still_ties(stage: Stage) -> None:
    for name in ("sue", "tom"):
        await stage.person(name, "viewer")
    await give(stage, "ada", "sue", "admin")
    await give(stage, "sue", "tom", "operator")
    await give(stage, "ada", "sue")
    request_id = await asked(stage, "ada")
    assert await word(stage, request_id, "tom") == "not_independent"


async def test_a_role_that_another_gives_once_more_still_ties(stage: Stage) -> None:
    await stage.person("sue", "viewer")
    await give(stage, "ada", "sue", "operator")
    await give(stage, "adam", "sue")
    await give(stage, "adam", "sue", "operator")
    for requester in ("ada", "adam"):
        request_id = await asked(stage, requester)
        assert await word(stage, request_id, "sue") == "not_independent"


@pytest.mark.parametrize(("hours", "code"), [(23, "not_independent"), (25, "counts")])
async def test_a_day_after_they_were_let_in_they_decide(stage: Stage, hours: int, code: str) -> None:
    await stage.person("sue", "viewer")
    await give(stage, "ada", "sue", "operator")
    stage.now += hours * HOUR
    await stage.person("ada", "admin")
    request_id = await asked(stage, "ada")
    assert await word(stage, request_id, "sue") == code


@pytest.mark.parametrize(("seconds", "code"), [(0, "counts"), (3 * 24 * 3_600, "not_independent")])
async def test_the_definition_says_how_long_that_is(stage: Stage, seconds: int, code: str) -> None:
    await stage.person("sue", "viewer")
    await give(stage, "ada", "sue", "operator")
    stage.now += 2 * DAY if seconds else timedelta(seconds=1)
    await stage.person("ada", "admin")
    request_id = await asked(stage, "ada", terms=replace(TERMS, independence_seconds=seconds))
    assert await word(stage, request_id, "sue") == code


async def test_whoever_has_decided_for_longer_by_another_role_still_does(stage: Stage) -> None:
    """Otto is an operator as ever, and has just been made a reviewer besides."""
    terms = replace(TERMS, allowed_roles=("operator", "auditor"))
    await give(stage, "ada", "otto", "auditor")
    await give(stage, "ada", "rita", "auditor")
    request_id = await asked(stage, "ada", terms=terms)
    assert await word(stage, request_id, "otto") == "counts"
    assert await word(stage, request_id, "rita") == "not_independent"


async def test_two_who_were_let_in_by_the_same_third_are_two_and_the_history_shows_by_whom(stage: Stage) -> None:
    for name in ("sue", "tom"):
        await stage.person(name, "viewer")
        await give(stage, "ada", name, "operator")
    request_id = await asked(stage)
    assert [await word(stage, request_id, who) for who in ("sue", "tom")] == ["counts", "counts"]
    data = (await told(stage, request_id, "tom")).data
    assert (data["recent_access_from"], data["access_from"]) == (["ada"], ["ada"])


async def test_what_a_newcomer_asks_for_their_maker_may_decide_and_the_history_shows_it(stage: Stage) -> None:
    await users.create_user(stage.database, await actor(stage, "ada"), NewUser("person", "sue"))
    await stage.person("sue", "viewer")
    request_id = await asked(stage, "sue")
    assert await word(stage, request_id, "ada") == "counts"
    assert (await told(stage, request_id, "ada")).data["requester_access_from"] == ["ada"]


async def test_of_an_old_gift_the_history_tells_the_auditor(stage: Stage) -> None:
    await stage.person("sue", "viewer")
    await give(stage, "ada", "sue", "operator")
    stage.now += 30 * DAY
    await stage.person("ada", "admin")
    request_id = await asked(stage, "ada")
    assert await word(stage, request_id, "sue") == "counts"
    data = (await told(stage, request_id, "sue")).data
    assert (data["access_from"], "recent_access_from" in data) == (["ada"], False)
    (logged,) = await stage.rows("audit_events WHERE action = 'approval.decide'", "details->'access_from'")
    assert logged == (["ada"],)


# Who has been named by a reassignment.


async def hand_on(stage: Stage, who: str, request_id: str, to: Deciders, key_id: str | None = None) -> str:
    """Somebody reassigns a request, by a key perhaps: `done`, or the code of what stands against it."""
    stage.now += timedelta(seconds=1)
    try:
        await ApprovalChanges(stage.database, RULES).record(
            stage.tenant_id, request_id, Change(who, "reassign", stage.now, "", to, key_id=key_id)
        )
    except DomainError as refused:
        return refused.code
    return "done"


SUE = Deciders(people=("sue",))


async def test_the_requester_names_nobody_who_decides_whatever_they_manage(stage: Stage) -> None:
    await stage.person("sue", "viewer")
    request_id = await asked(stage, "ada")
    await give(stage, "ada", "sue", "operator")
    assert await hand_on(stage, "ada", request_id, SUE) == "not_yours_to_change"
    assert await word(stage, request_id, "sue") == "not_independent"


async def test_nor_does_whoever_stands_behind_the_requester(stage: Stage) -> None:
    request_id = await asked(stage, "olga", await key(stage, "ada", "olga"))
    assert await hand_on(stage, "ada", request_id, Deciders(people=("otto",))) == "not_yours_to_change"
    own = await asked(stage, "ada")
    in_adams_name = await key(stage, "ada", "adam", roles=WIDE)
    assert await hand_on(stage, "adam", own, Deciders(people=("otto",)), in_adams_name) == "not_yours_to_change"
    assert await hand_on(stage, "adam", own, Deciders(people=("otto",))) == "done"


async def test_nor_does_anybody_in_the_place_of_either(stage: Stage) -> None:
    for name in ("sue", "tom"):
        await stage.person(name, "viewer")
    otto = Deciders(people=("otto",))
    request_id = await asked(
        stage, "olga", await key(stage, "ada", "olga"), replace(TERMS, allowed_roles=("admin", "operator"))
    )
    await away(stage, "olga", "sue")
    await away(stage, "ada", "tom")
    for who in ("sue", "tom"):
        assert await hand_on(stage, who, request_id, otto) == "not_yours_to_change"
        assert await word(stage, request_id, who) == "self_approval"
    await away(stage, "otto", "sue")
    assert await hand_on(stage, "sue", request_id, otto) == "done"


async def test_to_be_named_by_a_reassignment_frees_nobody_of_who_has_let_them_in(stage: Stage) -> None:
    await stage.person("sue", "viewer")
    await give(stage, "ada", "sue", "operator")
    request_id = await asked(stage, "ada")
    assert await hand_on(stage, "adam", request_id, SUE) == "done"
    assert await word(stage, request_id, "sue") == "not_independent"


async def test_who_has_decided_makes_no_quorum_with_whom_they_have_let_in_and_named(stage: Stage) -> None:
    await stage.person("sue", "viewer")
    await give(stage, "ada", "sue", "operator")
    request_id = await asked(stage)
    assert await word(stage, request_id, "ada") == "counts"
    assert await hand_on(stage, "ada", request_id, SUE) == "done"
    assert await word(stage, request_id, "sue") == "not_independent"


@pytest.mark.parametrize("to", [Deciders(people=("vera",)), Deciders(roles=("auditor",))])
async def test_nor_with_whom_they_name_beyond_the_terms_by_name_or_by_role(stage: Stage, to: Deciders) -> None:
    await stage.person("vera", "auditor")
    request_id = await asked(stage)
    assert await word(stage, request_id, "ada") == "counts"
    assert await hand_on(stage, "ada", request_id, to) == "done"
    assert await word(stage, request_id, "vera") == "not_independent"
    # Nor does it help that somebody else names them once more.
    assert await hand_on(stage, "adam", request_id, to) == "done"
    assert await word(stage, request_id, "vera") == "not_independent"


async def test_whom_somebody_independent_has_named_decides_and_the_history_shows_by_whom(stage: Stage) -> None:
    await stage.person("vera", "auditor")
    request_id = await asked(stage)
    assert await word(stage, request_id, "olga") == "counts"
    assert await hand_on(stage, "adam", request_id, Deciders(people=("vera",))) == "done"
    assert await word(stage, request_id, "vera") == "counts"
    assert (await told(stage, request_id, "vera")).data["recent_access_from"] == ["adam"]


async def test_whoever_issued_the_key_that_reassigns_has_named_them(stage: Stage) -> None:
    await stage.person("vera", "auditor")
    of_adam = await key(stage, "ada", "adam", roles=WIDE)
    request_id = await asked(stage)
    assert await word(stage, request_id, "ada") == "counts"
    assert await hand_on(stage, "adam", request_id, Deciders(people=("vera",)), of_adam) == "done"
    assert await word(stage, request_id, "vera") == "not_independent"


async def test_whoever_decides_by_the_terms_anyway_stays_free_when_they_are_named(stage: Stage) -> None:
    request_id = await asked(stage)
    assert await word(stage, request_id, "olga") == "counts"
    assert await hand_on(stage, "olga", request_id, Deciders(people=("otto",))) == "done"
    assert await word(stage, request_id, "otto") == "counts"


@pytest.mark.parametrize("kind", ActionKind)
async def test_whom_the_terms_name_needs_no_role_also_by_a_timed_action(stage: Stage, kind: ActionKind) -> None:
    """A reminder names who hears of it, not who decides."""
    await stage.person("sue", "viewer")
    await give(stage, "ada", "sue", "operator")
    later = replace(TERMS, actions=(TimedAction(kind, 3_600, SUE),))
    request_id = await asked(stage, "ada", terms=later)
    assert await hand_on(stage, "adam", request_id, SUE) == "done"
    reminded = kind is ActionKind.REMIND
    assert await word(stage, request_id, "sue") == ("not_independent" if reminded else "counts")
    named = await asked(stage, "ada", terms=replace(TERMS, allowed_people=("sue",)))
    assert await word(stage, named, "sue") == "counts"


# A role that was lent by an approval.


async def lent_by(stage: Stage, *approvers: tuple[str, str | None], terms: Terms = TERMS) -> None:
    """Sue is lent the role that decides, by a request that these approve."""
    await stage.person("sue", "viewer")
    request_id = await asked(stage, "sue", terms=replace(terms, required_approvers=1), role="operator", hours=100)
    for who, key_id in approvers:
        assert await word(stage, request_id, who, key_id) == "counts"
    await stage.decisions.close(stage.tenant_id, request_id, ApprovalStatus.APPROVED, "")
    assert "given" in str(await stage.execution.carry_out(stage.tenant_id, request_id))


async def test_by_a_role_that_the_requester_has_just_lent_by_an_approval_nobody_decides(stage: Stage) -> None:
    await lent_by(stage, ("ada", None))
    request_id = await asked(stage, "ada")
    assert await word(stage, request_id, "sue") == "not_independent"
    assert await word(stage, await asked(stage), "sue") == "counts"


async def test_a_loan_approved_by_a_key_is_its_issuers(stage: Stage) -> None:
    """The approval is in doubt: whoever issued the key has given the role."""
    of_adam = await key(stage, "ada", "adam", roles=WIDE)
    await lent_by(stage, ("adam", of_adam), terms=OPEN_TO_KEYS)
    for requester in ("ada", "adam"):
        request_id = await asked(stage, requester)
        assert await word(stage, request_id, "sue") == "not_independent"
