"""Roles that end by themselves: what they give while they last, and that nothing is left of them."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from taskforce.application.access.authorization import load_subject
from taskforce.application.access.policy_documents import save_document
from taskforce.application.approvals.definitions import create_definition
from taskforce.application.identity import resource_roles, users
from taskforce.application.identity.api_keys import NewKey, issue_key
from taskforce.application.identity.principals import Actor, load_principal, without_temporary_roles
from taskforce.application.identity.roles import RoleChange, create_role, delete_role
from taskforce.application.identity.users import NewUser, UserChange
from taskforce.core.domain.access.policies import Resource
from taskforce.core.domain.approvals.definitions import DefinitionRules
from taskforce.core.domain.identity.resource_roles import ResourceGrant
from taskforce.core.interfaces.identity import Permission, ResourceType
from tests.taskforce.application.identity.people import actor, admin, code, on_a1, own_grants, role
from tests.taskforce.application.scenario import RULES, Stage

HOUR = timedelta(hours=1)
Lasting = Callable[[Stage, Actor], Awaitable[object]]


async def make_a_service_account(stage: Stage, who: Actor) -> None:
    await users.create_user(stage.database, who, NewUser("service", "svc"))


async def issue_a_key(stage: Stage, who: Actor) -> None:
    await issue_key(stage.database, who, NewKey(None, "own", frozenset({"admin"})))


async def make_a_friend_an_administrator(stage: Stage, who: Actor) -> None:
    await users.change_user(stage.database, who, "friend", UserChange(roles=frozenset({"admin"})))


async def give_a_role_on_a_resource(stage: Stage, who: Actor) -> None:
    await resource_roles.grant_role(
        stage.database, who, ResourceGrant("friend", "admin", ResourceType.AGENT, "a1"), on_a1
    )


async def make_a_role(stage: Stage, who: Actor) -> None:
    await create_role(stage.database, who, "Everything", RoleChange(permissions=set(Permission)))


async def save_a_policy(stage: Stage, who: Actor) -> None:
    await save_document(stage.database, who, {"version": 1, "rules": []})


async def make_an_approval_definition(stage: Stage, who: Actor) -> None:
    document = {"workflow_id": "mine", "name": "Mine", "request_type": "tool_call"}
    await create_definition(stage.database, who, DefinitionRules(), document)


LASTING: tuple[Lasting, ...] = (
    make_a_service_account,
    issue_a_key,
    make_a_friend_an_administrator,
    give_a_role_on_a_resource,
    make_a_role,
    save_a_policy,
    make_an_approval_definition,
)


async def lend(stage: Stage, user_id: str, name: str) -> None:
    """Lends somebody a role for an hour."""
    async with stage.database.tenant(stage.tenant_id) as records:
        user = await records.users.locked(user_id)
        assert user is not None
        await records.users.save(user.given(name, stage.now + HOUR, stage.now), stage.now)


async def grant(stage: Stage, name: str, hours: int | None) -> bool:
    """Gives bob a role on the agent a1, for some hours or for good."""
    until = None if hours is None else stage.now + hours * HOUR
    async with stage.database.tenant(stage.tenant_id) as records:
        return await records.roles.grant(
            ResourceGrant("bob", name, ResourceType.AGENT, "a1", until), "tests", stage.now
        )


def a1(stage: Stage) -> Resource:
    return Resource(ResourceType.AGENT, "a1", stage.tenant_id)


async def may_execute_a1(stage: Stage) -> bool:
    async with stage.database.tenant(stage.tenant_id) as records:
        who = await load_principal(records, "bob", RULES, stage.now)
        subject = await load_subject(records, who, rules=RULES, now=stage.now)
    return Permission.AGENT_EXECUTE in subject.permissions_on(a1(stage), stage.now)


async def test_a_lent_role_is_a_right_until_its_end(stage: Stage) -> None:
    await stage.person("bob")
    await lend(stage, "bob", "operator")
    assert Permission.AGENT_EXECUTE in (await actor(stage, "bob")).principal.permissions
    stage.now += HOUR
    assert (await actor(stage, "bob")).principal.roles == frozenset()


async def test_a_role_that_is_lent_on_one_resource_is_a_right_there_until_its_end(stage: Stage) -> None:
    await stage.person("bob")
    assert await grant(stage, "operator", 1)
    assert await may_execute_a1(stage)
    ((own, _),) = await own_grants(stage, await actor(stage, "bob"))
    assert own.expires_at == stage.now + HOUR
    stage.now += HOUR
    assert not await may_execute_a1(stage)
    ada = await admin(stage)
    assert await own_grants(stage, await actor(stage, "bob")) == []
    assert await resource_roles.list_grants(stage.database, ada, "bob") == []


async def test_a_grant_takes_the_place_of_one_that_ends_sooner_and_of_no_other(stage: Stage) -> None:
    await stage.person("bob")
    assert await grant(stage, "operator", 2)
    assert not await grant(stage, "operator", 1)
    assert await grant(stage, "operator", 3)
    assert await grant(stage, "operator", None)
    assert not await grant(stage, "operator", 9)
    (kept,) = await resource_roles.list_grants(stage.database, await admin(stage), "bob")
    assert kept.expires_at is None


async def test_a_role_that_somebody_holds_for_a_time_is_in_use_until_then(stage: Stage) -> None:
    ada = await admin(stage)
    name = await role(stage, "analyst", Permission.MEMORY_READ)
    await stage.person("bob")
    await lend(stage, "bob", name)
    assert await code(delete_role(stage.database, ada, name)) == "role_in_use"
    stage.now += HOUR
    assert await grant(stage, name, 1)
    ada = await actor(stage, "ada")
    assert await code(delete_role(stage.database, ada, name)) == "role_in_use"
    stage.now += HOUR
    await delete_role(stage.database, await actor(stage, "ada"), name)


@pytest.mark.parametrize("whose", ["bob", "friend", "svc"])
async def test_nobody_makes_last_for_anybody_what_they_were_lent(stage: Stage, whose: str) -> None:
    """Bob manages users for good, and is lent the rest."""
    for user_id in ("bob", "friend"):
        await stage.person(user_id)
    people = await role(stage, "people", Permission.USER_MANAGE)
    everything = await role(stage, "everything", *Permission)
    await users.change_user(stage.database, await admin(stage), "bob", UserChange(roles=frozenset({people})))
    await lend(stage, "bob", "admin")
    bob = await actor(stage, "bob")
    await users.create_user(stage.database, bob, NewUser("service", "svc"))
    for wanted in ("admin", "operator", everything):
        attempt = users.change_user(stage.database, bob, whose, UserChange(roles=frozenset({wanted, people})))
        assert await code(attempt) == "roles_too_wide"
        own = ResourceGrant(whose, wanted, ResourceType.AGENT, "a1")
        assert await code(resource_roles.grant_role(stage.database, bob, own, on_a1)) == "roles_too_wide"
        key = NewKey(whose, "for good", frozenset({wanted}))
        assert await code(issue_key(stage.database, bob, key)) == "roles_too_wide"
        service = NewUser("service", "more", roles=frozenset({wanted}))
        assert await code(users.create_user(stage.database, bob, service)) == "roles_too_wide"


@pytest.mark.parametrize("act", LASTING, ids=lambda act: act.__name__)
async def test_whoever_is_lent_a_right_leaves_nothing_behind(stage: Stage, act: Lasting) -> None:
    """What the use case does for somebody who holds the role, it refuses to somebody who was lent it."""
    await stage.person("friend")
    await stage.person("bob")
    await lend(stage, "bob", "admin")
    assert await code(act(stage, await actor(stage, "bob"))) == "permission_denied"
    await act(stage, await admin(stage))


async def test_a_lent_role_on_one_resource_is_no_right_to_what_lasts_there(stage: Stage) -> None:
    await stage.person("bob")
    assert await grant(stage, "agent_designer", 1)
    async with stage.database.tenant(stage.tenant_id) as records:
        who = await load_principal(records, "bob", RULES, stage.now)
        lasting = await without_temporary_roles(records, who, RULES, stage.now)
        now = await load_subject(records, who, rules=RULES, now=stage.now)
        later = await load_subject(records, lasting, rules=RULES, now=stage.now)
    assert Permission.AGENT_UPDATE in now.permissions_on(a1(stage), stage.now)
    assert later.permissions_on(a1(stage), stage.now) == frozenset()


async def test_whoever_is_lent_more_still_does_what_their_own_roles_allow(stage: Stage) -> None:
    await stage.person("bob", "admin")
    more = await role(stage, "more", Permission.MEMORY_READ)
    await lend(stage, "bob", more)
    bob = await actor(stage, "bob")
    await users.change_user(stage.database, bob, "bob", UserChange("Robert"))
    await users.create_user(stage.database, bob, NewUser("service", "svc", roles=frozenset({"operator"})))
    await issue_key(stage.database, bob, NewKey("svc", "ci", frozenset({"operator"})))


async def test_whoever_is_lent_more_stands_higher_while_it_lasts(stage: Stage) -> None:
    await stage.person("mia", "viewer")
    role_id = await role(stage, "people", Permission.USER_MANAGE)
    await users.change_user(stage.database, await admin(stage), "mia", UserChange(roles=frozenset({role_id})))
    await stage.person("bob")
    await lend(stage, "bob", "operator")
    attempt = users.change_user(stage.database, await actor(stage, "mia"), "bob", UserChange("Robert"))
    assert await code(attempt) == "user_stands_higher"
    stage.now += HOUR
    await users.change_user(stage.database, await actor(stage, "mia"), "bob", UserChange("Robert"))


@pytest.mark.parametrize("staying", [frozenset(), frozenset({"auditor"})])
async def test_who_manages_users_ends_a_loan_and_makes_none(stage: Stage, staying: frozenset[str]) -> None:
    await stage.person("bob")
    for name in ("operator", "auditor"):
        await lend(stage, "bob", name)
    ada = await admin(stage)
    unheard = users.change_user(stage.database, ada, "bob", UserChange(lent_roles=frozenset({"admin"})))
    assert await code(unheard) == "roles_not_lent"
    changed = await users.change_user(stage.database, ada, "bob", UserChange(lent_roles=staying))
    assert changed.lent_roles.keys() == staying
    assert (await actor(stage, "bob")).principal.roles == staying
    told = (await stage.rows("audit_events WHERE action = 'user.change'", "details"))[-1][0]
    assert isinstance(told, dict)
    assert set(told["before"]["lent_roles"]) == {"operator", "auditor"}
