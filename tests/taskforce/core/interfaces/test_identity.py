"""The value types of identity, and the permission matrix of the guide's Appendix A."""

import dataclasses

import pytest

from taskforce.core.domain.errors import Invalid
from taskforce.core.interfaces.identity import (
    SYSTEM_ROLES,
    Permission,
    PolicyDecision,
    ResourceType,
    Role,
    TenantContext,
    UserContext,
    checked_tenant_id,
)

COLUMNS = ("admin", "agent_designer", "operator", "auditor", "viewer")
MATRIX = """
    agent:create    X X . . .
    agent:read      X X X X X
    agent:update    X X . . .
    agent:delete    X X . . .
    agent:execute   X . X . .
    session:create  X . X . .
    session:read    X X X X X
    session:delete  X . X . .
    tool:execute    X . X . .
    tool:read       X X X X X
    memory:read     X . X X .
    memory:write    X . X . .
    memory:delete   X . . . .
    tenant:manage   X . . . .
    user:manage     X . . . .
    role:manage     X . . . .
    policy:manage   X . . . .
    audit:read      X . . X .
    system:config   X . . . .
    system:metrics  X . . . .
"""
ROWS = [line.split() for line in MATRIX.strip().splitlines()]


def test_the_permissions_are_the_twenty_of_the_guide() -> None:
    assert [permission.value for permission in Permission] == [row[0] for row in ROWS]
    for permission in Permission:
        assert permission.name == permission.value.replace(":", "_").upper()


@pytest.mark.parametrize(("column", "role"), list(enumerate(COLUMNS, start=1)))
def test_each_system_role_allows_what_its_column_says(column: int, role: str) -> None:
    allowed = {Permission(row[0]) for row in ROWS if row[column] == "X"}

    assert SYSTEM_ROLES[role].permissions == allowed
    assert SYSTEM_ROLES[role].is_system_role
    assert SYSTEM_ROLES[role].tenant_id is None


def test_there_are_five_system_roles_and_nobody_can_change_them() -> None:
    assert tuple(SYSTEM_ROLES) == COLUMNS
    assert not hasattr(SYSTEM_ROLES, "__setitem__")
    with pytest.raises(dataclasses.FrozenInstanceError):
        SYSTEM_ROLES["viewer"].permissions = frozenset(Permission)  # type: ignore[misc]


def test_every_permission_is_about_a_resource_type() -> None:
    assert {permission.value.split(":")[0] for permission in Permission} == {kind.value for kind in ResourceType}


def test_a_user_has_the_permissions_it_was_given_and_no_more() -> None:
    roles = {"admin", "agent_designer"}
    user = UserContext(
        user_id="user-12345",
        tenant_id="acme-corp",
        username="alice.johnson",
        email="alice@acme.com",
        roles=roles,
        permissions={Permission.AGENT_CREATE},
        attributes={"department": "Engineering"},
    )
    roles.add("auditor")

    assert user.has_permission(Permission.AGENT_CREATE)
    assert not user.has_permission(Permission.TENANT_MANAGE)
    assert user.is_admin()
    assert user.roles == frozenset({"admin", "agent_designer"})
    assert isinstance(user.roles, frozenset)
    assert isinstance(user.permissions, frozenset)
    assert user.attributes["department"] == "Engineering"
    assert len({user, dataclasses.replace(user)}) == 1


def test_a_user_without_the_role_admin_is_no_admin() -> None:
    user = UserContext("u", "acme", roles={"administrator", "Admin"}, permissions=set(Permission))

    assert not user.is_admin()


def test_a_tenant_keeps_its_own_copy_of_its_settings() -> None:
    settings: dict[str, object] = {"max_agents": 100}
    tenant = TenantContext("acme-corp", "Acme Corporation", settings=settings, metadata={"tier": "enterprise"})
    settings["max_agents"] = 1

    assert tenant.settings == {"max_agents": 100}
    assert tenant.metadata == {"tier": "enterprise"}


@pytest.mark.parametrize("tenant_id", ["a", "acme-corp", "A.b_c-9", "x" * 64])
def test_plain_tenant_ids_are_accepted(tenant_id: str) -> None:
    assert checked_tenant_id(tenant_id) == tenant_id


@pytest.mark.parametrize(
    "tenant_id",
    ["", "x" * 65, "acme corp", "acme\n", "a:b", "a/b", "a'b", "a%b", "ácme", "acme\0", "٣", "a*", None, 7, ["acme"]],
)
def test_any_other_tenant_id_is_refused_by_code(tenant_id: object) -> None:
    with pytest.raises(Invalid) as refusal:
        checked_tenant_id(tenant_id)

    assert refusal.value.code == "tenant_id_invalid"


def test_every_value_that_names_a_tenant_checks_it() -> None:
    with pytest.raises(Invalid):
        TenantContext("acme corp")
    with pytest.raises(Invalid):
        UserContext("u", "acme corp")
    with pytest.raises(Invalid):
        Role("custom:x", "X", tenant_id="acme corp")


def test_a_text_where_a_set_belongs_is_refused_instead_of_split_into_letters() -> None:
    with pytest.raises(Invalid) as roles:
        UserContext("u", "acme", roles="admin")  # type: ignore[arg-type]
    with pytest.raises(Invalid) as permissions:
        UserContext("u", "acme", permissions={"agent:read"})  # type: ignore[arg-type]

    assert (roles.value.code, permissions.value.code) == ("roles_invalid", "permissions_invalid")


def test_a_custom_role_belongs_to_a_tenant() -> None:
    role = Role(
        role_id="custom:data_analyst",
        name="Data Analyst",
        description="Can execute data analysis agents and view results",
        permissions={Permission.AGENT_READ, Permission.MEMORY_READ},
        tenant_id="acme-corp",
        is_system_role=False,
        metadata={"department": "Analytics"},
    )

    assert role.permissions == frozenset({Permission.AGENT_READ, Permission.MEMORY_READ})


def test_a_policy_decision_has_a_reason() -> None:
    assert PolicyDecision(allowed=False, reason="outside office hours").reason == "outside office hours"
