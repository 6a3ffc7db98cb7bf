"""Who may do what: roles, then the allow and deny rules of a policy document."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskforce.core.domain.approvals import content_hash
from taskforce.core.domain.errors import Forbidden, Invalid
from taskforce.core.domain.policies import (
    ACTIONS,
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
from taskforce.core.domain.policy_documents import canonical, document_of, parse
from taskforce.core.interfaces.identity import Permission, PolicyDecision, ResourceType, UserContext

Document = dict[str, object]

NOW = datetime(2026, 1, 14, 12, tzinfo=UTC)
"""A Wednesday."""
RUN = Permission.AGENT_EXECUTE
BOT = Resource(ResourceType.AGENT, "bot", "acme")


def user(*permissions: Permission, roles: Sequence[str] = (), facts: Mapping[str, object] | None = None) -> UserContext:
    return UserContext("alice", "acme", roles=set(roles), permissions=set(permissions), attributes=facts or {})


def rule(effect: str = "deny", **keys: object) -> Document:
    return {"id": "it", "effect": effect, "actions": ["agent:execute"]} | keys


def policy(*rules: Document) -> Policy:
    return parse({"version": 1, "rules": list(rules)})


def asked(
    one: Document,
    who: UserContext,
    what: Resource = BOT,
    now: datetime = NOW,
    context: Mapping[str, object] | None = None,
) -> Explained:
    return evaluate(policy(one), who, RUN, what, context or {}, now)


def allowed(one: Document, who: UserContext, what: Resource = BOT, now: datetime = NOW) -> bool:
    return asked(one, who, what, now).decision.allowed


def denies_when(
    condition: Document, facts: Mapping[str, object] | None = None, context: Mapping[str, object] | None = None
) -> bool:
    return not asked(rule(when=[condition]), user(RUN, facts=facts), context=context).decision.allowed


def texts(*some: str) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(some), min_size=1, max_size=2)


CONDITIONS = st.one_of(
    st.builds(
        lambda values: {"attribute": "user.department", "in": values},
        st.lists(st.sampled_from(["hr", 1, True, 1.5]), min_size=1),
    ),
    st.builds(lambda value: {"attribute": "context.channel", "equals": value}, st.sampled_from(["api", 1, False])),
    st.just({"attribute": "user.department", "present": True}),
    st.builds(
        lambda how, tags: {"resource_tags": {how: tags}}, st.sampled_from(["has_any", "has_all"]), texts("red", "blue")
    ),
    st.builds(
        lambda days, ends: {"time": {"days": days, "from": "11:00", "to": ends, "zone": "Asia/Tokyo"}},
        texts("wed", "thu"),
        st.sampled_from(["03:00", "22:00", "24:00"]),
    ),
)
NEGATIVES = st.one_of(
    st.builds(lambda values: {"attribute": "user.department", "not_in": values}, texts("hr", "it")),
    st.just({"attribute": "context.channel", "not_equals": "api"}),
    st.just({"attribute": "user.department", "present": False}),
)
GIVEN = [action for action, meant in ACTIONS.items() if not meant & RESERVED]
WHOM: dict[str, st.SearchStrategy[object]] = {
    "roles": texts("admin", "operator"),
    "users": texts("alice", "bob"),
    "description": st.just("because"),
}


def selectors(kinds: Sequence[ResourceType] = tuple(ResourceType)) -> st.SearchStrategy[list[Document]]:
    named: st.SearchStrategy[Document] = st.fixed_dictionaries(
        {"type": st.sampled_from([kind.value for kind in kinds]), "ids": texts("bot", "two")}
    )
    return st.lists(named, min_size=1, max_size=3)


def rules(effect: str, kinds: Sequence[ResourceType] = tuple(ResourceType)) -> st.SearchStrategy[Document]:
    deny = effect == "deny"
    conditions = st.lists(st.one_of(CONDITIONS, NEGATIVES) if deny else CONDITIONS, max_size=2)
    needed: dict[str, st.SearchStrategy[object]] = {
        "id": st.uuids().map(str),
        "effect": st.just(effect),
        "actions": st.lists(st.sampled_from(list(ACTIONS) if deny else GIVEN), min_size=1, max_size=4),
    }
    about: dict[str, st.SearchStrategy[object]] = {"resources": selectors(kinds)}
    always, sometimes = (needed, WHOM | about) if deny else (needed | about, WHOM)
    return st.fixed_dictionaries(always, optional=sometimes | {"when": conditions})


DENY, ALLOW = rules("deny"), rules("allow")
DOCUMENTS = st.lists(st.one_of(DENY, ALLOW), max_size=5)
USERS = st.builds(
    UserContext,
    st.sampled_from(["alice", "bob"]),
    st.just("acme"),
    roles=st.frozensets(st.sampled_from(["admin", "operator"])),
    permissions=st.frozensets(st.sampled_from(Permission)),
    attributes=st.dictionaries(st.just("department"), st.sampled_from(["hr", ["hr", "it"], 1, True, None, {}])),
)
RESOURCES = st.builds(
    Resource,
    st.sampled_from(ResourceType),
    st.sampled_from(["bot", "two", None]),
    st.just("acme"),
    st.frozensets(st.sampled_from(["red", "blue"])),
)
QUESTIONS = st.tuples(
    USERS,
    st.sampled_from(Permission),
    RESOURCES,
    st.dictionaries(st.just("channel"), st.sampled_from(["api", 1, 0])),
    st.integers(0, 366 * 24 * 4).map(lambda quarters: NOW + timedelta(minutes=15 * quarters)),
)
Question = tuple[UserContext, Permission, Resource, Mapping[str, object], datetime]


@given(DOCUMENTS.flatmap(lambda some: st.tuples(st.just(some), st.permutations(some))), QUESTIONS)
def test_a_deny_rule_that_applies_wins_in_whatever_order(
    orders: tuple[list[Document], list[Document]], question: Question
) -> None:
    before, after = (evaluate(policy(*some), *question) for some in orders)
    assert (after.decision.allowed, set(after.matched)) == (before.decision.allowed, set(before.matched))
    if any(one.applies and one.effect is Effect.DENY for one in before.rules):
        assert not before.decision.allowed


@given(DOCUMENTS, ALLOW, QUESTIONS)
def test_a_further_allow_rule_turns_no_denial_by_rule_and_takes_nothing(
    some: list[Document], more: Document, question: Question
) -> None:
    before, after = evaluate(policy(*some), *question), evaluate(policy(*some, more), *question)
    if before.decision.allowed or before.decision.reason.startswith("denied by rule"):
        assert after.decision == before.decision


@given(DOCUMENTS, DENY, QUESTIONS)
def test_a_further_deny_rule_gives_nothing(some: list[Document], more: Document, question: Question) -> None:
    if not evaluate(policy(*some), *question).decision.allowed:
        assert not evaluate(policy(*some, more), *question).decision.allowed


OTHERS = [kind for kind in ResourceType if kind is not ResourceType.AGENT]
STRAYS = st.lists(
    st.one_of(rules("allow", OTHERS), st.builds(lambda one, about: one | {"resources": about}, DENY, selectors(OTHERS)))
)


@given(DOCUMENTS, STRAYS, QUESTIONS)
def test_rules_about_other_types_never_matter(some: list[Document], strays: list[Document], question: Question) -> None:
    who, action, what, context, now = question
    about_agents = (who, action, Resource(ResourceType.AGENT, what.id, "acme", what.tags), context, now)
    assert evaluate(policy(*some, *strays), *about_agents).decision == evaluate(policy(*some), *about_agents).decision


@given(DOCUMENTS, QUESTIONS)
def test_nobody_passes_without_the_permission_or_an_allow_rule(some: list[Document], question: Question) -> None:
    found = evaluate(policy(*some), *question)
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
        assert not evaluate(unchecked, who, action, what, context, now).decision.allowed


@given(DOCUMENTS, QUESTIONS)
def test_an_admin_cannot_be_locked_out_of_the_policy(some: list[Document], question: Question) -> None:
    _, _, what, context, now = question
    locked = policy(*some, rule(id="lock", actions=["*"]))
    admin = user(*Permission, roles=["admin"])
    assert evaluate(locked, admin, Permission.POLICY_MANAGE, what, context, now).decision.allowed
    assert not evaluate(locked, admin, Permission.ROLE_MANAGE, what, context, now).decision.allowed
    deputy = user(*Permission, roles=["custom:deputy"])
    assert not evaluate(locked, deputy, Permission.POLICY_MANAGE, what, context, now).decision.allowed
    powerless = user(roles=["admin"])
    assert not evaluate(locked, powerless, Permission.POLICY_MANAGE, what, context, now).decision.allowed


@given(DOCUMENTS, QUESTIONS)
def test_another_tenants_resource_is_denied_whatever_holds(some: list[Document], question: Question) -> None:
    _, action, what, context, now = question
    foreign = Resource(what.type, what.id, "other", what.tags)
    found = evaluate(policy(*some), user(*Permission, roles=["admin"]), action, foreign, context, now)
    assert found == Explained(PolicyDecision(False, "the resource belongs to another tenant"), Base.OTHER_TENANT)


def test_without_a_document_roles_alone_decide() -> None:
    held, lacking = (evaluate(Policy(), who, RUN, BOT, {}, NOW).decision for who in (user(RUN), user()))
    assert held == PolicyDecision(True, "role permission agent:execute is held")
    assert lacking == PolicyDecision(False, "role permission agent:execute is missing")


def test_every_rule_says_why() -> None:
    found = evaluate(
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
        *(user(RUN, facts={"level": 3}), RUN, BOT, {}, NOW),
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
    return sum(not evaluate(parsed, user(RUN), RUN, BOT, {}, now).decision.allowed for now in minutes)


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
        evaluate(Policy(), user(RUN), RUN, BOT, {}, NOW.replace(tzinfo=None))
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


@given(DOCUMENTS)
def test_the_canonical_form_means_the_same(some: list[Document]) -> None:
    parsed = policy(*some)
    assert parse(document_of(parsed)) == parsed
    assert canonical(parse(json.loads(canonical(parsed)))) == canonical(parsed)


def test_the_canonical_form_is_one_for_all_that_means_the_same() -> None:
    one = rule(
        actions=["tool:read", "agent:*", "tool:read"],
        resources=[{"type": "tool"}, {"ids": ["b", "a", "b"], "type": "agent"}],
        when=[{"attribute": "user.n", "in": [2.0, True, "x", 1]}, {"time": {"days": ["sun", "mon"], "zone": "UTC"}}],
    )
    other = rule(
        when=[{"attribute": "user.n", "in": ["x", 1, 2, True]}, {"time": {"zone": "UTC", "days": ["mon", "sun"]}}],
        resources=[{"type": "agent", "ids": ["a", "b"]}, {"type": "tool"}],
        actions=["agent:*", "tool:read"],
    )
    assert canonical(policy(one)) == canonical(policy(other))
    assert canonical(policy(rule(when=[]))) == (
        '{"rules":[{"actions":["agent:execute"],"effect":"deny","id":"it"}],"version":1}'
    )
    assert content_hash(document_of(policy(one))) == content_hash(json.loads(canonical(policy(other))))


def problems(document: object) -> dict[str, str]:
    with pytest.raises(Invalid) as refused:
        parse(document)
    assert refused.value.code == "policy_invalid"
    found = refused.value.details["problems"]
    assert isinstance(found, list)
    assert refused.value.details["count"] == len(found)
    return {one["path"]: one["problem"] for one in found}


def test_every_problem_is_told_at_once() -> None:
    time = {"zone": "Europe/Berlim", "days": ["sat", "sunday"], "from": "25:00", "until": "06:00"}
    bad: Document = {
        "id": "no good",
        "efect": "deny",
        "actions": ["agent:exekute", 7],
        "description": "x" * 501,
        "resources": [{"type": "agents"}, {"type": "agent", "ids": []}, "agent"],
        "roles": "admin",
        "users": ["a\x00", "\ud800", ""],
        "when": [
            {"attribute": "usr.department", "equals": "hr"},
            {"attribute": "user.department", "equals": None, "in": ["hr"]},
            {"attribute": "user.department", "equals": None},
            {"attribute": "user.", "in": ["hr", [1], 2**60]},
            {"attribute": "user.department", "present": "no"},
            {"resource_tags": {"hasany": ["red"]}},
            {"time": time, "equals": "x"},
            {"time": {"zone": "UTC", "from": "10:00", "to": "10:00"}},
            {"time": {"zone": "UTC"}},
            {"tiem": {}},
            "always",
        ],
    }
    give = rule(
        "allow", actions=["agent:read", "policy:manage", "*"], when=[{"attribute": "user.banned", "present": False}]
    )
    kind = rule("allow", resources=[{"type": "agent"}])
    found = problems({"version": 2, "rules": [bad, give, kind, 5], "rule": []})
    expected = {
        "version": "must be 1.",
        "rule": "is not known. Did you mean 'rules'?",
        "rules[0]": "'effect' is missing.",
        "rules[0].efect": "is not known. Did you mean 'effect'?",
        "rules[0].id": "must be 1 to 64 letters, digits, dots, underscores or hyphens, a letter or digit first.",
        "rules[0].actions[0]": "not 'agent:exekute'. Did you mean 'agent:execute'?",
        "rules[0].actions[1]": "must be a permission, one like 'agent:*', or '*', not 7.",
        "rules[0].description": "must be a text of 1 to 500 characters.",
        "rules[0].resources[0].type": "not 'agents'. Did you mean 'agent'?",
        "rules[0].resources[1].ids": "must not be empty",
        "rules[0].resources[2]": "must be an object.",
        "rules[0].roles": "must be a list.",
        "rules[0].users[0]": "must not have control characters or broken ones.",
        "rules[0].users[1]": "must not have control characters or broken ones.",
        "rules[0].users[2]": "must be a text of 1 to 256 characters.",
        "rules[0].when[0].attribute": "must be 'user.' or 'context.' and a name. Did you mean 'user'?",
        "rules[0].when[1]": "must have exactly one of equals, not_equals, in, not_in, present.",
        "rules[0].when[2].equals": "must be a text, a number up to 2^53, true or false",
        "rules[0].when[3].attribute": "must be 'user.' or 'context.' and a name.",
        "rules[0].when[3].in[1]": "must be a text, a number",
        "rules[0].when[3].in[2]": "must be a text, a number",
        "rules[0].when[4].present": "must be true or false.",
        "rules[0].when[5].resource_tags.hasany": "is not known. Did you mean 'has_any'?",
        "rules[0].when[5].resource_tags": "must have exactly one of has_any, has_all.",
        "rules[0].when[6].equals": "belongs to a condition on an attribute.",
        "rules[0].when[6].time.zone": "must be an IANA time zone, not 'Europe/Berlim'. Did you mean 'Europe/Berlin'?",
        "rules[0].when[6].time.days[1]": "must be one of mon, tue, wed, thu, fri, sat, sun, not 'sunday'.",
        "rules[0].when[6].time.from": "must be a time of day from '00:00' to '23:59', not '25:00'.",
        "rules[0].when[6].time.until": "is not known.",
        "rules[0].when[7].time": "ends when it begins",
        "rules[0].when[8].time": "must have at least one of days, from, to.",
        "rules[0].when[9].tiem": "is not known. Did you mean 'time'?",
        "rules[0].when[9]": "must have exactly one of attribute, resource_tags, time.",
        "rules[0].when[10]": "must be an object.",
        "rules[1].actions[1]": "is not for allow rules: only a role gives policy:manage.",
        "rules[1].actions[2]": "is not for allow rules: only a role gives audit:read, policy:manage",
        "rules[1].when[0].present": "is for deny rules only",
        "rules[1]": "must have 'resources'",
        "rules[2]": "must name its resources, by 'ids' for each type or by a condition on 'resource_tags'.",
        "rules[2].id": "is the id of rules[1] as well.",
        "rules[3]": "must be an object.",
    }
    assert {path: text for path, text in expected.items() if text not in found.get(path, "")} == {}
    assert found.keys() == expected.keys()


def at(zone: str) -> Document:
    return rule(when=[{"time": {"days": ["sat"], "zone": zone}}])


@pytest.mark.parametrize(
    ("document", "path", "told"),
    [
        (None, "document", "must be an object."),
        ({"version": 1}, "document", "'rules' is missing."),
        ({"version": True, "rules": []}, "version", "must be 1."),
        ({"version": 1, "rules": [rule(id=str(n)) for n in range(501)]}, "rules", "at most 500 entries, not 501"),
        ({"version": 1, "rules": [rule(users=["a"] * 1_001)]}, "rules[0].users", "at most 1000"),
        (
            {"version": 1, "rules": [rule(when=[{"resource_tags": {"has_any": ["a"]}}] * 21)]},
            "rules[0].when",
            "most 20",
        ),
        ({"version": 1, "rules": ["x" * 1_000_000]}, "document", "at most 1000000 characters"),
        ({"version": 1, "rules": [{"x": {1, 2}}]}, "document", "must be JSON."),
        ({"version": 1, "rules": [rule(when=[{"attribute": "user.a", "equals": float("nan")}])]}, "document", "finite"),
        (
            {"version": 1, "rules": [at("../UTC")]},
            "rules[0].when[0].time.zone",
            "IANA",
        ),
        (
            {"version": 1, "rules": [at("localtime")]},
            "rules[0].when[0].time.zone",
            "IANA",
        ),
    ],
)
def test_limits_of_a_document(document: object, path: str, told: str) -> None:
    found = problems(document)
    assert list(found) == [path]
    assert told in found[path]


def test_nonsense_is_counted_but_not_listed_without_end() -> None:
    with pytest.raises(Invalid) as refused:
        parse({"version": 1, "rules": [rule(id=f"r{n}", actions=["agent:exekute"] * 100) for n in range(20)]})
    listed = refused.value.details["problems"]
    assert isinstance(listed, list)
    assert len(listed) == 1_000
    assert refused.value.details["count"] == 2_000


WORDS = ["id", "effect", "actions", "resources", "when", "time", "zone", "attribute", "in", "equals", "ids", "type"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=6),
)


@given(JSON, st.sampled_from(["rules", "when", "actions", "resources", "description"]))
def test_whatever_comes_in_is_read_or_refused(part: object, where: str) -> None:
    document = {"version": 1, "rules": part if where == "rules" else [rule() | {where: part}]}
    try:
        parsed = parse(document)
    except Invalid as refused:
        told = refused.code
    else:
        told = "" if parse(document_of(parsed)) == parsed else "read anew, it is another"
    assert told in ("", "policy_invalid")
