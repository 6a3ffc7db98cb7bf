"""From a token to an identity, as the guide's 3.2 shows it, and tokens for development."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskforce.core.domain.errors import Forbidden, Invalid, Unauthenticated
from taskforce.core.interfaces.identity import SYSTEM_ROLES, Permission
from taskforce.infrastructure.auth.jwt_guard import KeyRecord
from taskforce.infrastructure.auth.jwt_provider import (
    DEVELOPMENT_AUDIENCE,
    DEVELOPMENT_ISSUER,
    JWTConfig,
    JWTIdentityProvider,
    create_test_jwt,
    in_development,
    mint_development_token,
)
from tests.taskforce.infrastructure.auth.forged_tokens import (
    AUDIENCE,
    EC_KEY,
    ISSUER,
    NOW,
    RSA_KEY,
    SECRET,
    claims,
    es256,
    forge,
    pem,
    rs256,
    rsa_jwk,
)


@pytest.fixture(autouse=True)
def _development(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TASKFORCE_PROFILE", raising=False)


def provider(**config: Any) -> JWTIdentityProvider:
    settled: dict[str, Any] = {"secret_key": SECRET, "issuer": ISSUER, "audience": AUDIENCE, **config}
    return JWTIdentityProvider(JWTConfig(**settled), clock=lambda: NOW)


async def refused(token: str | None, **config: Any) -> str:
    with pytest.raises(Unauthenticated) as refusal:
        await provider(**config).authenticate(token)
    return refusal.value.code


# As the guide shows it


async def test_the_token_of_the_guide_is_valid_for_the_configuration_of_the_guide() -> None:
    guide = JWTIdentityProvider(
        JWTConfig(
            secret_key="your-secret-key",
            algorithms=["HS256"],
            issuer="https://auth.yourcompany.com",
            audience="taskforce-api",
            leeway_seconds=30,
            tenant_claim="org_id",
            roles_claim="roles",
            username_claim="preferred_username",
            email_claim="email",
        )
    )
    token = create_test_jwt(
        user_id="user-123",
        tenant_id="acme-corp",
        roles=["admin", "agent_designer"],
        secret_key="your-secret-key",
        expires_in_seconds=3600,
        email="alice@acme.com",
        department="Engineering",
    )
    user = await guide.validate_token(token)

    assert user is not None
    assert (user.user_id, user.tenant_id, user.email) == ("user-123", "acme-corp", "alice@acme.com")
    assert user.roles == {"admin", "agent_designer"}
    assert user.is_admin()
    assert user.permissions == set(Permission)
    assert user.attributes == {"department": "Engineering"}


async def test_a_token_that_is_not_believed_validates_to_nobody() -> None:
    assert await provider().validate_token("not.a.token") is None
    assert await provider().validate_token("") is None


async def test_a_role_that_is_not_known_gives_no_permission() -> None:
    user = await provider().validate_token(forge(payload=claims(roles=["viewer", "custom:root"])))

    assert user is not None
    assert user.roles == {"viewer", "custom:root"}
    assert user.permissions == SYSTEM_ROLES["viewer"].permissions


# What is read from the claims


async def test_an_identity_carries_what_the_gateway_needs() -> None:
    payload = claims(
        preferred_username="alice.j", email="alice@acme.example", team="AI", level=3, groups=["a"], jti="1"
    )
    identity = await provider().authenticate(forge(payload=payload))

    assert (identity.user_id, identity.tenant_id) == ("alice", "acme-corp")
    assert (identity.username, identity.email) == ("alice.j", "alice@acme.example")
    assert identity.roles == {"operator"}
    assert identity.issuer == ISSUER
    assert identity.issued_at == NOW
    assert identity.expires_at == NOW + timedelta(hours=1)
    assert identity.attributes == {"team": "AI", "level": 3}


async def test_without_a_name_the_subject_is_shown_and_mail_is_unknown() -> None:
    identity = await provider().authenticate(forge())

    assert (identity.username, identity.email) == ("alice", None)


@pytest.mark.parametrize(
    ("path", "extra"),
    [
        ("realm_access.roles", {"realm_access": {"roles": ["viewer", "operator"]}}),
        ("a.b.c", {"a": {"b": {"c": "viewer operator"}}}),
        ("scope", {"scope": "viewer,operator"}),
        ("scope", {"scope": " viewer,  operator ,"}),
        ("https://acme.example/roles", {"https://acme.example/roles": ["operator", "viewer", "viewer"]}),
    ],
)
async def test_roles_are_found_where_the_issuer_puts_them(path: str, extra: dict[str, Any]) -> None:
    identity = await provider(roles_claim=path).authenticate(forge(payload=claims(roles=..., **extra)))

    assert identity.roles == {"viewer", "operator"}


@pytest.mark.parametrize("roles", [..., None, [], "", " , "])
async def test_no_roles_are_no_roles(roles: object) -> None:
    assert (await provider().authenticate(forge(payload=claims(roles=roles)))).roles == frozenset()


@pytest.mark.parametrize(
    "roles",
    [
        1,
        True,
        1.5,
        {"admin": True},
        [1],
        [["admin"]],
        [None],
        [""],
        ["admin\n"],
        ["x" * 256],
        [{"id": "admin"}],
        [{"name": 1}],
        [{"name": ["admin"]}],
    ],
)
async def test_roles_of_an_odd_type_give_nothing(roles: object) -> None:
    assert (await provider().authenticate(forge(payload=claims(roles=roles)))).roles == frozenset()


@pytest.mark.parametrize(
    "tenant",
    [
        ...,
        None,
        "",
        "a b",
        "acme\n",
        "acme:other",
        "../acme",
        ".",
        "..",
        "acme/1",
        "x" * 65,
        "ácme",
        "' OR 1=1",
        1,
        True,
        ["acme"],
        {},
    ],
)
async def test_a_tenant_that_could_not_exist_is_refused(tenant: object) -> None:
    assert await refused(forge(payload=claims(org_id=tenant))) == "token_invalid"


@pytest.mark.parametrize(
    "value",
    ["", " alice", "alice\n", "a\u202ebob", "a\u0007", "a\u200db", "..", "x" * 400, 1, ["alice"], {}, False],
)
async def test_subjects_that_would_show_as_something_else_are_refused(value: object) -> None:
    assert await refused(forge(payload=claims(sub=value))) == "token_invalid"


async def test_a_path_through_something_that_is_no_object_finds_nothing() -> None:
    assert await refused(forge(payload=claims(org="acme")), tenant_claim="org.id") == "token_invalid"


async def test_refusals_tell_missing_expired_and_invalid_apart() -> None:
    assert await refused(None) == "token_missing"
    assert await refused(forge(payload=claims(exp=1))) == "token_expired"
    assert await refused("a.b.c") == "token_invalid"


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["org_id", "roles", "preferred_username", "email", "other"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
            max_leaves=6,
        ),
    )
)
async def test_no_claims_break_the_mapping(odd: dict[str, object]) -> None:
    await provider().validate_token(forge(payload={**claims(), **odd}))


# Keys


async def test_public_keys_and_key_records_are_taken() -> None:
    rsa_token, ec_token = forge({"alg": "RS256"}, sign=rs256), forge({"alg": "ES256"}, sign=es256)
    named = KeyRecord("k1", "RS256", rsa_jwk())

    assert await provider(secret_key=None, public_key=pem(RSA_KEY), algorithms=["RS256"]).validate_token(rsa_token)
    assert await provider(secret_key=None, public_key=pem(RSA_KEY)).validate_token(rsa_token)
    assert await provider(secret_key=None, public_key=pem(EC_KEY)).validate_token(ec_token)
    assert await provider(secret_key=None, keys=(named,)).validate_token(
        forge({"alg": "RS256", "kid": "k1"}, sign=rs256)
    )
    assert await provider(public_key=pem(RSA_KEY), algorithms=["HS256", "RS256"]).validate_token(forge())


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"secret_key": None}, "signing_key_missing"),
        ({"secret_key": ""}, "signing_key_invalid"),
        ({"secret_key": pem(RSA_KEY)}, "signing_key_invalid"),
        ({"public_key": SECRET}, "signing_key_invalid"),
        ({"algorithms": ["RS256"]}, "algorithms_invalid"),
        ({"algorithms": ["HS256", "HS512"]}, "algorithms_invalid"),
        ({"algorithms": ["HS256", "none"]}, "algorithms_invalid"),
        ({"algorithms": "HS256"}, "algorithms_invalid"),
        ({"public_key": pem(RSA_KEY), "algorithms": ["HS256"]}, "algorithms_invalid"),
        ({"algorithms": ["HS256"], "keys": (KeyRecord("k", "RS256", rsa_jwk()),)}, "algorithms_invalid"),
        ({"leeway_seconds": 3600}, "token_rules_invalid"),
    ],
)
def test_a_configuration_that_is_not_safe_is_refused_at_the_start(config: dict[str, Any], code: str) -> None:
    with pytest.raises(Invalid) as refusal:
        provider(**config)

    assert refusal.value.code == code


def test_secrets_are_not_shown() -> None:
    assert SECRET not in repr(JWTConfig(secret_key=SECRET, keys=(KeyRecord(None, "HS256", SECRET),)))


# Development only


@pytest.mark.parametrize("profile", ["dev", "development", "test", ""])
def test_development_is_a_short_list(profile: str) -> None:
    assert in_development({"TASKFORCE_PROFILE": profile})
    assert in_development({})


@pytest.mark.parametrize("profile", ["enterprise", "production", "Dev", "dev ", "devel", "staging"])
def test_tokens_are_made_in_development_only(profile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKFORCE_PROFILE", profile)

    assert not in_development()
    with pytest.raises(Forbidden) as testing:
        create_test_jwt("u", "acme", ["admin"], SECRET)
    with pytest.raises(Forbidden) as minting:
        mint_development_token(SECRET, "acme", "u", ["admin"])
    assert {testing.value.code, minting.value.code} == {"development_only"}


@pytest.mark.parametrize("changes", [{"secret_key": "your-secret-key"}, {"issuer": None}, {"audience": None}])
def test_what_development_tolerates_is_refused_elsewhere(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    provider(**changes)
    monkeypatch.setenv("TASKFORCE_PROFILE", "enterprise")

    with pytest.raises(Invalid):
        provider(**changes)
    with pytest.raises(Invalid):
        JWTIdentityProvider(JWTConfig(**{"secret_key": SECRET, "issuer": ISSUER, **changes}), development=False)


async def test_a_minted_token_says_everything() -> None:
    now = datetime.now(UTC)
    accepting = JWTIdentityProvider(JWTConfig(secret_key=SECRET), clock=lambda: now)
    token = mint_development_token(
        secret=SECRET,
        tenant="acme-corp",
        user="alice",
        roles={"operator", "viewer"},
        ttl_seconds=600,
        issuer=DEVELOPMENT_ISSUER,
        audience=DEVELOPMENT_AUDIENCE,
    )
    identity = await accepting.authenticate(token)

    assert (identity.user_id, identity.tenant_id, identity.username) == ("alice", "acme-corp", "alice")
    assert identity.email == "alice@acme-corp.example"
    assert identity.roles == {"operator", "viewer"}
    assert identity.expires_at - identity.issued_at == timedelta(seconds=600)
    assert identity.attributes == {}


async def test_a_minted_token_can_be_for_elsewhere_or_have_expired() -> None:
    accepting = JWTIdentityProvider(JWTConfig(secret_key=SECRET))

    assert await accepting.validate_token(mint_development_token(SECRET, "acme", "u", [])) is not None
    assert await accepting.validate_token(mint_development_token(SECRET, "acme", "u", [], ttl_seconds=-60)) is None
    assert await accepting.validate_token(mint_development_token(SECRET, "acme", "u", [], issuer="other")) is None
    assert await accepting.validate_token(mint_development_token(SECRET, "acme", "u", [], audience="other")) is None


async def test_two_tokens_are_never_the_same() -> None:
    assert mint_development_token(SECRET, "acme", "u", []) != mint_development_token(SECRET, "acme", "u", [])


def test_claims_that_are_not_json_are_refused() -> None:
    with pytest.raises(Invalid) as refusal:
        create_test_jwt("u", "acme", [], SECRET, odd=object())

    assert refusal.value.code == "claims_invalid"
