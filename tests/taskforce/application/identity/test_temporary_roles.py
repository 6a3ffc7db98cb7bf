"""Roles that end by themselves: what they give while they last, and that nothing is left of them."""

from datetime import timedelta

import pytest

from taskforce.application.access.authorization import add_resource_roles
from taskforce.application.identity import resource_roles, users
from taskforce.application.identity.principals import load_principal
from taskforce.application.identity.roles import delete_role
from taskforce.application.identity.users import NewUser, UserChange
from taskforce.core.domain.identity.roles import ResourceGrant
from taskforce.core.interfaces.identity import Permission, ResourceType
from tests.taskforce.application.identity.test_users import actor, admin, code, found, role
from tests.taskforce.application.scenario import RULES, Stage

HOUR = timedelta(hours=1)


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


async def may_execute_a1(stage: Stage) -> bool:
    async with stage.database.tenant(stage.tenant_id) as records:
        who = await load_principal(records, "bob", RULES, stage.now)
        there = await add_resource_roles(records, who, ResourceType.AGENT, "a1", RULES, stage.now)
    return Permission.AGENT_EXECUTE in there.permissions


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
    ((own, _),) = await resource_roles.own_grants(stage.database, await actor(stage, "bob"))
    assert own.expires_at == stage.now + HOUR
    stage.now += HOUR
    assert not await may_execute_a1(stage)
    ada = await admin(stage)
    assert await resource_roles.own_grants(stage.database, await actor(stage, "bob")) == []
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


async def test_nobody_makes_their_own_for_good_what_they_were_lent(stage: Stage) -> None:
    await stage.person("bob", "viewer")
    await lend(stage, "bob", "admin")
    bob = await actor(stage, "bob")
    everything = await role(stage, "everything", *Permission)
    for wanted in ("admin", "operator", everything):
        attempt = users.change_user(stage.database, bob, "bob", UserChange(roles=frozenset({wanted})))
        assert await code(attempt) == "roles_too_wide"
        own = ResourceGrant("bob", wanted, ResourceType.AGENT, "a1")
        assert await code(resource_roles.grant_role(stage.database, bob, own)) == "roles_too_wide"
    # What the role is for, it does for others.
    await users.create_user(stage.database, bob, NewUser("service", "svc", roles=frozenset({"operator"})))
    assert (await found(stage, "bob")).granted_roles == frozenset()


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
