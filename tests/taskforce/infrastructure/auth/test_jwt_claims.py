"""Roles and tenants where issuers put them, and what becomes of them."""

from typing import Any

import pytest

from taskforce.core.domain.errors import Invalid
from taskforce.infrastructure.auth.jwt_claims import is_role
from taskforce.infrastructure.auth.jwt_provider import JWTConfig, JWTIdentityProvider
from tests.taskforce.infrastructure.auth.forged_tokens import AUDIENCE, ISSUER, NOW, SECRET, claims, forge


def provider(**config: Any) -> JWTIdentityProvider:
    settled = {"secret_key": SECRET, "issuer": ISSUER, "audience": AUDIENCE, **config}
    return JWTIdentityProvider(JWTConfig(**settled), development=False, clock=lambda: NOW)


async def roles(config: dict[str, Any], **changes: object) -> frozenset[str]:
    return (await provider(**config).authenticate(forge(payload=claims(**changes)))).roles


KEYCLOAK = {
    "realm_access": {"roles": ["viewer", "offline_access"]},
    "resource_access": {
        "taskforce": {"roles": ["operator"]},
        "my.app": {"roles": ["auditor"]},
        "account": {"roles": ["manage-account"]},
    },
}


@pytest.mark.parametrize(
    ("path", "extra", "found"),
    [
        ("realm_access.roles", KEYCLOAK, {"viewer", "offline_access"}),
        ("resource_access.taskforce.roles", KEYCLOAK, {"operator"}),
        ("resource_access.my.app.roles", KEYCLOAK, {"auditor"}),
        ("resource_access.absent.roles", KEYCLOAK, set()),
        ("https://acme.com/roles", {"https://acme.com/roles": ["viewer"]}, {"viewer"}),
        ("https://acme.com/app.roles", {"https://acme.com/app": {"roles": "viewer"}}, {"viewer"}),
        ("a.b", {"a.b": ["viewer"], "a": {"b": ["admin"]}}, {"viewer"}),
        ("a.b.c", {"a.b": {"c": ["viewer"]}, "a": {"b.c": ["admin"]}}, {"viewer"}),
        ("a.b.c", {"a.b": "text", "a": {"b": {"c": ["viewer"]}}}, {"viewer"}),
        ("groups", {"groups": [{"id": "1", "name": "viewer"}, {"name": "operator"}]}, {"viewer", "operator"}),
        ("groups", {"groups": ["viewer", {"name": "custom:data_analyst"}]}, {"viewer", "custom:data_analyst"}),
        ("scope", {"scope": "viewer custom:data_analyst"}, {"viewer", "custom:data_analyst"}),
        ("roles", {"roles": "viewer,operator"}, {"viewer", "operator"}),
        (".", {}, set()),
        ("roles.", {}, set()),
    ],
)
async def test_roles_are_found_where_the_issuer_puts_them(path: str, extra: dict[str, Any], found: set[str]) -> None:
    assert await roles({"roles_claim": path}, **{"roles": ..., **extra}) == found


async def test_a_tenant_is_found_by_name_or_path() -> None:
    by_path = provider(tenant_claim="organization.id")
    assert (await by_path.authenticate(forge(payload=claims(organization={"id": "acme"})))).tenant_id == "acme"

    by_name = provider(tenant_claim="https://acme.com/tenant")
    named = claims(**{"https://acme.com/tenant": "globex"})
    assert (await by_name.authenticate(forge(payload=named))).tenant_id == "globex"


MAPPING = {"Agent Operators": ["operator"], "/staff/audit": ["auditor", "custom:reviewer"], "Everyone": []}


@pytest.mark.parametrize(
    ("groups", "found"),
    [
        (["Agent Operators"], {"operator"}),
        (["/staff/audit", "Agent Operators"], {"operator", "auditor", "custom:reviewer"}),
        ([{"name": "Agent Operators"}], {"operator"}),
        (["Everyone"], set()),
        (["admin", "operator", "custom:reviewer", "agent operators"], set()),
        ([], set()),
        (..., set()),
    ],
)
async def test_with_a_mapping_only_its_groups_give_roles(groups: object, found: set[str]) -> None:
    assert await roles({"roles_claim": "groups", "group_roles": MAPPING}, groups=groups) == found


async def test_an_empty_mapping_gives_nothing_to_anybody() -> None:
    assert await roles({"group_roles": {}}, roles=["admin"]) == frozenset()


@pytest.mark.parametrize(
    ("claimed", "found"),
    [
        ([], {"viewer"}),
        (..., {"viewer"}),
        (["Everyone", "offline_access"], {"viewer", "Everyone", "offline_access"}),
        (["operator"], {"operator"}),
        (["Everyone", "operator"], {"Everyone", "operator"}),
        (["custom:data_analyst"], {"custom:data_analyst"}),
        (["custom:"], {"viewer", "custom:"}),
        (["Admin"], {"viewer", "Admin"}),
    ],
)
async def test_whoever_has_no_known_role_has_the_default(claimed: object, found: set[str]) -> None:
    assert await roles({"default_role": "viewer"}, roles=claimed) == found


async def test_the_default_counts_after_the_mapping() -> None:
    config = {"roles_claim": "groups", "group_roles": MAPPING, "default_role": "viewer"}

    assert await roles(config, groups=["admin"]) == {"viewer"}
    assert await roles(config, groups=["Agent Operators"]) == {"operator"}


async def test_odd_groups_give_nothing_with_a_mapping_too() -> None:
    for odd in ([1], [{"name": 1}], [{"id": "admin"}], {"name": "admin"}, 5):
        assert await roles({"group_roles": MAPPING, "default_role": "viewer"}, roles=odd) == {"viewer"}


@pytest.mark.parametrize(
    "config",
    [
        {"default_role": "adminn"},
        {"default_role": ""},
        {"default_role": "custom:"},
        {"group_roles": {"Staff": ["Viewer"]}},
        {"group_roles": {"Staff": "viewer"}},
        {"group_roles": {"Staff": ["custom:a b"]}},
    ],
)
def test_a_mapping_to_what_could_be_no_role_is_refused_at_the_start(config: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as refusal:
        provider(**config)
    assert refusal.value.code == "role_mapping_invalid"


@pytest.mark.parametrize("name", ["admin", "agent_designer", "operator", "auditor", "viewer", "custom:data_analyst"])
def test_these_are_roles(name: str) -> None:
    assert is_role(name)


@pytest.mark.parametrize("name", ["", "Admin", "root", "custom:", "custom:a b", "custom:a,b", None, 5])
def test_these_are_none(name: object) -> None:
    assert not is_role(name)
