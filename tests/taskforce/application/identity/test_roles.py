"""Roles of a tenant's own."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from taskforce.application.identity.principals import Actor, load_principal
from taskforce.application.identity.roles import (
    RoleChange,
    create_role,
    delete_role,
    find_role,
    list_roles,
    update_role,
)
from taskforce.core.domain.errors import Conflict, DomainError, Forbidden, Missing
from taskforce.core.domain.identity.api_keys import issue
from taskforce.core.domain.identity.principals import AccessRules, Principal
from taskforce.core.domain.identity.resource_roles import ResourceGrant
from taskforce.core.domain.identity.roles import profile_roles
from taskforce.core.domain.identity.users import UserRecord
from taskforce.core.interfaces.identity import SYSTEM_ROLES, Permission, ResourceType, Role
from tests.fixtures.locks import somebody_waits_for_a_lock
from tests.taskforce.application.scenario import CLAIMS_AGE, RULES, Stage

READ, RUN, MANAGE = Permission.AGENT_READ, Permission.AGENT_EXECUTE, Permission.ROLE_MANAGE
ANALYST = "custom:analyst"
PROFILE = AccessRules(
    CLAIMS_AGE, {**SYSTEM_ROLES, **profile_roles([{"name": "Reviewer", "permissions": ["agent:read"]}])}
)


async def actor(stage: Stage, user_id: str = "ada", *roles: str, rules: AccessRules = RULES) -> Actor:
    await stage.person(user_id, *(roles or ("admin",)))
    return Actor(await rights(stage, user_id), rules, "request-1", stage.now)


async def rights(stage: Stage, user_id: str) -> Principal:
    async with stage.database.tenant(stage.tenant_id) as records:
        return await load_principal(records, user_id, RULES, stage.now)


async def made(stage: Stage, *permissions: Permission, name: str = "Analyst") -> Role:
    return await create_role(stage.database, await actor(stage), name, RoleChange(permissions=permissions))


async def give(stage: Stage, user_id: str, *roles: str, active: bool = True) -> None:
    await stage.database.register_tenant(stage.tenant_id, stage.now)
    user = UserRecord(stage.tenant_id, user_id, user_id, active=active, granted_roles=frozenset(roles))
    async with stage.database.tenant(stage.tenant_id) as records:
        await records.users.save(user, stage.now)


async def refusal(stage: Stage, role_id: str = ANALYST) -> DomainError:
    with pytest.raises(DomainError) as refused:
        await delete_role(stage.database, await actor(stage), role_id)
    return refused.value


async def test_a_role_gives_what_it_says_from_the_next_look_on(stage: Stage) -> None:
    await made(stage, READ)
    await give(stage, "bob", ANALYST)
    assert (await rights(stage, "bob")).permissions == {READ}
    ada = await actor(stage)
    await update_role(stage.database, ada, ANALYST, RoleChange(permissions={READ, RUN}))
    assert (await rights(stage, "bob")).permissions == {READ, RUN}
    await update_role(stage.database, ada, ANALYST, RoleChange(permissions=()))
    assert (await rights(stage, "bob")).permissions == frozenset()


async def test_what_is_left_out_stays(stage: Stage) -> None:
    ada = await actor(stage)
    change = RoleChange(description="Reads.", permissions={READ}, metadata={"team": 7})
    before = await create_role(stage.database, ada, "Analyst", change)
    after = await update_role(stage.database, ada, ANALYST, RoleChange(name="Data people"))
    assert after == replace(before, name="Data people")
    assert await find_role(stage.database, ada, ANALYST) == after


async def test_nobody_gives_what_they_do_not_hold(stage: Stage) -> None:
    await made(stage, READ, RUN)
    await made(stage, READ, MANAGE, name="Deputy")
    await give(stage, "dan", "custom:deputy")
    dan = Actor(await rights(stage, "dan"), RULES, None, stage.now)
    for attempt in (
        create_role(stage.database, dan, "Mine", RoleChange(permissions={RUN})),
        update_role(stage.database, dan, "custom:deputy", RoleChange(permissions={READ, MANAGE, RUN})),
    ):
        with pytest.raises(Forbidden) as refused:
            await attempt
        assert (refused.value.code, refused.value.details) == ("permissions_too_wide", {"permissions": [RUN.value]})
    # What is in it already may stay, and may be taken out, by somebody who does not hold it.
    await update_role(stage.database, dan, ANALYST, RoleChange(name="Analysts", permissions={RUN}))
    assert (await find_role(stage.database, dan, ANALYST)).permissions == {RUN}


async def test_nobody_gives_what_was_taken_from_them_meanwhile(stage: Stage) -> None:
    await made(stage, READ, RUN, MANAGE, name="Deputy")
    await give(stage, "dan", "custom:deputy")
    dan = Actor(await rights(stage, "dan"), RULES, None, stage.now)
    await update_role(stage.database, await actor(stage), "custom:deputy", RoleChange(permissions={MANAGE}))
    with pytest.raises(Forbidden) as refused:
        await create_role(stage.database, dan, "Mine", RoleChange(permissions={RUN}))
    assert refused.value.code == "permissions_too_wide"
    await stage.deactivate("dan")
    for attempt in (
        create_role(stage.database, dan, "Mine", RoleChange()),
        update_role(stage.database, dan, "custom:deputy", RoleChange(permissions=())),
    ):
        with pytest.raises(Forbidden):
            await attempt


async def test_the_list_has_the_systems_the_profiles_and_the_tenants_own_by_id(stage: Stage) -> None:
    await made(stage, READ)
    ada = await actor(stage, rules=PROFILE)
    found: list[Role] = []
    while page := await list_roles(stage.database, ada, found[-1].role_id if found else None, 3):
        found += page
    assert [role.role_id for role in found] == sorted([*SYSTEM_ROLES, ANALYST, "custom:reviewer"])
    whose = {role.role_id: (role.is_system_role, role.tenant_id) for role in found}
    assert whose["admin"] == (True, None)
    assert whose["custom:reviewer"] == (False, None)
    assert whose[ANALYST] == (False, stage.tenant_id)


@pytest.mark.parametrize(("role_id", "code"), [("viewer", "role_is_system"), ("custom:reviewer", "role_is_profile")])
async def test_roles_of_the_system_and_the_profile_stay_as_they_are(stage: Stage, role_id: str, code: str) -> None:
    ada = await actor(stage, rules=PROFILE)
    for attempt in (
        update_role(stage.database, ada, role_id, RoleChange(permissions=())),
        delete_role(stage.database, ada, role_id),
    ):
        with pytest.raises(Conflict) as refused:
            await attempt
        assert refused.value.code == code
    with pytest.raises(Conflict):
        await create_role(stage.database, ada, role_id, RoleChange())


async def test_a_profiles_role_goes_before_an_older_one_of_the_tenant(stage: Stage) -> None:
    await made(stage, RUN, name="Reviewer")
    ada = await actor(stage, rules=PROFILE)
    assert (await find_role(stage.database, ada, "custom:reviewer")).permissions == {READ}
    with pytest.raises(Conflict) as refused:
        await update_role(stage.database, ada, "custom:reviewer", RoleChange(permissions={MANAGE}))
    assert refused.value.code == "role_is_profile"


async def test_there_is_one_role_of_a_name(stage: Stage) -> None:
    ada = await actor(stage)
    attempts = await asyncio.gather(
        *(create_role(stage.database, ada, "Analyst", RoleChange()) for _ in range(8)), return_exceptions=True
    )
    refused = [one for one in attempts if isinstance(one, Conflict)]
    assert [one.code for one in refused] == ["role_exists"] * 7


@pytest.mark.parametrize("role_id", ["custom:absent", "analyst", "", "a\x00b", "\ud800", "x" * 10_000])
async def test_what_is_not_there(stage: Stage, role_id: str) -> None:
    ada = await actor(stage)
    for attempt in (
        find_role(stage.database, ada, role_id),
        update_role(stage.database, ada, role_id, RoleChange()),
        delete_role(stage.database, ada, role_id),
    ):
        with pytest.raises(Missing) as refused:
            await attempt
        assert refused.value.code == "role_not_found"


async def test_a_tenant_has_nothing_to_do_with_the_roles_of_another(stage: Stage) -> None:
    await made(stage, READ)
    other = Stage(stage.database, f"{stage.tenant_id}-other")
    eve = await actor(other, "eve")
    with pytest.raises(Missing):
        await delete_role(other.database, eve, ANALYST)
    await give(other, "oscar", ANALYST)
    assert (await rights(other, "oscar")).permissions == frozenset()


async def test_a_role_that_nobody_holds_is_removed(stage: Stage) -> None:
    await made(stage, READ)
    await delete_role(stage.database, await actor(stage), ANALYST)
    assert (await refusal(stage)).code == "role_not_found"


async def key(stage: Stage, *roles: str, life: timedelta = timedelta(days=1)) -> str:
    known = {one.role_id: one for one in await list_roles(stage.database, await actor(stage), None, 100)}
    _, record = issue(
        tenant_id=stage.tenant_id, user_id="bob", name="CI", roles=roles, created_by="ada",
        maker_permissions=frozenset(Permission), now=stage.now, expires_at=stage.now + life, known_roles=known,
    )  # fmt: skip
    async with stage.database.tenant(stage.tenant_id) as records:
        await records.keys.add(record)
    return record.key_id


@pytest.mark.parametrize("active", [True, False])
async def test_a_role_stays_while_a_user_holds_it(stage: Stage, active: bool) -> None:
    await made(stage, READ)
    await give(stage, "bob", ANALYST, "viewer", active=active)
    refused = await refusal(stage)
    assert (refused.code, refused.details) == ("role_in_use", {"users": 1, "api_keys": 0, "resource_grants": 0})
    await give(stage, "bob", "viewer")
    await delete_role(stage.database, await actor(stage), ANALYST)


async def test_a_role_stays_while_a_key_has_it(stage: Stage) -> None:
    await made(stage, READ)
    await stage.person("bob")
    key_id = await key(stage, ANALYST, "viewer")
    await key(stage, ANALYST, life=timedelta(hours=1))
    assert (await refusal(stage)).details["api_keys"] == 2
    stage.now += timedelta(hours=1)
    assert (await refusal(stage)).details["api_keys"] == 1
    async with stage.database.tenant(stage.tenant_id) as records:
        assert await records.keys.revoke(key_id, stage.now)
    await delete_role(stage.database, await actor(stage), ANALYST)


async def test_a_role_stays_while_it_is_held_on_a_resource(stage: Stage) -> None:
    await made(stage, READ)
    await stage.person("bob")
    grant = ResourceGrant("bob", ANALYST, ResourceType.AGENT, "payroll")
    async with stage.database.tenant(stage.tenant_id) as records:
        await records.roles.grant(grant, "ada", stage.now)
    assert (await refusal(stage)).details["resource_grants"] == 1
    async with stage.database.tenant(stage.tenant_id) as records:
        await records.roles.withdraw(grant)
    await delete_role(stage.database, await actor(stage), ANALYST)


async def test_holders_in_another_tenant_do_not_count(stage: Stage) -> None:
    await made(stage, READ)
    await give(Stage(stage.database, f"{stage.tenant_id}-other"), "oscar", ANALYST)
    await delete_role(stage.database, await actor(stage), ANALYST)


async def test_a_name_that_somebody_still_holds_is_not_made_anew(stage: Stage) -> None:
    """A role that the profile gave no longer stands in it, and Bob holds its name still."""
    await give(stage, "bob", "custom:reviewer")
    with pytest.raises(Conflict) as refused:
        await create_role(stage.database, await actor(stage), "Reviewer", RoleChange(permissions=set(Permission)))
    assert refused.value.code == "role_in_use"
    assert (await rights(stage, "bob")).permissions == frozenset()


async def test_a_name_that_tokens_claim_may_be_made_and_the_log_says_who_gets_it(stage: Stage) -> None:
    """Whom an issuer names, it gives the role: also before there is one. Its maker bounds what that is."""
    for user_id in ("bob", "carl"):
        await stage.person(user_id, ANALYST)
    await made(stage, READ)
    assert (await rights(stage, "bob")).permissions == {READ}
    ((_, _, details),) = await told(stage)
    assert isinstance(details, dict)
    assert details["claimed_by"] == 2


async def test_a_role_that_is_just_being_handed_on_is_not_removed(stage: Stage) -> None:
    await made(stage, READ)
    await stage.person("bob")
    async with stage.database.tenant(stage.tenant_id) as records:
        assert [role.role_id for role in await records.roles.shared([ANALYST, "custom:absent", "\x00"])] == [ANALYST]
        removing = asyncio.create_task(refusal(stage))
        bob = await records.users.locked("bob")
        assert bob is not None
        await somebody_waits_for_a_lock(stage.database, stage.tenant_id)
        await records.users.save(replace(bob, granted_roles=frozenset({ANALYST})), stage.now)
    assert (await removing).code == "role_in_use"


async def test_what_was_done_is_written_down_with_before_and_after(stage: Stage) -> None:
    await made(stage, READ)
    ada = await actor(stage)
    await update_role(stage.database, ada, ANALYST, RoleChange(name="Analysts", permissions={READ, RUN}))
    await delete_role(stage.database, ada, ANALYST)
    first = {"name": "Analyst", "description": "", "permissions": [READ.value]}
    second = {"name": "Analysts", "description": "", "permissions": [RUN.value, READ.value]}
    assert await told(stage) == [
        ("role.create", "ada", {"claimed_by": 0, "before": None, "after": first}),
        ("role.change", "ada", {"before": first, "after": second}),
        ("role.delete", "ada", {"before": second, "after": None}),
    ]


async def told(stage: Stage) -> Sequence[tuple[object, ...]]:
    rows = await stage.rows("audit_events ORDER BY audit_id", "action, actor_id, details, resource_id, request_id")
    assert {row[3:] for row in rows} == {(ANALYST, "request-1")}
    return [row[:3] for row in rows]
