"""Roles of a tenant's own, roles of a profile, and roles on one resource."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskforce.core.domain.errors import Conflict, DomainError, Forbidden, Invalid
from taskforce.core.domain.identity.resource_roles import ResourceGrant, permissions_on
from taskforce.core.domain.identity.roles import (
    change_role,
    check_no_wider,
    check_own,
    make_role,
    permissions_named,
    profile_roles,
    role_id_of,
)
from taskforce.core.interfaces.identity import SYSTEM_ROLES, Permission, ResourceType, Role

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)

EVERYTHING = frozenset(Permission)
ANALYST = frozenset({Permission.AGENT_READ, Permission.AGENT_EXECUTE, Permission.MEMORY_READ})

permission_sets = st.frozensets(st.sampled_from(Permission))


def made(name: str = "Data Analyst", permissions: Iterable[Permission] = ANALYST, tenant: str | None = "acme") -> Role:
    return make_role(name, "Reads results", permissions, tenant, EVERYTHING)


# Names


@pytest.mark.parametrize(
    ("name", "role_id"),
    [
        ("Data Analyst", "custom:data_analyst"),
        ("data_analyst", "custom:data_analyst"),
        ("data-analyst", "custom:data-analyst"),
        ("R & D (EMEA)", "custom:r_d_emea"),
        ("Büro", "custom:buro"),
        ("Straße 7", "custom:strasse_7"),
        ("\uff21\uff22", "custom:ab"),
        ("custom:data_analyst", "custom:data_analyst"),
        ("x" * 60, "custom:" + "x" * 60),
    ],
)
def test_users_hold_a_name_that_follows_from_the_one_that_people_read(name: str, role_id: str) -> None:
    assert role_id_of(name) == role_id
    assert role_id_of(role_id) == role_id


@pytest.mark.parametrize(
    "name", ["", " ", "!!!", "x" * 61, "x" * 101, "a\nb", "a\x00", " a", "Роль", "Роль a", "\ud800"]
)
def test_a_name_that_spells_nothing_plain_is_refused(name: str) -> None:
    with pytest.raises(Invalid) as refusal:
        role_id_of(name)
    assert refusal.value.code == "role_name_invalid"


@pytest.mark.parametrize(
    "name", [*SYSTEM_ROLES, "Admin", "AGENT DESIGNER", "agent-designer", "custom:admin", "\uff21dmin", "ádmin"]
)
def test_no_role_reads_like_a_system_role(name: str) -> None:
    with pytest.raises(Conflict) as refusal:
        role_id_of(name)
    assert refusal.value.code == "role_is_system"


@given(st.text(max_size=120))
def test_a_name_gives_a_custom_id_or_a_refusal(name: str) -> None:
    code, role_id = "", ""
    try:
        role_id = role_id_of(name)
    except DomainError as refusal:
        code = refusal.code
    if not role_id:
        assert code in {"role_name_invalid", "role_is_system"}
        return
    assert role_id.startswith("custom:")
    assert role_id.isascii()
    assert role_id_of(role_id) == role_id


# Making and changing


def test_a_role_is_made_of_what_its_maker_holds() -> None:
    role = make_role("Data Analyst", "Reads results", ANALYST, "acme", ANALYST, metadata={"department": "Analytics"})

    assert (role.role_id, role.name, role.tenant_id) == ("custom:data_analyst", "Data Analyst", "acme")
    assert role.permissions == ANALYST
    assert not role.is_system_role
    assert role.metadata == {"department": "Analytics"}


@given(wanted=permission_sets, held=permission_sets)
def test_nobody_makes_a_role_that_allows_more_than_they_may_do(
    wanted: frozenset[Permission], held: frozenset[Permission]
) -> None:
    if wanted <= held:
        assert make_role("Mine", "", wanted, "acme", held).permissions == wanted
        return
    with pytest.raises(Forbidden) as refusal:
        make_role("Mine", "", wanted, "acme", held)
    assert refusal.value.code == "permissions_too_wide"
    assert refusal.value.details == {"permissions": sorted(one.value for one in wanted - held)}


def test_a_name_is_given_once() -> None:
    role = made()
    with pytest.raises(Conflict) as refusal:
        make_role("DATA  analyst", "", (), "acme", EVERYTHING, known_roles={**SYSTEM_ROLES, role.role_id: role})
    assert refusal.value.code == "role_exists"


@pytest.mark.parametrize("description", ["x" * 2_001, "a\x00b", "\udfff"])
def test_a_description_that_cannot_be_kept_is_refused(description: str) -> None:
    with pytest.raises(Invalid) as refusal:
        make_role("Mine", description, (), "acme", EVERYTHING)
    assert refusal.value.code == "role_description_invalid"


def test_metadata_must_be_a_document_that_can_be_kept() -> None:
    with pytest.raises(Invalid) as refusal:
        make_role("Mine", "", (), "acme", EVERYTHING, metadata={"ratio": float("nan")})
    assert refusal.value.code == "metadata_malformed"


def test_what_is_left_out_of_a_change_stays_and_the_id_stays_always() -> None:
    changed = change_role(made(), EVERYTHING, name="Analyst of Data")

    assert changed == replace(made(), name="Analyst of Data")


@given(before=permission_sets, after=permission_sets, held=permission_sets)
def test_only_permissions_that_come_in_must_be_held(
    before: frozenset[Permission], after: frozenset[Permission], held: frozenset[Permission]
) -> None:
    role = made(permissions=before)
    if after - before <= held:
        assert change_role(role, held, permissions=after).permissions == after
        return
    with pytest.raises(Forbidden) as refusal:
        change_role(role, held, permissions=after)
    assert refusal.value.code == "permissions_too_wide"


@pytest.mark.parametrize("role", SYSTEM_ROLES.values(), ids=SYSTEM_ROLES)
def test_a_system_role_is_never_changed(role: Role) -> None:
    for disguise in (role, replace(role, is_system_role=False, tenant_id="acme")):
        with pytest.raises(Conflict) as refusal:
            change_role(disguise, EVERYTHING, description="Mine now")
        assert refusal.value.code == "role_is_system"


def test_a_role_is_not_renamed_to_read_like_a_system_role() -> None:
    with pytest.raises(Conflict) as refusal:
        change_role(made(), EVERYTHING, name="Admin")
    assert refusal.value.code == "role_is_system"


def test_a_role_of_the_profile_is_changed_in_the_profile() -> None:
    with pytest.raises(Conflict) as refusal:
        check_own(made(tenant=None))
    assert refusal.value.code == "role_is_profile"


# Handing roles on


def test_roles_are_handed_on_by_those_who_may_do_as_much() -> None:
    check_no_wider(["viewer"], SYSTEM_ROLES["operator"].permissions)
    with pytest.raises(Forbidden) as refusal:
        check_no_wider(["viewer", "auditor"], SYSTEM_ROLES["operator"].permissions)

    assert refusal.value.code == "roles_too_wide"
    assert refusal.value.details == {"permissions": ["audit:read"]}
    assert "audit:read" in refusal.value.message


def test_a_role_that_does_not_exist_is_not_handed_on_in_advance() -> None:
    with pytest.raises(Invalid) as refusal:
        check_no_wider(["viewer", "custom:later"], EVERYTHING)
    assert (refusal.value.code, refusal.value.details) == ("roles_unknown", {"unknown": ["custom:later"]})


# Permissions by name, and profiles


def test_permissions_are_read_by_name_and_every_unknown_one_is_named() -> None:
    assert permissions_named(["agent:read", "audit:read"]) == {Permission.AGENT_READ, Permission.AUDIT_READ}
    with pytest.raises(Invalid) as refusal:
        permissions_named(["agent:read", "agent:*", {"a": 1}, "AGENT:READ"])
    assert refusal.value.details == {"unknown": ["agent:*", "{'a': 1}", "AGENT:READ"]}


def test_a_profile_gives_roles_to_every_tenant() -> None:
    roles = profile_roles(
        [
            {
                "name": "data_analyst",
                "permissions": ["agent:read", "agent:execute", "session:create", "memory:read"],
            },
            {"name": "Head of Data", "permissions": [], "description": "Approves exports"},
        ]
    )

    assert list(roles) == ["custom:data_analyst", "custom:head_of_data"]
    assert roles["custom:data_analyst"].permissions == ANALYST | {Permission.SESSION_CREATE}
    assert roles["custom:head_of_data"].description == "Approves exports"
    assert {role.tenant_id for role in roles.values()} == {None}
    assert not any(role.is_system_role for role in roles.values())


def test_everything_that_is_wrong_in_a_profile_is_said_at_once() -> None:
    definitions = [
        {"name": "admin", "permissions": ["agent:fly"], "description": 7, "colour": "red"},
        "viewer",
        {"name": "fine", "permissions": ["agent:read"]},
        {"name": "Fine", "permissions": "agent:read"},
        {},
    ]
    with pytest.raises(Invalid) as refusal:
        profile_roles(definitions)

    assert refusal.value.code == "roles_invalid"
    problems = refusal.value.details["problems"]
    assert isinstance(problems, list)
    places = [problem.partition(":")[0] for problem in problems]
    assert [places.count(f"custom_roles[{place}]") for place in range(5)] == [4, 1, 0, 2, 2]
    assert all(problem in refusal.value.message for problem in problems)


@pytest.mark.parametrize("definitions", [None, "data_analyst", {"name": "x", "permissions": []}, 7])
def test_a_profile_lists_its_roles(definitions: object) -> None:
    with pytest.raises(Invalid) as refusal:
        profile_roles(definitions)
    assert refusal.value.code == "roles_invalid"


# Roles on one resource


def grant(role_id: str, resource_id: str = "a1", kind: ResourceType = ResourceType.AGENT) -> ResourceGrant:
    return ResourceGrant("alice", role_id, kind, resource_id)


def test_a_role_on_one_agent_counts_for_that_agent_and_for_agents_only() -> None:
    grants = [grant("operator")]

    assert permissions_on(ResourceType.AGENT, "a1", (), grants, now=NOW) == {
        Permission.AGENT_READ,
        Permission.AGENT_EXECUTE,
    }
    assert permissions_on(ResourceType.AGENT, "a2", (), grants, now=NOW) == frozenset()
    assert permissions_on(ResourceType.SESSION, "a1", (), grants, now=NOW) == frozenset()


def test_a_grant_adds_to_what_the_user_may_do_anyway() -> None:
    held = {Permission.AUDIT_READ}

    assert permissions_on(ResourceType.AGENT, "a1", held, [grant("agent_designer")], now=NOW) == held | {
        Permission.AGENT_CREATE,
        Permission.AGENT_READ,
        Permission.AGENT_UPDATE,
        Permission.AGENT_DELETE,
    }
    assert permissions_on(ResourceType.AGENT, "a1", held, [grant("custom:gone")], now=NOW) == held


def test_the_grants_of_two_users_are_never_added_up() -> None:
    with pytest.raises(Invalid) as refusal:
        permissions_on(ResourceType.AGENT, "a1", (), [grant("viewer"), replace(grant("admin"), user_id="bob")], now=NOW)
    assert refusal.value.code == "grants_mixed"


@given(
    kind=st.sampled_from(ResourceType),
    held=permission_sets,
    grants=st.lists(
        st.builds(grant, st.sampled_from(list(SYSTEM_ROLES)), st.sampled_from("ab"), st.sampled_from(ResourceType))
    ),
)
def test_a_grant_never_reaches_beyond_its_kind(
    kind: ResourceType, held: frozenset[Permission], grants: list[ResourceGrant]
) -> None:
    gained = permissions_on(kind, "a", held, grants, now=NOW) - held
    assert {one.value.partition(":")[0] for one in gained} <= {kind.value}
    assert not gained or any((one.resource_type, one.resource_id) == (kind, "a") for one in grants)


def test_a_role_on_one_resource_gives_nothing_from_its_end_on() -> None:
    lent = [replace(grant("agent_designer"), expires_at=NOW)]
    before, after = NOW - timedelta(microseconds=1), NOW + timedelta(days=1)
    assert Permission.AGENT_UPDATE in permissions_on(ResourceType.AGENT, "a1", (), lent, now=before)
    assert permissions_on(ResourceType.AGENT, "a1", (), lent, now=NOW) == frozenset()
    assert permissions_on(ResourceType.AGENT, "a1", (), lent, now=after) == frozenset()
