"""Who makes, changes and deactivates whom."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from taskforce.application.identity import resource_roles, users
from taskforce.application.identity.principals import Actor
from taskforce.application.identity.users import NewUser, UserChange
from taskforce.core.domain.errors import Conflict, DomainError, Forbidden
from taskforce.core.domain.identity.resource_roles import ResourceGrant
from taskforce.core.domain.identity.users import UserRecord
from taskforce.core.domain.ids import is_id
from taskforce.core.interfaces.identity import SYSTEM_ROLES, Permission, ResourceType
from taskforce.core.interfaces.repositories.identity import UserFilter
from tests.taskforce.application.identity.people import (
    actor,
    admin,
    code,
    found,
    manager,
    on_a1,
    own_grants,
    refusal,
    role,
)
from tests.taskforce.application.scenario import CLAIMS_AGE, RULES, Stage

VIEWED = frozenset(SYSTEM_ROLES["viewer"].permissions)
SERVICE = NewUser("service", "svc-etl", roles=frozenset({"viewer"}), attributes={"department": "data"})


async def test_a_person_is_made_ahead_of_their_first_token(stage: Stage) -> None:
    ada = await admin(stage)
    wanted = NewUser("person", "bob", "Bob", "bob@example.com", frozenset({"auditor"}))
    made = await users.create_user(stage.database, ada, wanted)
    assert (made.kind, made.username, made.email, made.active) == ("person", "Bob", "bob@example.com", True)
    await stage.person("bob", "viewer")
    bob = await found(stage, "bob")
    assert bob.effective_roles(stage.now, CLAIMS_AGE) == {"auditor", "viewer"}
    assert bob.email == "bob@example.com"


async def test_a_service_account_may_get_a_new_id_and_has_attributes(stage: Stage) -> None:
    ada = await admin(stage)
    made = await users.create_user(stage.database, ada, replace(SERVICE, user_id=None))
    assert is_id(made.user_id)
    assert await found(stage, made.user_id) == made
    assert made.attributes == {"department": "data"}
    changed = await users.change_user(stage.database, ada, made.user_id, UserChange(attributes={"team": "x"}))
    assert changed.attributes == {"team": "x"}


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (NewUser("person"), "user_id_invalid"),
        (NewUser("person", ""), "user_id_invalid"),
        (NewUser("service", "a\nb"), "user_id_invalid"),
        (NewUser("service", " a"), "user_id_invalid"),
        (NewUser("service", "x" * 256), "user_id_invalid"),
        (NewUser("service", username=""), "user_name_invalid"),
        (NewUser("service", email="nobody"), "email_invalid"),
        (NewUser("service", email="a@b\n"), "email_invalid"),
        (NewUser("service", roles=frozenset({"custom:later"})), "roles_unknown"),
        (NewUser("service", attributes={"a": float("inf")}), "attributes_malformed"),
        (NewUser("person", "bob", attributes={}), "attributes_from_claims"),
    ],
)
async def test_what_makes_no_sense_is_refused(stage: Stage, wanted: NewUser, expected: str) -> None:
    ada = await admin(stage)
    assert await code(users.create_user(stage.database, ada, wanted)) == expected
    assert [user.user_id for user in await users.list_users(stage.database, ada, UserFilter(), None, 9)] == ["ada"]


async def test_of_many_who_make_the_same_user_one_does(stage: Stage) -> None:
    ada = await admin(stage)
    tries = [replace(SERVICE, username=f"try {number}") for number in range(8)]
    outcomes = await asyncio.gather(
        *(users.create_user(stage.database, ada, one) for one in tries), return_exceptions=True
    )
    (made,) = [one for one in outcomes if isinstance(one, UserRecord)]
    assert await found(stage, "svc-etl") == made
    assert {one.code for one in outcomes if isinstance(one, Conflict)} == {"user_exists"}
    assert len(await stage.audited("user.create")) == 1


Hand = Callable[[Stage, Actor, str], Awaitable[object]]


async def _by_making(stage: Stage, who: Actor, name: str) -> object:
    return await users.create_user(stage.database, who, NewUser("service", f"new-{name}", roles=frozenset({name})))


async def _by_changing(stage: Stage, who: Actor, name: str) -> object:
    return await users.change_user(stage.database, who, "bob", UserChange(roles=frozenset({name})))


async def _on_one_resource(stage: Stage, who: Actor, name: str) -> object:
    await resource_roles.grant_role(stage.database, who, ResourceGrant("bob", name, ResourceType.AGENT, "a1"), on_a1)
    return None


async def _to_oneself(stage: Stage, who: Actor, name: str) -> object:
    own = who.principal.user
    return await users.change_user(stage.database, who, own.user_id, UserChange(roles=own.granted_roles | {name}))


@pytest.mark.parametrize("hand", [_by_making, _by_changing, _on_one_resource, _to_oneself])
@pytest.mark.parametrize("name", sorted(SYSTEM_ROLES))
async def test_nobody_hands_on_more_than_they_may_do(stage: Stage, hand: Hand, name: str) -> None:
    mia = await manager(stage)
    await stage.person("bob")
    wider = SYSTEM_ROLES[name].permissions - mia.principal.permissions
    if not wider:
        await hand(stage, mia, name)
        return
    error = await refusal(hand(stage, mia, name))
    assert error.code == "roles_too_wide"
    assert error.details["permissions"] == sorted(one.value for one in wider)


async def test_a_role_that_is_gone_may_stay_while_others_change_but_never_comes_in(stage: Stage) -> None:
    ada = await admin(stage)
    gone = await role(stage, "gone")
    await users.create_user(stage.database, ada, replace(SERVICE, roles=frozenset({gone})))
    async with stage.database.tenant(stage.tenant_id) as records:
        await records.roles.remove(gone)
    both = UserChange(roles=frozenset({gone, "viewer"}))
    assert (await users.change_user(stage.database, ada, "svc-etl", both)).granted_roles == {gone, "viewer"}
    await stage.person("bob")
    assert await code(users.change_user(stage.database, ada, "bob", both)) == "roles_unknown"


async def _admin_by_grant(stage: Stage) -> Actor:
    await stage.person("bob")
    await users.change_user(stage.database, await actor(stage, "ada"), "bob", UserChange(roles=frozenset({"admin"})))
    return await actor(stage, "mia")


async def _admin_by_claim(stage: Stage) -> Actor:
    await stage.person("bob", "admin")
    return await actor(stage, "mia")


async def _admin_with_stale_claims(stage: Stage) -> Actor:
    await stage.person("bob", "admin")
    stage.now += CLAIMS_AGE + timedelta(seconds=1)
    await stage.person("mia", "viewer")
    return await actor(stage, "mia")


async def _deactivated_admin(stage: Stage) -> Actor:
    await stage.person("bob", "admin")
    await stage.deactivate("bob")
    return await actor(stage, "mia")


async def _designer_of_one_agent(stage: Stage) -> Actor:
    await stage.person("bob")
    grant = ResourceGrant("bob", "agent_designer", ResourceType.AGENT, "a1")
    await resource_roles.grant_role(stage.database, await actor(stage, "ada"), grant, on_a1)
    return await actor(stage, "mia")


async def _by_the_default_role(stage: Stage) -> Actor:
    await stage.person("bob")
    return await actor(stage, "mia", replace(RULES, default_role="operator"))


async def _by_the_default_role_once_claims_are_stale(stage: Stage) -> Actor:
    await stage.person("bob", "viewer")
    return await actor(stage, "mia", replace(RULES, default_role="operator"))


@pytest.mark.parametrize(
    "prepared",
    [
        _by_the_default_role_once_claims_are_stale,
        _admin_by_grant,
        _admin_by_claim,
        _admin_with_stale_claims,
        _deactivated_admin,
        _designer_of_one_agent,
        _by_the_default_role,
    ],
)
async def test_somebody_who_may_do_more_is_out_of_reach(
    stage: Stage, prepared: Callable[[Stage], Awaitable[Actor]]
) -> None:
    await manager(stage)
    mia = await prepared(stage)
    before = await found(stage, "bob")
    grant = ResourceGrant("bob", "viewer", ResourceType.AGENT, "a1")
    for attempt in (
        users.change_user(stage.database, mia, "bob", UserChange(username="Robert")),
        users.change_user(stage.database, mia, "bob", UserChange(active=True)),
        users.deactivate_user(stage.database, mia, "bob"),
        resource_roles.grant_role(stage.database, mia, grant, on_a1),
        resource_roles.withdraw_role(stage.database, mia, grant),
    ):
        error = await refusal(attempt)
        assert (type(error), error.code) == (Forbidden, "user_stands_higher")
        assert error.details["permissions"]
    assert await found(stage, "bob") == before
    assert (await users.find_user(stage.database, mia, "bob")) == before


async def test_whoever_may_do_no_more_is_changed_and_comes_back(stage: Stage) -> None:
    mia = await manager(stage)
    await stage.person("bob", "viewer")
    await users.deactivate_user(stage.database, mia, "bob")
    assert not (await found(stage, "bob")).active
    assert (await users.change_user(stage.database, mia, "bob", UserChange(active=True))).active


async def test_nobody_takes_their_own_place_away(stage: Stage) -> None:
    ada = await admin(stage)
    granted = frozenset({"admin", "viewer"})
    await users.change_user(stage.database, ada, "ada", UserChange("Ada L.", roles=granted))
    assert await code(users.deactivate_user(stage.database, ada, "ada")) == "not_yourself"
    for roles in (frozenset[str](), frozenset({"viewer"})):
        change = UserChange(roles=roles)
        assert await code(users.change_user(stage.database, ada, "ada", change)) == "not_yourself"
    ada_now = await found(stage, "ada")
    assert (ada_now.active, ada_now.granted_roles, ada_now.username) == (True, granted, "Ada L.")


async def test_of_two_who_deactivate_each_other_at_once_one_stays(stage: Stage) -> None:
    ada, bob = await admin(stage), await admin(stage, "bob")
    outcomes = await asyncio.gather(
        users.deactivate_user(stage.database, ada, "bob"),
        users.deactivate_user(stage.database, bob, "ada"),
        return_exceptions=True,
    )
    (refused,) = [one for one in outcomes if isinstance(one, DomainError)]
    assert refused.code == "user_deactivated"
    active = await users.list_users(stage.database, ada, UserFilter(active=True), None, 9)
    assert len(active) == 1


async def test_rights_that_are_gone_meanwhile_do_not_count(stage: Stage) -> None:
    ada, mia = await admin(stage), await manager(stage)
    await users.change_user(stage.database, ada, "mia", UserChange(roles=frozenset()))
    assert await code(users.create_user(stage.database, mia, NewUser("service"))) == "permission_denied"
    await users.deactivate_user(stage.database, ada, "mia")
    assert await code(users.create_user(stage.database, mia, NewUser("service"))) == "user_deactivated"


async def test_what_a_credential_is_cut_to_stays_cut(stage: Stage) -> None:
    ada = await admin(stage)
    cut = replace(ada, principal=replace(ada.principal, permissions=VIEWED | {Permission.USER_MANAGE}))
    wanted = NewUser("service", roles=frozenset({"operator"}))
    assert await code(users.create_user(stage.database, cut, wanted)) == "roles_too_wide"
    change = UserChange(username="Ada L.")
    assert await code(users.change_user(stage.database, cut, "ada", change)) == "user_stands_higher"


async def test_whom_a_policy_lets_in_hands_on_no_more_than_they_may_do(stage: Stage) -> None:
    await stage.person("vera", "viewer")
    vera = await actor(stage, "vera")
    await users.create_user(stage.database, vera, SERVICE)
    change = UserChange(roles=frozenset({"operator"}))
    assert await code(users.change_user(stage.database, vera, "svc-etl", change)) == "roles_too_wide"


async def test_every_change_is_audited_with_before_and_after(stage: Stage) -> None:
    ada = await admin(stage)
    await users.create_user(stage.database, ada, SERVICE)
    for change in (UserChange(email="etl@example.com"), UserChange(email="etl@example.com")):
        await users.change_user(stage.database, ada, "svc-etl", change)
    await users.deactivate_user(stage.database, ada, "svc-etl")
    await users.deactivate_user(stage.database, ada, "svc-etl")
    await users.change_user(stage.database, ada, "svc-etl", UserChange(active=True))
    rows = await stage.rows("audit_events", "action, actor_id, resource_id, request_id, details")
    assert sorted(str(row[0]) for row in rows) == ["user.activate", "user.change", "user.create", "user.deactivate"]
    assert {row[1:4] for row in rows} == {("ada", "svc-etl", "req-1")}
    details = {row[0]: row[4] for row in rows}
    first = {
        "kind": "service",
        "username": "svc-etl",
        "email": None,
        "active": True,
        "roles": ["viewer"],
        "attributes": {"department": "data"},
    }
    assert details["user.create"] == {"before": None, "after": first}
    assert details["user.change"] == {"before": first, "after": {**first, "email": "etl@example.com"}}


async def test_a_role_on_one_resource_comes_and_goes(stage: Stage) -> None:
    ada = await admin(stage)
    await stage.person("bob")
    grant = ResourceGrant("bob", "operator", ResourceType.AGENT, "a1")
    await resource_roles.grant_role(stage.database, ada, grant, on_a1)
    assert await code(resource_roles.grant_role(stage.database, ada, grant, on_a1)) == "grant_exists"
    assert await resource_roles.list_grants(stage.database, ada, "bob") == [grant]
    ((own, allowed),) = await own_grants(stage, await actor(stage, "bob"))
    assert (own, allowed) == (
        grant,
        frozenset({Permission.AGENT_READ, Permission.AGENT_EXECUTE, Permission.TOOL_EXECUTE}),
    )
    await resource_roles.withdraw_role(stage.database, ada, grant)
    assert await code(resource_roles.withdraw_role(stage.database, ada, grant)) == "grant_not_found"
    assert await resource_roles.list_grants(stage.database, ada, "bob") == []
    assert len(await stage.audited("user.grant")) == len(await stage.audited("user.withdraw")) == 1


async def test_grants_that_make_no_sense_are_refused(stage: Stage) -> None:
    ada = await admin(stage)
    await stage.person("bob")
    for grant, expected in (
        (ResourceGrant("nobody", "viewer", ResourceType.AGENT, "a1"), "user_not_found"),
        (ResourceGrant("bob", "custom:later", ResourceType.AGENT, "a1"), "roles_unknown"),
        (ResourceGrant("bob", "viewer", ResourceType.AGENT, ""), "resource_id_invalid"),
        (ResourceGrant("bob", "viewer", ResourceType.AGENT, "a\x00"), "resource_id_invalid"),
    ):
        assert await code(resource_roles.grant_role(stage.database, ada, grant, on_a1)) == expected
    assert await code(resource_roles.list_grants(stage.database, ada, "nobody")) == "user_not_found"


async def test_users_are_listed_by_id_and_by_what_they_are(stage: Stage) -> None:
    ada = await admin(stage)
    for user_id in ("c", "b"):
        await users.create_user(stage.database, ada, NewUser("service", user_id))
    await users.deactivate_user(stage.database, ada, "c")

    async def ids(which: UserFilter, after: str | None = None, most: int = 9) -> list[str]:
        page = await users.list_users(stage.database, ada, which, after, most)
        return [user.user_id for user in page]

    assert await ids(UserFilter()) == ["ada", "b", "c"]
    assert await ids(UserFilter(), "ada", 1) == ["b"]
    assert await ids(UserFilter(kind="service", active=True)) == ["b"]
    assert await ids(UserFilter(active=False)) == ["c"]
