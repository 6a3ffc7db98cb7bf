"""May somebody do something, with a tenant's policy and the tags of what is asked about."""

from datetime import timedelta

import pytest

from taskforce.application.access.policy_engine import MAX_CASES, Case, dry_run
from taskforce.core.domain.access.decisions import Subject
from taskforce.core.domain.access.policies import Base, Policy, Resource
from taskforce.core.domain.errors import Invalid, Unavailable
from taskforce.core.interfaces.identity import (
    Permission,
    PolicyDecision,
    PolicyEngineProtocol,
    ResourceType,
    UserContext,
)
from tests.taskforce.application.access.policy_shelf import NOW, Shelf

RUN = Permission.AGENT_EXECUTE
ALICE = UserContext("alice", "acme", permissions={RUN, Permission.TENANT_MANAGE, Permission.SESSION_READ})


def deny(rule_id: str, condition: dict[str, object]) -> dict[str, object]:
    return {"id": rule_id, "effect": "deny", "actions": ["agent:execute"], "when": [condition]}


WEEKEND = deny("no-weekend-runs", {"time": {"days": ["sat", "sun"], "zone": "UTC"}})
RESTRICTED = deny("restricted", {"resource_tags": {"has_any": ["restricted"]}})


async def test_it_is_the_guides_engine() -> None:
    engine: PolicyEngineProtocol = Shelf().engine()
    decision = await engine.evaluate(
        user=ALICE,
        action=RUN,
        resource_type=ResourceType.AGENT,
        resource_id="bot",
        context={"requested_at": NOW.isoformat()},
    )
    assert decision == PolicyDecision(True, "role permission agent:execute is held")


async def test_each_tenant_has_its_own_rules() -> None:
    engine = Shelf({"acme": [deny("stop", {"attribute": "user.nothing", "present": False})]}).engine()
    bob = UserContext("bob", "other", permissions={RUN})
    assert not (await engine.evaluate(ALICE, RUN, ResourceType.AGENT, "bot")).allowed
    assert (await engine.evaluate(bob, RUN, ResourceType.AGENT, "bot")).allowed


async def test_hours_go_by_our_clock_and_not_by_the_callers_word() -> None:
    shelf = Shelf({"acme": [WEEKEND]})
    saturday = {"requested_at": (NOW + timedelta(days=3)).isoformat(), "now": NOW + timedelta(days=3)}
    assert (await shelf.engine().evaluate(ALICE, RUN, ResourceType.AGENT, "bot", saturday)).allowed
    shelf.now += timedelta(days=3)
    decision = await shelf.engine().evaluate(ALICE, RUN, ResourceType.AGENT, "bot", {"requested_at": NOW.isoformat()})
    assert decision == PolicyDecision(False, "denied by rule 'no-weekend-runs'")


async def test_the_context_feeds_conditions() -> None:
    engine = Shelf({"acme": [deny("by-signal", {"attribute": "context.channel", "equals": "signal"})]}).engine()
    assert (await engine.evaluate(ALICE, RUN, ResourceType.AGENT, "bot", {"channel": "api"})).allowed
    assert not (await engine.evaluate(ALICE, RUN, ResourceType.AGENT, "bot", {"channel": "signal"})).allowed


async def test_tags_are_those_of_the_catalog_whatever_the_context_says() -> None:
    shelf = Shelf({"acme": [RESTRICTED]}, {("acme", ResourceType.AGENT, "bot"): {"restricted"}})
    explained = await shelf.engine().explain(ALICE, RUN, ResourceType.AGENT, "bot", {"tags": []})
    assert (explained.decision.allowed, explained.matched) == (False, ("restricted",))
    assert (await shelf.engine().evaluate(ALICE, RUN, ResourceType.AGENT, "two", {"tags": ["restricted"]})).allowed


async def test_tags_are_read_only_where_a_rule_looks_at_them() -> None:
    shelf = Shelf({"acme": [RESTRICTED]})
    engine = shelf.engine()
    await engine.evaluate(ALICE, Permission.SESSION_READ, ResourceType.SESSION, "acme:session-1")
    await engine.evaluate(ALICE, RUN, ResourceType.AGENT, None)
    await engine.evaluate(ALICE, RUN, ResourceType.AGENT, "foreign", {"tenant_id": "other"})
    assert shelf.asked == []
    await engine.evaluate(ALICE, RUN, ResourceType.AGENT, "bot")
    assert shelf.asked == ["bot"]


