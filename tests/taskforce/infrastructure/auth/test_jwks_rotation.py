"""Issuers that change their keys, badly: no names, the same name again, or nothing published for a moment."""

import json
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from taskforce.core.domain.errors import Unauthenticated, Unavailable
from taskforce.infrastructure.auth.issuers import Issuers
from taskforce.infrastructure.auth.jwt_guard import KeyRecord, TokenGuard
from taskforce.infrastructure.auth.jwt_provider import JWTIdentityProvider
from tests.taskforce.infrastructure.auth.forged_tokens import (
    EC_KEY,
    RSA_KEY,
    SECRET,
    ec_jwk,
    es256,
    forge,
    hs256,
    pem,
    rs256,
)
from tests.taskforce.infrastructure.auth.guard_factories import RULES, believed, code
from tests.taskforce.infrastructure.auth.jwks_server import (
    OTHER_KEY,
    PATH,
    MovingClock,
    provider_for,
    publish,
    published,
    signed,
)
from tests.taskforce.infrastructure.net.http_server import Web


async def comes_in(provider: JWTIdentityProvider, token: str) -> bool:
    try:
        await provider.authenticate(token)
    except Unauthenticated:
        return False
    return True


# A token without a name for its key: OpenID Connect Core 1.0, section 10.1


@pytest.mark.parametrize(
    ("record", "algorithm", "sign"),
    [
        (KeyRecord("k", "HS256", SECRET), "HS256", hs256()),
        (KeyRecord("k", "RS256", pem(RSA_KEY)), "RS256", rs256),
        (KeyRecord("k", "ES256", pem(EC_KEY)), "ES256", es256),
    ],
    ids=["HS256", "RS256", "ES256"],
)
def test_without_a_name_the_one_key_is_meant(record: KeyRecord, algorithm: str, sign: Callable[[bytes], bytes]) -> None:
    token = forge({"alg": algorithm}, sign=sign)

    assert believed(token, TokenGuard([record], RULES))
    others = {"HS256": "RS256", "RS256": "ES256", "ES256": "RS256"}
    assert code(forge({"alg": others[algorithm]}, sign=sign), TokenGuard([record], RULES)) == "token_invalid"


def test_without_a_name_the_one_key_that_fits_the_algorithm_is_meant() -> None:
    mixed = [
        KeyRecord("r", "RS256", pem(RSA_KEY)),
        KeyRecord("e", "ES256", pem(EC_KEY)),
        KeyRecord("h", "HS256", SECRET),
    ]
    guard = TokenGuard(mixed, RULES)

    assert believed(forge({"alg": "RS256"}, sign=rs256), guard)
    assert believed(forge({"alg": "ES256"}, sign=es256), guard)
    # A name that is none of theirs stays none of theirs.
    assert code(forge({"alg": "RS256", "kid": "e"}, sign=rs256), guard) == "token_invalid"
    assert code(forge({"alg": "RS256", "kid": "x"}, sign=rs256), guard) == "token_invalid"


def test_without_a_name_several_keys_are_not_tried_out() -> None:
    guard = TokenGuard([KeyRecord("a", "RS256", pem(RSA_KEY)), KeyRecord("b", "RS256", pem(OTHER_KEY))], RULES)

    assert code(forge({"alg": "RS256"}, sign=rs256), guard) == "token_invalid"


async def test_a_published_key_with_a_name_is_found_without_it(web: Web, clock: MovingClock) -> None:
    provider = provider_for(publish(web, published("k1"), {**ec_jwk(), "kid": "e1"}), clock, algorithms=[])

    assert await comes_in(provider, signed(None))
    assert await comes_in(provider, forge({"alg": "ES256"}, sign=es256))


async def test_of_several_issuers_each_is_meant_with_its_own_key(web: Web, clock: MovingClock) -> None:
    one = provider_for(publish(web, published("k1")), clock, tenant="acme")
    web.answer("/other", json.dumps({"keys": [published("k1", OTHER_KEY)]}).encode())
    other = provider_for(web.url("/other"), clock, tenant="globex", issuer="https://other.example")
    both = Issuers([one, other])

    assert (await both.authenticate(signed(None))).tenant_id == "acme"
    theirs = "https://other.example"
    assert (await both.authenticate(signed(None, OTHER_KEY, iss=theirs))).tenant_id == "globex"
    for token in (signed(None, OTHER_KEY), signed(None, iss=theirs)):
        with pytest.raises(Unauthenticated):
            await both.authenticate(token)


