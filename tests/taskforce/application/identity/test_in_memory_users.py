"""The users and roles of a program that embeds the library, each in its tenant."""

from typing import Any

import pytest

from taskforce.application.identity import RoleManager, UserManager
from taskforce.core.domain.errors import Conflict, Forbidden, Invalid, Missing
from taskforce.core.domain.identity.roles import profile_roles
from taskforce.core.interfaces.identity import (
    SYSTEM_ROLES,
    Permission,
    UserContext,
)

EVERYTHING = frozenset(Permission)
OPERATOR = UserContext("olga", "acme", roles={"operator"}, permissions=SYSTEM_ROLES["operator"].permissions)
STRANGER = UserContext("eve", "other", roles={"admin"}, permissions=EVERYTHING)


# Roles


async def test_a_tenant_has_the_system_roles_those_of_the_profile_and_its_own() -> None:
    roles = RoleManager(profile_roles([{"name": "reader", "permissions": ["memory:read"]}]))
    await roles.create_role("Mine", "", (), "acme")

    assert [role.role_id for role in await roles.list_roles("acme")] == [*SYSTEM_ROLES, "custom:reader", "custom:mine"]
    assert [role.role_id for role in await roles.list_roles("other")] == [*SYSTEM_ROLES, "custom:reader"]
    for taken, code in {"Reader": "role_exists", "Mine": "role_exists", "Admin": "role_is_system"}.items():
        with pytest.raises(Conflict) as refusal:
            await roles.create_role(taken, "", (), "acme")
        assert refusal.value.code == code


async def test_a_role_of_another_tenant_is_not_there() -> None:
    roles = RoleManager()
    await roles.create_role("Mine", "", (), "acme")

    for attempt in (
        roles.get_role("custom:mine", "other"),
        roles.update_role("custom:mine", "other", description="Now ours"),
        roles.delete_role("custom:mine", "other"),
    ):
        with pytest.raises(Missing) as refusal:
            await attempt
        assert refusal.value.code == "role_not_found"
    assert (await roles.get_role("custom:mine", "acme")).description == ""


async def test_a_role_is_changed_and_removed() -> None:
    roles = RoleManager()
    await roles.create_role("Mine", "", (), "acme")

    changed = await roles.update_role("custom:mine", "acme", name="Ours", permissions={Permission.AUDIT_READ})
    assert (changed.role_id, changed.name, changed.permissions) == ("custom:mine", "Ours", {Permission.AUDIT_READ})
    assert await roles.get_role("custom:mine", "acme") == changed

    await roles.delete_role("custom:mine", "acme")
    with pytest.raises(Missing):
        await roles.get_role("custom:mine", "acme")


async def test_system_roles_and_those_of_the_profile_stay() -> None:
    roles = RoleManager(profile_roles([{"name": "reader", "permissions": []}]))

    for role_id, code in {"viewer": "role_is_system", "custom:reader": "role_is_profile"}.items():
        for attempt in (
            roles.update_role(role_id, "acme", permissions=EVERYTHING),
            roles.delete_role(role_id, "acme"),
        ):
            with pytest.raises(Conflict) as refusal:
                await attempt
            assert refusal.value.code == code


async def test_a_maker_of_roles_gives_what_it_holds_in_its_own_tenant() -> None:
    roles = RoleManager()
    await roles.create_role("Mine", "", {Permission.TOOL_READ}, "acme", grantor=OPERATOR)

    for grantor, code in ((OPERATOR, "permissions_too_wide"), (STRANGER, "foreign_tenant")):
        for attempt in (
            roles.create_role("More", "", {Permission.AUDIT_READ}, "acme", grantor=grantor),
            roles.update_role("custom:mine", "acme", permissions={Permission.AUDIT_READ}, grantor=grantor),
        ):
            with pytest.raises(Forbidden) as refusal:
                await attempt
            assert refusal.value.code == code
    assert (await roles.get_role("custom:mine", "acme")).permissions == {Permission.TOOL_READ}


# Users