@pytest.mark.parametrize(
    ("action", "kind", "resource_id", "context"),
    [
        (RUN, ResourceType.AGENT, "bot", {"tenant_id": "other"}),
        (RUN, ResourceType.AGENT, "bot", {"tenant_id": None}),
        (RUN, ResourceType.AGENT, None, {"tenant_id": ["acme"]}),
        (Permission.TENANT_MANAGE, ResourceType.TENANT, "other", {}),
        (Permission.TENANT_MANAGE, ResourceType.TENANT, "other", {"tenant_id": "acme"}),
        (Permission.SESSION_READ, ResourceType.SESSION, "other:session-1", {"tenant_id": "acme"}),
        (Permission.SESSION_READ, ResourceType.SESSION, ":session-1", {}),
    ],
)
async def test_another_tenants_resource_is_denied(
    action: Permission, kind: ResourceType, resource_id: str | None, context: dict[str, object]
) -> None:
    explained = await Shelf().engine().explain(ALICE, action, kind, resource_id, context)
    assert (explained.decision.allowed, explained.base) == (False, Base.OTHER_TENANT)


@pytest.mark.parametrize(
    ("action", "kind", "resource_id"),
    [
        (Permission.TENANT_MANAGE, ResourceType.TENANT, "acme"),
        (Permission.SESSION_READ, ResourceType.SESSION, "acme:session-1"),
        (Permission.SESSION_READ, ResourceType.SESSION, "0192f0c1"),
    ],
)
async def test_ones_own_is_not(action: Permission, kind: ResourceType, resource_id: str) -> None:
    engine = Shelf().engine()
    assert (await engine.evaluate(ALICE, action, kind, resource_id, {"tenant_id": "acme"})).allowed
    assert (await engine.evaluate(ALICE, action, kind, resource_id)).allowed


async def test_a_policy_that_cannot_be_read_lets_nobody_pass() -> None:
    class Broken(Shelf):
        async def policy(self, tenant_id: str) -> Policy:
            raise Unavailable("database_unavailable", f"The policy of {tenant_id} cannot be read now.")

    with pytest.raises(Unavailable):
        await Broken().engine().evaluate(ALICE, RUN, ResourceType.AGENT, "bot")


BOT = Resource(ResourceType.AGENT, "bot", "acme", frozenset({"restricted"}))


async def test_a_dry_run_shows_both_answers_side_by_side() -> None:
    shelf = Shelf({"acme": [WEEKEND]})
    cases = [Case(Subject((ALICE,)), RUN, BOT, at=NOW + timedelta(days=3)), Case(Subject((ALICE,)), RUN, BOT)]
    proposed = {"version": 1, "rules": [deny("typo", {"attribute": "user.x", "equals": 1}), RESTRICTED]}
    weekend, now = await dry_run(shelf, "acme", proposed, cases, NOW)
    assert (weekend.current.matched, weekend.proposed.matched) == (("no-weekend-runs",), ("restricted",))
    assert (weekend.changes, now.changes) == (False, True)
    assert now.current.decision == PolicyDecision(True, "role permission agent:execute is held")
    assert [one.reason for one in now.proposed.rules] == ["when[0]: user.x is missing", "all that it states holds"]
    assert now.case is cases[1]


async def test_a_dry_run_changes_nothing() -> None:
    shelf = Shelf()
    await dry_run(shelf, "acme", {"version": 1, "rules": [RESTRICTED]}, [Case(Subject((ALICE,)), RUN, BOT)], NOW)
    assert (await shelf.engine().evaluate(ALICE, RUN, ResourceType.AGENT, "bot")).allowed
    assert shelf.asked == []


async def test_a_dry_run_of_a_wrong_document_names_its_problems() -> None:
    with pytest.raises(Invalid) as refused:
        await dry_run(Shelf(), "acme", {"version": 1, "rules": [{}]}, [], NOW)
    assert refused.value.code == "policy_invalid"


@pytest.mark.parametrize(
    "cases",
    [[Case(Subject((ALICE,)), RUN, BOT)] * (MAX_CASES + 1), [Case(Subject((UserContext("bob", "other"),)), RUN, BOT)]],
)
async def test_a_dry_run_takes_so_many_cases_of_its_own_tenant(cases: list[Case]) -> None:
    with pytest.raises(Invalid) as refused:
        await dry_run(Shelf(), "acme", {"version": 1, "rules": []}, cases, NOW)
    assert refused.value.code == "policy_cases_invalid"
