"""Policy documents: saved, read, tried out, and kept at hand."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from taskforce.application.access.policy_documents import (
    AccessCase,
    NoTags,
    StoredPolicies,
    current_document,
    save_document,
    try_document,
)
from taskforce.application.access.policy_engine import PolicyEngine
from taskforce.application.identity.principals import Actor, load_principal
from taskforce.application.identity.roles import RoleChange, create_role, update_role
from taskforce.core.domain.access.policies import Base, Policy
from taskforce.core.domain.access.policy_documents import parse
from taskforce.core.domain.canonical_json import canonical_hash
from taskforce.core.domain.errors import DomainError, Forbidden, Invalid, Unavailable
from taskforce.core.interfaces.identity import Permission, ResourceType, UserContext
from taskforce.core.interfaces.repositories.access import PolicyVersion
from taskforce.infrastructure.persistence.database import Database
from tests.fixtures.locks import somebody_waits_for_a_lock
from tests.taskforce.application.access.documents import Document, deny, document, spoil
from tests.taskforce.application.scenario import RULES, Stage

RUN, READ, MANAGE = Permission.AGENT_EXECUTE, Permission.AGENT_READ, Permission.POLICY_MANAGE
AGENT = ResourceType.AGENT


def share(rule_id: str = "share", *actions: str, **keys: object) -> Document:
    about = [{"type": "agent", "ids": ["payroll"]}]
    return deny(rule_id, *actions, resources=about, **keys) | {"effect": "allow"}


async def actor(stage: Stage, user_id: str = "ada", *roles: str) -> Actor:
    await stage.person(user_id, *(roles or ("admin",)))
    async with stage.database.tenant(stage.tenant_id) as records:
        return Actor(await load_principal(records, user_id, RULES, stage.now), RULES, "request-1", stage.now)


async def saved(stage: Stage, *rules: Document) -> PolicyVersion:
    return await save_document(stage.database, await actor(stage), document(*rules))


async def deputy(stage: Stage, *permissions: Permission) -> Actor:
    """Somebody who may write policies, and has these permissions besides."""
    role = RoleChange(permissions={MANAGE, *permissions})
    await create_role(stage.database, await actor(stage), "Deputy", role)
    return await actor(stage, "dan", "custom:deputy")


# Saved and read


async def test_each_save_is_a_new_version_of_the_whole_document(stage: Stage) -> None:
    ada = await actor(stage)
    assert await current_document(stage.database, ada) is None
    first, second = await saved(stage, deny()), await saved(stage, deny("pause"), share())
    assert (first.version, second.version, second.saved_by, second.at) == (1, 2, "ada", stage.now)
    assert second.document == document(deny("pause"), share())
    assert await current_document(stage.database, ada) == second


async def test_a_document_is_kept_in_its_canonical_form(stage: Stage) -> None:
    weekend = {"time": {"zone": "UTC", "days": ["sun", "sat"]}}
    kept = (await saved(stage, deny("rest", "tool:read", "agent:*", when=[weekend]))).document
    hours = {"days": ["sat", "sun"], "from": "00:00", "to": "24:00", "zone": "UTC"}
    assert kept == document(deny("rest", "agent:*", "tool:read", when=[{"time": hours}]))
    found = await current_document(stage.database, await actor(stage))
    assert found is not None
    assert found.document == kept


async def test_a_wrong_document_is_refused_with_all_its_problems_and_changes_nothing(stage: Stage) -> None:
    before = await saved(stage, deny())
    with pytest.raises(Invalid) as refused:
        await saved(stage, deny(actions=["agent:fly"]), deny("b", colour="red"), share("c", "policy:manage"))
    problems = refused.value.details["problems"]
    assert isinstance(problems, list)
    assert [one["path"] for one in problems] == ["rules[0].actions[0]", "rules[1].colour", "rules[2].actions[0]"]
    assert await current_document(stage.database, await actor(stage)) == before


async def test_what_could_not_be_read_again_is_not_saved(stage: Stage) -> None:
    """Hours that are left out are written out, and make the text longer than it may be."""
    windows = [{"time": {"zone": "UTC", "days": ["mon"]}}] * 20
    long = document(
        *(deny(f"r{n}", when=windows, users=[f"{n}-{user}".ljust(250, "x") for user in range(4)]) for n in range(480))
    )
    parse(long)
    with pytest.raises(Invalid) as refused:
        await save_document(stage.database, await actor(stage), long)
    assert refused.value.code == "policy_invalid"
    assert refused.value.details["count"] == 1


async def test_an_author_gives_only_what_they_hold(stage: Stage) -> None:
    dan = await deputy(stage, READ)
    assert (await save_document(stage.database, dan, document(share("read", "agent:read")))).version == 1
    with pytest.raises(Forbidden) as refused:
        await save_document(stage.database, dan, document(share("run", "agent:execute")))
    assert refused.value.details == {"permission": RUN.value}
    await saved(stage, share("run", "agent:execute"))
    kept = document(share("run", "agent:execute"), deny("stop", "*"))
    assert (await save_document(stage.database, dan, kept)).version == 3


async def test_an_author_gives_nothing_that_was_taken_from_them_meanwhile(stage: Stage) -> None:
    dan = await deputy(stage, RUN)
    change = RoleChange(permissions={MANAGE})
    await update_role(stage.database, await actor(stage), "custom:deputy", change)
    with pytest.raises(Forbidden) as refused:
        await save_document(stage.database, dan, document(share()))
    assert refused.value.details == {"permission": RUN.value}
    await stage.deactivate("dan")
    with pytest.raises(Forbidden):
        await save_document(stage.database, dan, document())


async def test_of_a_document_that_cannot_be_read_nothing_counts_as_kept(stage: Stage) -> None:
    dan = await deputy(stage)
    await spoil(stage)
    with pytest.raises(Forbidden):
        await save_document(stage.database, dan, document(share()))
    assert (await save_document(stage.database, dan, document(deny()))).version == 2


async def test_many_who_save_at_once_each_make_a_version(stage: Stage) -> None:
    ada = await actor(stage)
    versions = await asyncio.gather(*(save_document(stage.database, ada, document(deny(f"r{n}"))) for n in range(8)))
    assert sorted(one.version for one in versions) == list(range(1, 9))
    last = max(versions, key=lambda one: one.version)
    assert await current_document(stage.database, ada) == last


async def test_a_rule_that_is_taken_out_meanwhile_is_not_kept_by_somebody_who_lacks_it(stage: Stage) -> None:
    """Dan keeps a rule that gives more than he has, while Ada is about to take it out."""
    await saved(stage, share())
    dan = await deputy(stage)
    async with stage.database.tenant(stage.tenant_id) as records:
        await records.policies.locked()
        saving = asyncio.create_task(save_document(stage.database, dan, document(share(), deny())))
        await somebody_waits_for_a_lock(stage.database, stage.tenant_id)
        await records.policies.add(document(), "ada", stage.now)
    with pytest.raises(Forbidden):
        await saving


async def test_the_log_tells_versions_and_hashes_and_not_the_rules(stage: Stage) -> None:
    first, second = await saved(stage, deny()), await saved(stage, share())
    rows = await stage.rows(
        "audit_events WHERE action = 'policy.save' ORDER BY audit_id", "actor_id, outcome, request_id, details"
    )
    hashes = [{"version": one.version, "content_hash": canonical_hash(one.document)} for one in (first, second)]
    assert rows == [
        ("ada", "allowed", "request-1", {"before": None, "after": hashes[0]}),
        ("ada", "allowed", "request-1", {"before": hashes[0], "after": hashes[1]}),
    ]


# Kept at hand


@dataclass
class Shelf:
    """What a process keeps, its clock, and how often it asked the database."""

    database: Database
    seconds: float = 0
    asked: int = 0
    policies: StoredPolicies = field(init=False)

    def __post_init__(self) -> None:
        self.policies = StoredPolicies(self, lambda: self.seconds)

    def tenant(self, tenant_id: str) -> Any:
        return self.database.tenant(tenant_id)

    def reading(self, tenant_id: str) -> Any:
        self.asked += 1
        return self.database.reading(tenant_id)

    def counting(self, tenant_id: str) -> Any:
        return self.database.counting(tenant_id)


async def test_without_a_document_there_are_no_rules(stage: Stage) -> None:
    assert await StoredPolicies(stage.database).policy(stage.tenant_id) == Policy()


async def test_a_policy_is_kept_for_a_second_and_no_longer(stage: Stage) -> None:
    await saved(stage, deny())
    gateways = [Shelf(stage.database), Shelf(stage.database, seconds=1_000)]
    for one in gateways:
        assert await one.policies.policy(stage.tenant_id) == parse(document(deny()))
    await saved(stage, deny("other"))
    for one in gateways:
        one.seconds += 0.99
        assert await one.policies.policy(stage.tenant_id) == parse(document(deny()))
        assert one.asked == 1
        one.seconds += 0.01
        assert await one.policies.policy(stage.tenant_id) == parse(document(deny("other")))


async def test_the_first_document_counts_as_soon_as_any_other(stage: Stage) -> None:
    shelf = Shelf(stage.database)
    assert await shelf.policies.policy(stage.tenant_id) == Policy()
    await saved(stage, deny())
    shelf.seconds += 1
    assert await shelf.policies.policy(stage.tenant_id) == parse(document(deny()))


async def test_what_has_not_changed_is_not_read_again(stage: Stage) -> None:
    await saved(stage, deny())
    shelf = Shelf(stage.database)
    first = await shelf.policies.policy(stage.tenant_id)
    shelf.seconds += 1
    assert await shelf.policies.policy(stage.tenant_id) is first
    assert shelf.asked == 2


async def test_many_who_ask_at_once_are_one_question(stage: Stage) -> None:
    await saved(stage, deny())
    shelf = Shelf(stage.database)
    answers = await asyncio.gather(*(shelf.policies.policy(stage.tenant_id) for _ in range(50)))
    assert (shelf.asked, len(set(map(id, answers)))) == (1, 1)


async def test_each_tenant_has_its_own(stage: Stage) -> None:
    await saved(stage, deny())
    policies = StoredPolicies(stage.database)
    assert await policies.policy(stage.tenant_id) != Policy()
    assert await policies.policy(f"{stage.tenant_id}-other") == Policy()


async def test_a_document_that_cannot_be_read_lets_nobody_pass_until_it_is_replaced(stage: Stage) -> None:
    await saved(stage, deny())
    shelf = Shelf(stage.database)
    engine = PolicyEngine(shelf.policies, NoTags(), stage.clock)
    user = UserContext("alice", stage.tenant_id, permissions={RUN})
    assert not (await engine.evaluate(user, RUN, AGENT, "payroll")).allowed
    await spoil(stage)
    for _ in range(3):
        shelf.seconds += 1
        with pytest.raises(Unavailable) as refused:
            await engine.evaluate(user, RUN, AGENT, "payroll")
        assert refused.value.code == "policy_unreadable"
        with pytest.raises(Unavailable):
            await engine.evaluate(replace(user, permissions={MANAGE}), MANAGE, ResourceType.POLICY)
        # Somebody must be able to replace it.
        admin = replace(user, roles={"admin"}, permissions={MANAGE, RUN})
        assert (await engine.evaluate(admin, MANAGE, ResourceType.POLICY)).allowed
        assert not (await engine.evaluate(replace(admin, permissions={RUN}), MANAGE, ResourceType.POLICY)).allowed
        with pytest.raises(Unavailable):
            await engine.evaluate(admin, RUN, AGENT, "payroll")
    await saved(stage)
    shelf.seconds += 1
    assert (await engine.evaluate(user, RUN, AGENT, "payroll")).allowed


async def test_without_the_database_nothing_older_is_taken(stage: Stage) -> None:
    await saved(stage, deny())
    shelf = Shelf(stage.database)
    await shelf.policies.policy(stage.tenant_id)
    shelf.database = Database("postgresql://nobody@127.0.0.1:1/nothing", 1)
    shelf.seconds += 1
    with pytest.raises(Unavailable):
        await shelf.policies.policy(stage.tenant_id)
    shelf.database = stage.database
    assert await shelf.policies.policy(stage.tenant_id) == parse(document(deny()))


# Tried out


async def tried(stage: Stage, proposed: Document | None, *asked: AccessCase) -> Sequence[tuple[bool, bool | None]]:
    found = await try_document(stage.database, await actor(stage), NoTags(), proposed, asked)
    return [(one.current.decision.allowed, one.proposed.decision.allowed if one.proposed else None) for one in found]


async def test_a_dry_run_shows_both_answers_and_saves_nothing(stage: Stage) -> None:
    before = await saved(stage, deny())
    await stage.person("olga", "operator")
    olga = AccessCase(RUN, AGENT, "payroll", user_id="olga")
    (found,) = await try_document(
        stage.database, await actor(stage), NoTags(), document(deny("rest", users=["bob"])), [olga]
    )
    assert found.proposed is not None
    assert (found.current.decision.allowed, found.current.matched) == (False, ("stop",))
    assert (found.proposed.decision.allowed, found.proposed.matched) == (True, ())
    assert [one.reason for one in found.proposed.rules] == ["the user is none of its users"]
    assert await current_document(stage.database, await actor(stage)) == before


async def test_without_a_document_the_answers_of_now_are_explained(stage: Stage) -> None:
    await saved(stage, deny(roles=["operator"]))
    by_role = [
        AccessCase(RUN, AGENT, "payroll", roles=[role]) for role in ("operator", "viewer", "admin", "unheard-of")
    ]
    assert await tried(stage, None, *by_role) == [(False, None), (False, None), (True, None), (False, None)]


async def test_users_are_asked_about_with_the_rights_and_attributes_of_now(stage: Stage) -> None:
    ada = await actor(stage)
    await create_role(stage.database, ada, "Runner", RoleChange(permissions={RUN}))
    identity = replace(stage.identity("rita", "custom:runner"), attributes={"department": "hr"})
    await stage.person("rita", "custom:runner")
    async with stage.database.tenant(stage.tenant_id) as records:
        rita = await records.users.locked("rita")
        assert rita is not None
        await records.users.save(replace(rita, attributes=identity.attributes), stage.now)
    by_department = document(deny(when=[{"attribute": "user.department", "equals": "hr"}]))
    somebody = AccessCase(RUN, AGENT, "payroll", roles=["custom:runner"])
    asked = [replace(somebody, roles=(), user_id="rita"), somebody, replace(somebody, attributes={"department": "hr"})]
    assert await tried(stage, by_department, *asked) == [(True, False), (True, True), (True, False)]


async def test_time_context_and_tags_are_those_of_the_case(stage: Stage) -> None:
    rules = document(
        deny("weekend", when=[{"time": {"days": ["sat"], "zone": "UTC"}}]),
        deny("signal", when=[{"attribute": "context.channel", "equals": "signal"}]),
        deny("secret", when=[{"resource_tags": {"has_any": ["secret"]}}]),
    )
    plain = AccessCase(RUN, AGENT, "payroll", roles=["operator"])
    others = [
        replace(plain, at=stage.now + timedelta(days=2)),
        replace(plain, context={"channel": "signal"}),
        replace(plain, tags=["secret"]),
    ]
    assert stage.now.strftime("%a") == "Thu"
    assert await tried(stage, rules, plain, *others) == [(True, True), (True, False), (True, False), (True, False)]


async def test_tags_that_a_case_does_not_state_are_those_of_the_catalog(stage: Stage) -> None:
    class Catalog:
        async def tags(self, tenant_id: str, resource_type: ResourceType, resource_id: str) -> Collection[str]:
            return {"secret"} if (tenant_id, resource_id) == (stage.tenant_id, "payroll") else ()

    rules = document(deny(when=[{"resource_tags": {"has_any": ["secret"]}}]))
    plain = AccessCase(RUN, AGENT, "payroll", roles=["operator"])
    asked = [plain, replace(plain, tags=()), replace(plain, resource_id="other"), replace(plain, resource_id=None)]
    found = await try_document(stage.database, await actor(stage), Catalog(), rules, asked)
    assert [one.proposed is not None and one.proposed.decision.allowed for one in found] == [False, True, True, True]


async def test_it_answers_as_the_engine_does_about_what_is_elsewhere(stage: Stage) -> None:
    elsewhere = [
        AccessCase(Permission.SESSION_READ, ResourceType.SESSION, "other:session-1", roles=["admin"]),
        AccessCase(Permission.TENANT_MANAGE, ResourceType.TENANT, "other", roles=["admin"]),
        AccessCase(RUN, AGENT, "payroll", roles=["admin"], context={"tenant_id": "other"}),
    ]
    found = await try_document(stage.database, await actor(stage), NoTags(), document(), elsewhere)
    assert {one.current.base for one in found} == {Base.OTHER_TENANT}


async def test_cases_about_people_who_are_not_there_are_named(stage: Stage) -> None:
    await stage.person("gone", "operator")
    await stage.deactivate("gone")
    other = Stage(stage.database, f"{stage.tenant_id}-other")
    await other.person("foreign", "operator")
    names = ["ada", "gone", "foreign", "absent", "\x00"]
    with pytest.raises(Invalid) as refused:
        await tried(stage, None, *(AccessCase(RUN, AGENT, user_id=name) for name in names))
    problems = [{"path": f"cases[{place}].user_id", "problem": "names no active user."} for place in range(1, 5)]
    assert (refused.value.code, refused.value.details) == ("policy_cases_invalid", {"problems": problems})


@pytest.mark.parametrize(
    ("proposed", "cases", "code"),
    [(document(deny(colour="red")), 1, "policy_invalid"), (None, 101, "policy_cases_invalid")],
)
async def test_a_dry_run_that_makes_no_sense(stage: Stage, proposed: Document | None, cases: int, code: str) -> None:
    with pytest.raises(DomainError) as refused:
        await tried(stage, proposed, *[AccessCase(RUN, AGENT, roles=["operator"])] * cases)
    assert refused.value.code == code