async def test_a_user_has_the_rights_of_its_roles_until_it_is_deactivated() -> None:
    roles = RoleManager()
    await roles.create_role("Reader", "", {Permission.MEMORY_READ}, "acme")
    users = UserManager(roles)
    await users.create_user("alice", "acme", "Alice", "alice@acme.example", {"viewer", "custom:reader"})

    context = await users.user_context("alice", "acme")
    assert context is not None
    assert (context.username, context.email) == ("Alice", "alice@acme.example")
    assert context.roles == {"viewer", "custom:reader"}
    assert context.permissions == SYSTEM_ROLES["viewer"].permissions | {Permission.MEMORY_READ}

    assert not (await users.deactivate_user("alice", "acme")).active
    assert await users.user_context("alice", "acme") is None
    await users.update_user("alice", "acme", active=True)
    assert await users.user_context("alice", "acme") == context


async def test_what_is_left_out_of_an_update_stays() -> None:
    users = UserManager()
    before = await users.create_user("alice", "acme", "Alice", "alice@acme.example", {"viewer"})

    assert await users.update_user("alice", "acme") == before
    changed = await users.update_user("alice", "acme", username="Alice J.", roles=())
    assert (changed.username, changed.email, changed.granted_roles) == ("Alice J.", "alice@acme.example", frozenset())


async def test_a_user_of_another_tenant_is_not_there() -> None:
    users = UserManager()
    await users.create_user("alice", "acme", roles={"admin"})

    for attempt in (
        users.get_user("alice", "other"),
        users.update_user("alice", "other", roles={"viewer"}),
        users.deactivate_user("alice", "other"),
    ):
        with pytest.raises(Missing) as refusal:
            await attempt
        assert refusal.value.code == "user_not_found"
    assert await users.list_users("other") == []
    assert await users.user_context("alice", "other") is None
    assert (await users.get_user("alice", "acme")).granted_roles == {"admin"}


async def test_two_tenants_may_have_users_of_one_id_and_one_tenant_may_not() -> None:
    users = UserManager()
    await users.create_user("alice", "acme")
    await users.create_user("alice", "other")

    with pytest.raises(Conflict) as refusal:
        await users.create_user("alice", "acme", roles={"admin"})
    assert refusal.value.code == "user_exists"
    assert (await users.get_user("alice", "acme")).granted_roles == frozenset()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"user_id": " "}, "user_id_invalid"),
        ({"tenant_id": "a:b"}, "tenant_id_invalid"),
        ({"username": ""}, "user_name_invalid"),
        ({"roles": "admin"}, "roles_invalid"),
        ({"roles": {1, "viewer"}}, "roles_invalid"),
        ({"roles": {"custom:later"}}, "roles_unknown"),
    ],
)
async def test_a_user_that_cannot_be_is_refused(changes: dict[str, Any], code: str) -> None:
    users = UserManager()
    with pytest.raises(Invalid) as refusal:
        await users.create_user(**{"user_id": "alice", "tenant_id": "acme", **changes})
    assert refusal.value.code == code
    assert await users.list_users("acme") == []


async def test_a_maker_of_users_gives_roles_no_wider_than_its_own() -> None:
    users = UserManager()
    await users.create_user("alice", "acme", roles={"admin"})

    assert (await users.create_user("bob", "acme", roles={"operator"}, grantor=OPERATOR)).granted_roles == {"operator"}
    # All that a viewer may, an operator may too; but approvals may ask for a viewer by name.
    with pytest.raises(Forbidden) as not_held:
        await users.create_user("vera", "acme", roles={"viewer"}, grantor=OPERATOR)
    assert (not_held.value.code, not_held.value.details) == ("roles_not_held", {"roles": ["viewer"]})
    # A role that somebody has already is not given again.
    await users.update_user("alice", "acme", roles={"admin", "operator"}, grantor=OPERATOR)
    for attempt in (
        users.create_user("carol", "acme", roles={"admin"}, grantor=OPERATOR),
        users.update_user("bob", "acme", roles={"admin"}, grantor=OPERATOR),
    ):
        with pytest.raises(Forbidden) as refusal:
            await attempt
        assert refusal.value.code == "roles_too_wide"
    assert (await users.get_user("bob", "acme")).granted_roles == {"operator"}


async def test_a_stranger_learns_nothing_about_who_is_there() -> None:
    users = UserManager()
    await users.create_user("alice", "acme")
    answers = set()
    for user_id in ("alice", "nobody"):
        with pytest.raises(Forbidden) as refusal:
            await users.update_user(user_id, "acme", roles={"admin"}, grantor=STRANGER)
        answers.add((refusal.value.code, refusal.value.message))
    assert len(answers) == 1
