"""Which addresses keys are fetched from, which of them count, and what a public key cannot be used for."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from taskforce.core.domain.errors import Invalid, Unauthenticated
from taskforce.infrastructure.auth.jwk_sets import keys_in
from taskforce.infrastructure.auth.jwks import Jwks, JwksTiming, checked_uri
from taskforce.infrastructure.auth.jwt_provider import JWTIdentityProvider
from tests.taskforce.infrastructure.auth.forged_tokens import (
    EC_KEY,
    ISSUER,
    NOW,
    RSA_KEY,
    SECRET,
    b64,
    claims,
    ec_jwk,
    es256,
    forge,
    hs256,
    label,
    pem,
    rsa_jwk,
)
from tests.taskforce.infrastructure.auth.jwks_server import (
    OTHER_KEY,
    MovingClock,
    provider_for,
    publish,
    published,
    signed,
)
from tests.taskforce.infrastructure.net.http_server import Web

SHORT_RSA = rsa.generate_private_key(public_exponent=65537, key_size=1024)


async def refused(provider: JWTIdentityProvider, token: str) -> str:
    with pytest.raises(Unauthenticated) as refusal:
        await provider.authenticate(token)
    return refusal.value.code


async def believed(provider: JWTIdentityProvider, token: str) -> bool:
    return (await provider.authenticate(token)).user_id == "alice"


# Which addresses


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1:8080/keys", "http://localhost/keys", "http://[::1]:1/k", "https://id.example/keys?v=2"]
)
def test_https_is_taken_and_in_development_http_on_this_machine(uri: str) -> None:
    assert checked_uri(uri, development=True) == uri


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "keys",
        "//id.example/keys",
        "http://id.example/keys",
        "http://127.0.0.1.id.example/keys",
        "http://10.0.0.1/keys",
        "file:///etc/keys",
        "ftp://id.example/keys",
        "https://user:password@id.example/keys",
        "https://id.example/keys#fragment",
        "https:///keys",
        "https://id.example/{tenant-id}/keys",
        "https://id.example/a keys",
        "https://id.example/keys\n",
        "https://id.example:port/keys",
    ],
)
def test_no_other_address_is(uri: str) -> None:
    with pytest.raises(Invalid) as refusal:
        checked_uri(uri, development=True)
    assert refusal.value.code == "jwks_uri_invalid"


@pytest.mark.parametrize("uri", ["http://127.0.0.1/keys", "http://localhost/keys"])
def test_elsewhere_http_is_refused_on_this_machine_too(uri: str) -> None:
    with pytest.raises(Invalid):
        Jwks(uri, development=False)


@pytest.mark.parametrize(
    "config",
    [
        {"secret_key": SECRET, "algorithms": []},
        {"public_key": pem(RSA_KEY)},
        {"algorithms": ["HS256"]},
        {"algorithms": ["RS256", "HS256"]},
        {"algorithms": ["none"]},
        {"algorithms": "RS256"},
    ],
    ids=label,
)
def test_published_keys_are_the_only_keys_and_never_shared_secrets(config: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        provider_for("https://id.example/keys", MovingClock(), **config)


@pytest.mark.parametrize(
    "timing", [{"max_age": 59}, {"max_age": 86_401}, {"max_stale": -1}, {"max_stale": 1e9}, {"cooldown": 0}]
)
def test_times_are_within_reason(timing: dict[str, float]) -> None:
    with pytest.raises(Invalid) as refusal:
        JwksTiming(**timing)
    assert refusal.value.code == "jwks_timing_invalid"


# Which keys


def read(*keys: object, algorithms: tuple[str, ...] = ()) -> list[tuple[str | None, str]]:
    records = keys_in(json.dumps({"keys": keys}).encode(), algorithms).records
    return [(record.kid, record.algorithm) for record in records]


@pytest.mark.parametrize(
    ("jwk", "algorithms", "algorithm"),
    [
        (rsa_jwk(), (), "RS256"),
        (rsa_jwk(), ("RS384",), "RS384"),
        (rsa_jwk(), ("ES256", "RS512", "RS256"), "RS512"),
        ({**rsa_jwk(), "alg": "RS512"}, (), "RS512"),
        ({**rsa_jwk(), "alg": "RS512"}, ("RS256", "RS512"), "RS512"),
        ({**rsa_jwk(), "x5c": ["MII"], "x5t": "abc", "issuer": ISSUER}, (), "RS256"),
        (ec_jwk(), (), "ES256"),
        (ec_jwk(), ("RS256", "ES256"), "ES256"),
        ({**ec_jwk(), "alg": "ES256", "key_ops": ["verify"]}, (), "ES256"),
    ],
)
def test_a_key_is_bound_to_the_algorithm_that_it_names_or_that_fits_it(
    jwk: Mapping[str, object], algorithms: tuple[str, ...], algorithm: str
) -> None:
    assert read({**jwk, "kid": "k"}, algorithms=algorithms) == [("k", algorithm)]


@pytest.mark.parametrize(
    "jwk",
    [
        {**rsa_jwk(), "use": "enc"},
        {**rsa_jwk(), "key_ops": ["encrypt"]},
        {**rsa_jwk(), "d": "AQAB"},
        {**rsa_jwk(), "p": "AQAB"},
        {**ec_jwk(), "d": "AQAB"},
        {"kty": "oct", "k": b64(SECRET.encode()), "alg": "HS256"},
        {"kty": "oct", "k": b64(SECRET.encode())},
        {**rsa_jwk(), "alg": "HS256"},
        {**rsa_jwk(), "alg": "none"},
        {**rsa_jwk(), "alg": None},
        {**rsa_jwk(), "alg": "ES256"},
        {**rsa_jwk(), "alg": "PS256"},
        {**rsa_jwk(), "alg": "RSA-OAEP"},
        {**ec_jwk(), "alg": "ES384"},
        {**ec_jwk(), "crv": "P-384"},
        {**ec_jwk(), "crv": "secp256k1"},
        {**ec_jwk(), "x": b64(bytes(32))},
        rsa_jwk(SHORT_RSA),
        {**rsa_jwk(), "e": b64(b"\x01")},
        {**rsa_jwk(), "n": 17},
        {"kty": "RSA"},
        {"kty": "OKP", "crv": "Ed25519", "x": b64(bytes(32))},
        {},
        {**rsa_jwk(), "kid": ""},
        {**rsa_jwk(), "kid": 7},
        {**rsa_jwk(), "kid": None},
        {**rsa_jwk(), "kid": "k" * 257},
    ],
)
def test_a_key_for_anything_else_is_left_out_and_the_others_count(jwk: Mapping[str, object]) -> None:
    assert read({"kid": "odd", **jwk}, published("good")) == [("good", "RS256")]


def test_a_key_whose_algorithm_is_not_accepted_is_left_out() -> None:
    assert read(published("k1"), {**ec_jwk(), "kid": "k2"}, algorithms=("ES256",)) == [("k2", "ES256")]


def test_a_name_that_two_keys_share_names_neither() -> None:
    assert read(published("k1"), published("k1", OTHER_KEY), published("k2")) == [("k2", "RS256")]
    assert read(published(None), published(None, OTHER_KEY)) == [(None, "RS256"), (None, "RS256")]


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_the_three_curves_are_taken(curve: ec.EllipticCurve) -> None:
    numbers = ec.generate_private_key(curve).public_key().public_numbers()
    size = (curve.key_size + 7) // 8
    name = {256: "P-256", 384: "P-384", 521: "P-521"}[curve.key_size]
    jwk = {
        "kty": "EC",
        "crv": name,
        "x": b64(numbers.x.to_bytes(size, "big")),
        "y": b64(numbers.y.to_bytes(size, "big")),
    }

    assert len(read(jwk)) == 1


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["kty", "kid", "alg", "use", "key_ops", "n", "e", "crv", "x", "y"]), JSON))
def test_no_odd_key_breaks_the_reading(odd: dict[str, object]) -> None:
    names = read({**rsa_jwk(), "kid": "odd", **odd}, published("good-key-with-a-name-of-its-own"))

    assert ("good-key-with-a-name-of-its-own", "RS256") in names


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_what_is_no_set_is_a_value_error_and_nothing_else(body: bytes) -> None:
    try:
        keys_in(body, ())
    except ValueError:
        return


# Attacks with the published key


async def test_a_public_key_is_never_a_shared_secret(web: Web, clock: MovingClock) -> None:
    provider = provider_for(publish(web, published("k1")), clock)
    payload = claims(exp=int((NOW + timedelta(days=1)).timestamp()))

    for secret in (pem(RSA_KEY), pem(RSA_KEY).strip(), json.dumps(published("k1"))):
        assert await refused(provider, forge({"alg": "HS256", "kid": "k1"}, payload, hs256(secret))) == "token_invalid"


async def test_a_published_shared_secret_verifies_nothing(web: Web, clock: MovingClock) -> None:
    oct_key = {"kty": "oct", "k": b64(SECRET.encode()), "kid": "k1", "alg": "HS256"}
    provider = provider_for(publish(web, oct_key), clock, algorithms=[])

    assert await refused(provider, forge({"alg": "HS256", "kid": "k1"})) == "token_invalid"


async def test_a_key_of_a_curve_verifies_its_tokens(web: Web, clock: MovingClock) -> None:
    provider = provider_for(publish(web, {**ec_jwk(EC_KEY), "kid": "e1"}), clock, algorithms=[])

    assert await believed(provider, forge({"alg": "ES256", "kid": "e1"}, sign=es256))


async def test_a_token_without_a_kid_needs_a_key_without_one_where_there_are_several(
    web: Web, clock: MovingClock
) -> None:
    several = provider_for(publish(web, published("k1"), published("k2", OTHER_KEY)), clock)
    assert await refused(several, signed(None)) == "token_invalid"

    unnamed = provider_for(publish(web, published(None)), clock)
    assert await believed(unnamed, signed(None))
    assert await believed(unnamed, signed("whatever"))
    clock.pass_by(seconds=31)
    assert await believed(unnamed, signed("another"))
    assert len(web.asked) == 2  # One for each provider: a name means nothing to a set without names.
