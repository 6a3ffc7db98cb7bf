"""What is left out of a set of keys, and that the log says which and why."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from structlog.testing import capture_logs

from taskforce.infrastructure.auth.jwk_sets import LeftOut, keys_in
from tests.taskforce.infrastructure.auth.forged_tokens import SECRET, b64, ec_jwk, number, rsa_jwk
from tests.taskforce.infrastructure.auth.jwks_server import (
    OTHER_KEY,
    MovingClock,
    provider_for,
    publish,
    published,
    signed,
)
from tests.taskforce.infrastructure.auth.weak_keys import weak_modulus
from tests.taskforce.infrastructure.net.http_server import Web

SHORT = rsa.generate_private_key(public_exponent=65537, key_size=1024)


@pytest.mark.parametrize(
    ("jwk", "reason"),
    [
        ({**rsa_jwk(), "kid": 7}, "kid_invalid"),
        ({**rsa_jwk(), "kid": ""}, "kid_invalid"),
        ({**rsa_jwk(), "kid": "k" * 257}, "kid_invalid"),
        ({**rsa_jwk(), "kid": "good"}, "kid_shared"),
        ({**rsa_jwk(), "d": "AQAB"}, "key_private"),
        ({"kty": "oct", "k": b64(SECRET.encode()), "alg": "HS256"}, "key_symmetric"),
        ({**rsa_jwk(), "use": "enc"}, "key_purpose"),
        ({**rsa_jwk(), "key_ops": ["encrypt"]}, "key_purpose"),
        ({**rsa_jwk(), "alg": "RSA-OAEP"}, "algorithm_not_accepted"),
        (ec_jwk(), "algorithm_not_accepted"),
        (rsa_jwk(SHORT), "rsa_short"),
        ({"kty": "RSA", "n": number(weak_modulus(2048)), "e": "AQAB"}, "rsa_roca"),
        ({**ec_jwk(), "crv": "secp256k1"}, "key_unreadable"),
        ({"kty": "OKP", "crv": "Ed25519", "x": b64(bytes(32))}, "key_unreadable"),
        ({}, "key_unreadable"),
    ],
)
def test_a_key_that_is_left_out_says_why(jwk: dict[str, object], reason: str) -> None:
    keys = [published("other", OTHER_KEY), jwk, published("good")]
    found = keys_in(json.dumps({"keys": keys}).encode(), ("RS256",))

    assert [record.kid for record in found.records if record.kid != "good"] == ["other"]
    assert [one.reason for one in found.left_out if one.position == 1] == [reason]
    # Of two that share a name neither counts; otherwise one bad key takes no good one along.
    assert (LeftOut(2, "good", "kid_shared") in found.left_out) is (reason == "kid_shared")


async def test_the_log_says_once_which_keys_are_left_out(web: Web, clock: MovingClock) -> None:
    mixed = [published("k1"), published("twin"), published("twin", OTHER_KEY), {**rsa_jwk(SHORT), "kid": "short"}]
    provider = provider_for(publish(web, *mixed), clock)
    with capture_logs() as logs:
        for _ in range(3):
            await provider.authenticate(signed("k1"))
            clock.pass_by(minutes=11)
    assert len(web.asked) == 3

    said = [(line["kid"], line["position"], line["reason"]) for line in logs if line["event"].endswith("key_left_out")]
    assert said == [("twin", 1, "kid_shared"), ("twin", 2, "kid_shared"), ("short", 3, "rsa_short")]


async def test_the_log_says_it_anew_when_it_is_another(web: Web, clock: MovingClock) -> None:
    provider = provider_for(publish(web, published("k1"), {**rsa_jwk(SHORT), "kid": "short"}), clock)
    with capture_logs() as logs:
        await provider.authenticate(signed("k1"))
        publish(web, published("k1"), {**rsa_jwk(), "kid": "private", "d": "AQAB"})
        clock.pass_by(minutes=11)
        await provider.authenticate(signed("k1"))

    assert [line["reason"] for line in logs if "reason" in line] == ["rsa_short", "key_private"]
