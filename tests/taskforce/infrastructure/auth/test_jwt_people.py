"""Sign-ins as directories make them: names, groups, too many groups, tokens of AWS Cognito, the platform's tenant."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from taskforce.core.domain.errors import Invalid, Unauthenticated
from taskforce.core.interfaces.identity import Identity
from taskforce.infrastructure.auth.issuers import Issuers
from taskforce.infrastructure.auth.jwt_provider import JWTConfig, JWTIdentityProvider
from taskforce.infrastructure.config.auth import authentication_in, issuers_of
from tests.taskforce.infrastructure.auth.forged_tokens import AUDIENCE, ISSUER, NOW, SECRET, claims, forge


def provider(**config: Any) -> JWTIdentityProvider:
    settled = {"secret_key": SECRET, "issuer": ISSUER, "audience": AUDIENCE, **config}
    return JWTIdentityProvider(JWTConfig(**settled), development=False, clock=lambda: NOW)


async def identity(config: dict[str, Any], **changes: object) -> Identity:
    return await provider(**config).authenticate(forge(payload=claims(**changes)))


async def refused(config: dict[str, Any], **changes: object) -> str:
    with pytest.raises(Unauthenticated) as refusal:
        await identity(config, **changes)
    return refusal.value.code


# Names


@pytest.mark.parametrize("claim", ["preferred_username", "name", "email", "upn", "https://acme.example/name", "a.b"])
@pytest.mark.parametrize(
    "value",
    [
        "山田\u3000太郎",
        "علی\u200cرضا",  # noqa: RUF001
        "Maria\u00adLuise",
        "Bob ",
        "",
        "Sam \U0001fae9",
        "x" * 4_000,
        7,
        None,
        [],
        {},
        [None],
    ],
)
async def test_no_name_keeps_anybody_out(claim: str, value: object) -> None:
    bearer = await identity({"username_claim": claim, "email_claim": claim}, **{claim: value})

    assert (bearer.user_id, bearer.tenant_id, *bearer.roles) == ("alice", "acme-corp", "operator")
    assert bearer.username.strip()
    assert bearer.email is None


async def test_a_name_is_cleaned_and_an_unusable_one_gives_way_to_the_id() -> None:
    named = await identity({"user_prefix": "okta|"}, preferred_username="山田\u3000太郎", email=" a@acme.com ")
    unnamed = await identity({"user_prefix": "okta|"}, preferred_username="\u00ad", email="")

    assert (named.username, named.email) == ("山田 太郎", "a@acme.com")
    assert (unnamed.username, unnamed.email) == ("okta|alice", None)


@pytest.mark.parametrize("value", ["R&D\u00a0Team", "", " x ", "\u200d", "x" * 4_000, 7, True, 1.5])
async def test_attributes_for_policies_are_as_the_issuer_says_them(value: object) -> None:
    assert (await identity({}, department=value)).attributes["department"] == value


@pytest.mark.parametrize("value", [None, ["a"], {"a": 1}])
async def test_what_is_no_plain_fact_is_no_attribute(value: object) -> None:
    assert "department" not in (await identity({}, department=value)).attributes


@pytest.mark.parametrize("tenant", ["acme\u00a0corp", "acme-corp ", "acme\u200dcorp", "", 7, None, ["acme-corp"]])
@pytest.mark.parametrize("config", [{}, {"tenants": ["acme-corp"]}, {"tenant_map": {"x": "acme-corp"}}])
async def test_a_tenant_stays_strict(config: dict[str, Any], tenant: object) -> None:
    assert await refused(config, org_id=tenant) == "token_invalid"


# Groups

ODD = ["Équipe\u00a0Achats", "CN=" + "x" * 300, "", None, 7, True, [], ["Agent Admins"], {}, {"name": None}, " "]


@pytest.mark.parametrize("odd", ODD)
async def test_a_group_that_nothing_maps_may_look_as_it_likes(odd: object) -> None:
    config = {"roles_claim": "groups", "group_roles": {"Agent Admins": ["admin"]}}

    assert (await identity(config, groups=[odd, "Agent Admins", odd])).roles == {"admin"}
    assert (await identity(config, groups=[odd])).roles == frozenset()


@pytest.mark.parametrize("odd", ODD)
async def test_an_odd_role_gives_nothing_and_takes_none_along(odd: object) -> None:
    assert (await identity({}, roles=["viewer", odd])).roles == {"viewer"}


async def test_a_mapped_group_may_look_as_it_likes_too() -> None:
    config = {
        "roles_claim": "groups",
        "group_roles": {"Équipe\u00a0Achats": ["operator"], "CN=" + "x" * 300: ["viewer"]},
    }

    assert (await identity(config, groups=["Équipe\u00a0Achats", "CN=" + "x" * 300])).roles == {"operator", "viewer"}
    assert (await identity(config, groups=["Équipe Achats"])).roles == frozenset()


@pytest.mark.parametrize("value", [5, True, {"admin": {}}])
async def test_roles_that_are_no_list_give_nothing_and_the_log_says_so(value: object) -> None:
    with capture_logs() as logs:
        assert (await identity({}, roles=value, sub=f"unreadable-{value}")).roles == frozenset()
    assert [(line["event"], line["code"]) for line in logs] == [("auth.roles.unreadable", "roles_unreadable")]


OVERAGE = {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "https://graph.example/x"}}}


@pytest.mark.parametrize("marks", [OVERAGE, {"hasgroups": True}, {"hasgroups": "true"}])
async def test_more_groups_than_a_token_holds_are_said_once_for_each_token(marks: dict[str, object]) -> None:
    config = {"roles_claim": "groups", "group_roles": {"Agent Admins": ["admin"]}}
    with capture_logs() as logs:
        for _ in range(3):
            bearer = await identity(config, sub=f"many-groups-{sorted(marks)}{marks.get('hasgroups')}", **marks)
            assert bearer.roles == frozenset()

    assert [(line["event"], line["code"], line["claim"]) for line in logs] == [
        ("auth.groups.overage", "groups_overage", "groups")
    ]
    assert logs[0]["issuer"] == ISSUER


async def test_groups_elsewhere_do_not_matter_when_roles_come_from_another_claim() -> None:
    with capture_logs() as logs:
        assert (await identity({}, **OVERAGE)).roles == {"operator"}
    assert logs == []


# AWS Cognito

COGNITO = {"audience_claim": "client_id", "token_use": "access", "roles_claim": "cognito:groups"}


async def test_an_access_token_of_cognito_names_its_client_instead_of_an_audience() -> None:
    said = {"aud": ..., "client_id": AUDIENCE, "token_use": "access", "cognito:groups": ["viewer"], "roles": ...}

    assert (await identity(COGNITO, **said)).roles == {"viewer"}
    assert (await identity({"audience_claim": "client_id"}, **said)).user_id == "alice"
    assert (await identity(COGNITO, **{**said, "aud": [AUDIENCE, "another"]})).user_id == "alice"


@pytest.mark.parametrize(
    "said",
    [
        {"aud": AUDIENCE, "token_use": "access"},
        {"aud": AUDIENCE, "token_use": "id"},
        {"aud": ..., "client_id": "another", "token_use": "access"},
        {"aud": ..., "client_id": [AUDIENCE], "token_use": "access"},
        {"aud": ..., "client_id": AUDIENCE, "token_use": "id"},
        {"aud": ..., "client_id": AUDIENCE},
        {"aud": "another-service", "client_id": AUDIENCE, "token_use": "access"},
        {"aud": None, "client_id": AUDIENCE, "token_use": "access"},
    ],
)
async def test_other_tokens_are_refused_there(said: dict[str, object]) -> None:
    assert await refused(COGNITO, **said) == "token_invalid"


async def test_elsewhere_a_client_is_no_audience() -> None:
    assert await refused({}, aud=..., client_id=AUDIENCE) == "token_invalid"
    assert await refused({"token_use": "access"}) == "token_invalid"


def issuers(*, development: bool = False, platform_tenant: str = "platform", **keys: Any) -> Issuers:
    said = authentication_in({"authentication": {"jwt": {"issuer": ISSUER, "audience": AUDIENCE, **keys}}})
    return issuers_of(said, development=development, clock=lambda: NOW, platform_tenant=platform_tenant)


async def test_a_profile_says_so() -> None:
    cognito = issuers(secret_key=SECRET, audience_claim="client_id", token_use="access", username_claim="username")
    token = forge(payload=claims(aud=..., client_id=AUDIENCE, token_use="access", username="Alice"))

    assert (await cognito.authenticate(token)).username == "Alice"


@pytest.mark.parametrize("wrong", [{"audience_claim": "azp"}, {"audience_claim": None}, {"token_use": None}])
def test_a_profile_that_says_it_wrongly_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as refusal:
        issuers(secret_key=SECRET, **wrong)
    assert refusal.value.code == "profile_invalid"


@pytest.mark.parametrize("wrong", [{"audience_claim": "azp"}, {"token_use": ""}])
def test_a_configuration_that_says_it_wrongly_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as refusal:
        provider(**wrong)
    assert refusal.value.code == "token_rules_invalid"


# The platform's tenant


@pytest.mark.parametrize("platform_tenant", ["platform", "operations"])
async def test_only_an_issuer_that_is_bound_to_it_speaks_for_the_platform(platform_tenant: str) -> None:
    token = forge(payload=claims(org_id=platform_tenant))
    bound: list[dict[str, Any]] = [
        {"tenant": platform_tenant},
        {"tenants": ["acme", platform_tenant]},
        {"tenant_map": {platform_tenant: platform_tenant}},
        {"platform": True},
    ]
    for keys in bound:
        speaking = issuers(secret_key=SECRET, platform_tenant=platform_tenant, **keys)
        assert (await speaking.authenticate(token)).tenant_id == platform_tenant

    unbound: list[dict[str, Any]] = [{}, {"platform": False}, {"tenants": ["acme"], "platform": True}]
    for keys in unbound:
        with pytest.raises(Unauthenticated) as refusal:
            await issuers(secret_key=SECRET, platform_tenant=platform_tenant, **keys).authenticate(token)
        assert refusal.value.code == "token_invalid"


async def test_an_issuer_that_is_bound_to_nothing_speaks_for_every_other_tenant() -> None:
    assert (await identity({}, org_id="operations")).tenant_id == "operations"
    assert await refused({}, org_id="platform") == "token_invalid"


async def test_in_development_every_issuer_speaks_for_the_platform() -> None:
    token = forge(payload=claims(org_id="platform"))
    assert (await issuers(development=True, secret_key=SECRET).authenticate(token)).tenant_id == "platform"
