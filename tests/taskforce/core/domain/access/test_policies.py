"""Who may do what: roles, then the allow and deny rules of a policy document."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskforce.core.domain.access.policies import (
    RESERVED,
    Base,
    Effect,
    Explained,
    Policy,
    Resource,
    Rule,
    Selector,
    check_author,
    evaluate,
)
from taskforce.core.domain.errors import Forbidden, Invalid
from taskforce.core.interfaces.identity import Permission, PolicyDecision, ResourceType, UserContext
from tests.taskforce.core.domain.access.policy_strategies import (
    ALLOW,
    BOT,
    DENY,
    DOCUMENTS,
    NOW,
    QUESTIONS,
    RUN,
    Document,
    Question,
    policy,
    rule,
    rules,
    selectors,
    user,
)


def asked(
    one: Document,
    who: UserContext,
    what: Resource = BOT,
    now: datetime = NOW,
    context: Mapping[str, object] | None = None,
) -> Explained:
    return evaluate(policy(one), who, RUN, what, context=context or {}, now=now)


def answered(policy_: Policy, question: Question) -> Explained:
    who, action, what, context, now = question
    return evaluate(policy_, who, action, what, context=context, now=now)


def allowed(one: Document, who: UserContext, what: Resource = BOT, now: datetime = NOW) -> bool:
    return asked(one, who, what, now).decision.allowed


def denies_when(
    condition: Document, facts: Mapping[str, object] | None = None, context: Mapping[str, object] | None = None
) -> bool:
    return not asked(rule(when=[condition]), user(RUN, facts=facts), context=context).decision.allowed


@given(DOCUMENTS.flatmap(lambda some: st.tuples(st.just(some), st.permutations(some))), QUESTIONS)
def test_a_deny_rule_that_applies_wins_in_whatever_order(
    orders: tuple[list[Document], list[Document]], question: Question
) -> None:
    before, after = (answered(policy(*some), question) for some in orders)
    assert (after.decision.allowed, set(after.matched)) == (before.decision.allowed, set(before.matched))
    if any(one.applies and one.effect is Effect.DENY for one in before.rules):
        assert not before.decision.allowed


@given(DOCUMENTS, ALLOW, QUESTIONS)
def test_a_further_allow_rule_turns_no_denial_by_rule_and_takes_nothing(
    some: list[Document], more: Document, question: Question
) -> None:
    before, after = answered(policy(*some), question), answered(policy(*some, more), question)
    if before.decision.allowed or before.decision.reason.startswith("denied by rule"):
        assert after.decision == before.decision


@given(DOCUMENTS, DENY, QUESTIONS)
def test_a_further_deny_rule_gives_nothing(some: list[Document], more: Document, question: Question) -> None:
    if not answered(policy(*some), question).decision.allowed:
        assert not answered(policy(*some, more), question).decision.allowed


OTHERS = [kind for kind in ResourceType if kind is not ResourceType.AGENT]
STRAYS = st.lists(
    st.one_of(rules("allow", OTHERS), st.builds(lambda one, about: one | {"resources": about}, DENY, selectors(OTHERS)))
)


@given(DOCUMENTS, STRAYS, QUESTIONS)
def test_rules_about_other_types_never_matter(some: list[Document], strays: list[Document], question: Question) -> None:
    who, action, what, context, now = question
    about_agents = (who, action, Resource(ResourceType.AGENT, what.id, "acme", what.tags), context, now)
    assert answered(policy(*some, *strays), about_agents).decision == answered(policy(*some), about_agents).decision


@given(DOCUMENTS, QUESTIONS)
def test_nobody_passes_without_the_permission_or_an_allow_rule(some: list[Document], question: Question) -> None:
    found = answered(policy(*some), question)
    by_rule = any(one.applies and one.effect is Effect.ALLOW for one in found.rules)
    if found.decision.allowed:
        assert question[0].has_permission(question[1]) or by_rule
    assert found.base is (Base.HELD if question[0].has_permission(question[1]) else Base.MISSING)


@given(DOCUMENTS, QUESTIONS, st.sampled_from(sorted(RESERVED, key=lambda one: one.value)))
def test_administration_is_never_given_by_a_rule(some: list[Document], question: Question, action: Permission) -> None:
    who, _, what, context, now = question
    everything = Rule("all", Effect.ALLOW, frozenset({"*"}), resources=(Selector(what.type),))
    unchecked = Policy((*policy(*some).rules, everything))
    if not who.has_permission(action):
        assert not evaluate(unchecked, who, action, what, context=context, now=now).decision.allowed


@given(DOCUMENTS, QUESTIONS)
def test_an_admin_cannot_be_locked_out_of_the_policy(some: list[Document], question: Question) -> None:
    _, _, what, context, now = question
    locked = policy(*some, rule(id="lock", actions=["*"]))
    admin = user(*Permission, roles=["admin"])
    assert evaluate(locked, admin, Permission.POLICY_MANAGE, what, context=context, now=now).decision.allowed
    assert not evaluate(locked, admin, Permission.ROLE_MANAGE, what, context=context, now=now).decision.allowed
    deputy = user(*Permission, roles=["custom:deputy"])
    assert not evaluate(locked, deputy, Permission.POLICY_MANAGE, what, context=context, now=now).decision.allowed
    powerless = user(roles=["admin"])
    assert not evaluate(locked, powerless, Permission.POLICY_MANAGE, what, context=context, now=now).decision.allowed


@given(DOCUMENTS, QUESTIONS)
def test_another_tenants_resource_is_denied_whatever_holds(some: list[Document], question: Question) -> None:
    _, action, what, context, now = question
    foreign = Resource(what.type, what.id, "other", what.tags)
    found = evaluate(policy(*some), user(*Permission, roles=["admin"]), action, foreign, context=context, now=now)
    assert found == Explained(PolicyDecision(False, "the resource belongs to another tenant"), Base.OTHER_TENANT)


def test_without_a_document_roles_alone_decide() -> None:
    held, lacking = (evaluate(Policy(), who, RUN, BOT, context={}, now=NOW).decision for who in (user(RUN), user()))
    assert held == PolicyDecision(True, "role permission agent:execute is held")
    assert lacking == PolicyDecision(False, "role permission agent:execute is missing")


def test_every_rule_says_why() -> None:
    found = answered(
        policy(
            rule(id="other-action", actions=["tool:*"]),
            rule(id="other-agent", resources=[{"type": "agent", "ids": ["x"]}]),
            rule(id="role", roles=["auditor"]),
            rule(id="user", users=["bob"]),
            rule(id="tag", when=[{"attribute": "user.level", "in": [2, 3]}, {"resource_tags": {"has_any": ["red"]}}]),
            rule("allow", id="share", resources=[{"type": "agent", "ids": ["bot"]}]),
            rule(id="stop", description="Bots rest today."),
            rule(id="week", when=[{"time": {"days": ["sat"], "zone": "Asia/Kolkata"}}]),
        ),
        (user(RUN, facts={"level": 3}), RUN, BOT, {}, NOW),
    )
    assert found.decision == PolicyDecision(False, "denied by rule 'stop': Bots rest today.")
    assert found.matched == ("share", "stop")
    assert {one.rule_id: one.reason for one in found.rules} == {
        "other-action": "it is not about agent:execute",
        "other-agent": "it is not about this agent",
        "role": "the user holds none of its roles",
        "user": "the user is none of its users",
        "tag": "when[1]: the resource has none of the tags",
        "share": "all that it states holds",
        "stop": "all that it states holds",
        "week": "when[0]: wed 17:30 in Asia/Kolkata is outside its hours",
    }


def test_an_allow_rule_gives_an_action_on_what_it_names_and_on_nothing_else() -> None:
    shared = rule("allow", description="Shared.", resources=[{"type": "agent", "ids": ["bot"]}])
    assert asked(shared, user()).decision == PolicyDecision(True, "allowed by rule 'it': Shared.")
    assert not allowed(shared, user(), Resource(ResourceType.AGENT, "two", "acme"))
    assert not allowed(shared, user(), Resource(ResourceType.SESSION, "bot", "acme"))
    assert not allowed(shared, user(), Resource(ResourceType.AGENT, None, "acme"))
    by_tag = rule("allow", resources=[{"type": "agent"}], when=[{"resource_tags": {"has_any": ["red"]}}])
    assert not allowed(by_tag, user(), Resource(ResourceType.AGENT, None, "acme", frozenset({"red"})))


def test_every_key_narrows_a_rule() -> None:
    both = rule(roles=["operator", "viewer"], users=["alice"])
    assert not allowed(both, user(RUN, roles=["operator"]))
    assert allowed(both, user(RUN, roles=["designer"]))
    assert allowed(both, UserContext("bob", "acme", roles={"operator"}, permissions={RUN}))


@pytest.mark.parametrize(
    ("how", "value", "tags", "holds"),
    [
        ("has_any", ["red", "blue"], {"blue", "x"}, True),
        ("has_any", ["red"], {"Red"}, False),
        ("has_all", ["red", "blue"], {"blue", "red", "x"}, True),
        ("has_all", ["red", "blue"], {"red"}, False),
        ("has_all", ["red"], set(), False),
    ],
)
def test_tags(how: str, value: list[str], tags: set[str], holds: bool) -> None:
    tagged = Resource(ResourceType.AGENT, "bot", "acme", frozenset(tags))
    by_tag: Document = {"resource_tags": {how: value}}
    assert allowed(rule(when=[by_tag]), user(RUN), tagged) is not holds
    assert allowed(rule("allow", resources=[{"type": "agent"}], when=[by_tag]), user(), tagged) is holds


@pytest.mark.parametrize(
    ("fact", "stated", "same"),
    [
        ("hr", "hr", True),
        ("hr", "HR", False),
        (1, 1.0, True),
        (1, True, False),
        (True, 1, False),
        ("1", 1, False),
        (["it", "hr"], "hr", True),
        ([], "hr", False),
        ({"hr": 1}, "hr", False),
        (0, False, False),
        (False, False, True),
    ],
)
def test_attributes_are_compared_by_kind_and_value(fact: object, stated: object, same: bool) -> None:
    for name, facts, context in (("user.x.y", {"x.y": fact}, {}), ("context.x.y", {}, {"x.y": fact})):
        for positive, negative, value in (("equals", "not_equals", stated), ("in", "not_in", ["other", stated])):
            assert denies_when({"attribute": name, positive: value}, facts, context) is same
            assert denies_when({"attribute": name, negative: value}, facts, context) is not same
        assert denies_when({"attribute": name, "present": True}, facts, context)


@pytest.mark.parametrize("facts", [{}, {"department": None}])
def test_only_negative_conditions_hold_for_what_is_missing(facts: dict[str, object]) -> None:
    def holds(how: str, value: object) -> bool:
        return denies_when({"attribute": "user.department", how: value}, facts)

    assert not any([holds("equals", "hr"), holds("in", ["hr"]), holds("present", True)])
    assert all([holds("not_equals", "hr"), holds("not_in", ["hr"]), holds("present", False)])


def test_a_claim_cannot_pose_as_what_we_know_ourselves() -> None:
    claims = {"user_id": "bob", "roles": ["admin"], "email": "x"}
    posing = UserContext("alice", "acme", roles={"operator"}, permissions={RUN}, attributes=claims)
    for claimed in ({"user_id": "bob"}, {"roles": "admin"}, {"email": "x"}):
        for name, value in claimed.items():
            assert allowed(rule(when=[{"attribute": f"user.{name}", "equals": value}]), posing)
    assert not allowed(rule(when=[{"attribute": "user.roles", "equals": "operator"}]), posing)


def within(now: datetime, **window: object) -> bool:
    return not allowed(rule(when=[{"time": window}]), user(RUN), now=now)


def in_berlin(month: int, day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=ZoneInfo("Europe/Berlin")).astimezone(UTC)


@pytest.mark.parametrize(
    ("day", "hour", "minute", "holds"),
    [
        (16, 21, 59, False),  # Friday
        (16, 22, 0, True),
        (16, 23, 59, True),
        (17, 0, 0, True),  # Saturday, the end of Friday's window
        (17, 5, 59, True),
        (17, 6, 0, False),
        (17, 22, 30, False),
        (16, 3, 0, False),  # the end of a window that began on Thursday
    ],
)
def test_a_window_over_midnight_belongs_to_the_day_on_which_it_begins(
    day: int, hour: int, minute: int, holds: bool
) -> None:
    window = {"days": ["fri"], "from": "22:00", "to": "06:00", "zone": "Europe/Berlin"}
    assert within(in_berlin(1, day, hour, minute), **window) is holds


def test_the_week_goes_round() -> None:
    window = {"days": ["sun"], "from": "23:00", "to": "01:00", "zone": "UTC"}
    assert within(datetime(2026, 1, 19, 0, 59, tzinfo=UTC), **window)
    assert not within(datetime(2026, 1, 18, 0, 59, tzinfo=UTC), **window)


def test_days_and_hours_are_those_of_the_zone() -> None:
    sunday_evening_utc = datetime(2026, 1, 18, 20, tzinfo=UTC)
    assert within(sunday_evening_utc, days=["mon"], zone="Asia/Tokyo")
    assert within(sunday_evening_utc, days=["sun"], zone="America/New_York")
    assert within(sunday_evening_utc.astimezone(ZoneInfo("Asia/Tokyo")), days=["sun"], zone="UTC")
    assert within(sunday_evening_utc, to="05:01", zone="Asia/Tokyo")
    assert not within(sunday_evening_utc, **{"from": "05:01", "to": "24:00"}, zone="Asia/Tokyo")


def minutes_within(start: datetime, hours: int, **window: object) -> int:
    parsed = policy(rule(when=[{"time": {"zone": "Europe/Berlin", **window}}]))
    minutes = (start + timedelta(minutes=minute) for minute in range(hours * 60))
    return sum(not evaluate(parsed, user(RUN), RUN, BOT, context={}, now=now).decision.allowed for now in minutes)


@pytest.mark.parametrize(
    ("window", "winter", "spring", "autumn"),
    [
        ({"from": "02:00", "to": "03:00"}, 60, 0, 120),  # the hour that is left out, and comes twice
        ({"from": "02:30", "to": "03:30"}, 60, 30, 90),
        ({"from": "22:00", "to": "06:00", "days": ["sat"]}, 8 * 60, 7 * 60, 9 * 60),
        ({"days": ["sun"]}, 24 * 60, 23 * 60, 25 * 60),
    ],
)
def test_windows_follow_the_clock_on_the_wall_when_it_is_changed(
    window: dict[str, object], winter: int, spring: int, autumn: int
) -> None:
    for month, day, minutes in ((1, 17, winter), (3, 28, spring), (10, 24, autumn)):
        saturday_afternoon = in_berlin(month, day, 14)
        assert minutes_within(saturday_afternoon, 35, **window) == minutes


def test_a_time_without_zone_is_no_answer() -> None:
    with pytest.raises(Invalid) as refused:
        evaluate(Policy(), user(RUN), RUN, BOT, context={}, now=NOW.replace(tzinfo=None))
    assert refused.value.code == "time_without_zone"


def test_an_author_gives_only_what_they_hold() -> None:
    share = rule("allow", resources=[{"type": "agent", "ids": ["bot"]}], actions=["agent:read", "agent:execute"])
    current = policy(share)
    check_author(current, Policy(), {Permission.AGENT_READ, RUN})
    with pytest.raises(Forbidden) as refused:
        check_author(current, Policy(), {Permission.POLICY_MANAGE, Permission.AGENT_READ})
    assert refused.value.details == {"permission": "agent:execute"}
    check_author(policy(rule(id="new", actions=["*"]), share), current, {Permission.POLICY_MANAGE})
    with pytest.raises(Forbidden):
        check_author(policy(share | {"users": ["me"]}), current, {Permission.POLICY_MANAGE})


def test_whether_tags_are_asked_for() -> None:
    tagged = policy(rule(when=[{"resource_tags": {"has_any": ["red"]}}], resources=[{"type": "agent"}]), rule(id="b"))
    assert tagged.asks_for_tags(RUN, ResourceType.AGENT)
    assert not tagged.asks_for_tags(RUN, ResourceType.SESSION)
    assert not tagged.asks_for_tags(Permission.AGENT_READ, ResourceType.AGENT)
    assert not Policy().asks_for_tags(RUN, ResourceType.AGENT)