# A key that was replaced


@pytest.mark.parametrize(("before", "after"), [(None, None), ("k", "k"), ("a", None), (None, "b"), ("a", "b")])
async def test_a_replaced_key_is_fetched_because_the_signature_fits_none(
    web: Web, clock: MovingClock, before: str | None, after: str | None
) -> None:
    named = after if before is not None else None
    provider = provider_for(publish(web, published(before)), clock)
    assert await comes_in(provider, signed(before))
    publish(web, published(after, OTHER_KEY))
    assert not await comes_in(provider, signed(named, OTHER_KEY))  # The last fetch was just now.
    clock.pass_by(seconds=31)

    assert await comes_in(provider, signed(named, OTHER_KEY))
    assert not await comes_in(provider, signed(before))
    assert len(web.asked) == 2


async def test_forged_signatures_cannot_make_us_hammer_the_issuer(web: Web, clock: MovingClock) -> None:
    provider = provider_for(publish(web, published("k1")), clock)
    await provider.authenticate(signed("k1"))
    for _ in range(100):
        assert not await comes_in(provider, signed("k1", OTHER_KEY))
        clock.pass_by(seconds=0.9)
    assert len(web.asked) == 1 + 2

    assert await comes_in(provider, signed("k1"))


async def test_a_token_that_is_wrong_otherwise_is_no_reason_to_fetch(web: Web, clock: MovingClock) -> None:
    provider = provider_for(publish(web, published("k1")), clock)
    await provider.authenticate(signed("k1"))
    clock.pass_by(seconds=31)

    assert not await comes_in(provider, signed("k1", aud="elsewhere"))
    assert len(web.asked) == 1


# Nothing published for a moment


@pytest.mark.parametrize("empty", [(), ({"kty": "oct", "k": "AAAA"},)], ids=["no keys", "no usable keys"])
async def test_the_keys_before_count_until_others_are_there(
    web: Web, clock: MovingClock, empty: tuple[dict[str, object], ...]
) -> None:
    provider = provider_for(publish(web, published("k1")), clock)
    await provider.authenticate(signed("k1"))
    publish(web, *empty)
    clock.pass_by(seconds=40)
    assert not await comes_in(provider, signed("k2", OTHER_KEY))  # Makes us fetch.
    assert await comes_in(provider, signed("k1"))
    clock.pass_by(minutes=20)
    assert await comes_in(provider, signed("k1"))

    publish(web, published("k2", OTHER_KEY))
    clock.pass_by(seconds=6)  # `JwksTiming.retry`
    assert await comes_in(provider, signed("k2", OTHER_KEY))
    assert not await comes_in(provider, signed("k1"))


async def test_an_issuer_that_takes_all_keys_away_is_obeyed_after_a_day(web: Web, clock: MovingClock) -> None:
    """Nothing tells it from the moment above; an issuer that means it publishes another key."""
    provider = provider_for(publish(web, published("k1")), clock)
    await provider.authenticate(signed("k1"))
    publish(web)
    clock.pass_by(minutes=9, hours=24)
    assert await comes_in(provider, signed("k1"))
    clock.pass_by(minutes=2)
    with pytest.raises(Unavailable) as refusal:
        await provider.authenticate(signed("k1"))
    assert refusal.value.code == "issuer_unavailable"


async def test_an_issuer_that_begins_without_keys_is_asked_again_after_the_cooldown(
    web: Web, clock: MovingClock
) -> None:
    provider = provider_for(publish(web), clock)
    assert not await comes_in(provider, signed("k1"))
    publish(web, published("k1"))
    assert not await comes_in(provider, signed("k1"))
    assert len(web.asked) == 1
    clock.pass_by(seconds=31)

    assert await comes_in(provider, signed("k1"))


async def test_an_empty_set_is_logged_once_and_its_end_too(web: Web, clock: MovingClock) -> None:
    provider = provider_for(publish(web, published("k1")), clock)
    await provider.authenticate(signed("k1"))
    publish(web)
    with capture_logs() as logs:
        for _ in range(5):
            clock.pass_by(minutes=5)
            await provider.authenticate(signed("k1"))
            await comes_in(provider, signed("k2"))
        publish(web, published("k1"))
        clock.pass_by(minutes=5)
        await comes_in(provider, signed("k2"))

    assert [line["event"] for line in logs] == ["auth.issuer.no_usable_keys", "auth.issuer.available"]
    assert PATH not in str(logs)
