"""Attacks on tokens. Each ends as Unauthenticated; nothing else may ever come out of the guard."""

import base64
import json
import math
from collections.abc import Mapping
from datetime import timedelta

import pytest

from taskforce.core.domain.errors import Invalid
from taskforce.infrastructure.auth.jwt_guard import KeyRecord, TokenGuard, TokenRules, sign
from tests.taskforce.infrastructure.auth.forged_tokens import (
    AUDIENCE,
    ISSUER,
    NOW,
    RSA_KEY,
    SECOND,
    SECRET,
    Signer,
    b64,
    claims,
    der,
    ec_jwk,
    es256,
    forge,
    hs256,
    label,
    pem,
    rs256,
    rsa_jwk,
)
from tests.taskforce.infrastructure.auth.guard_factories import (
    EC_RECORD,
    GUARD,
    NAMED,
    RSA_GUARD,
    RSA_RECORD,
    RULES,
    SHARED,
    believed,
    code,
)

# What is accepted


def test_a_good_token_is_believed() -> None:
    token = GUARD.verify(forge(), NOW)

    assert (token.subject, token.issuer) == ("alice", ISSUER)
    assert token.issued_at == NOW
    assert token.expires_at == NOW + timedelta(hours=1)
    assert token.claims["roles"] == ["operator"]


@pytest.mark.parametrize(
    ("record", "signer"), [(SHARED, hs256()), (RSA_RECORD, rs256), (EC_RECORD, es256)], ids=["HS256", "RS256", "ES256"]
)
def test_each_family_is_checked_with_its_own_key(record: KeyRecord, signer: Signer) -> None:
    token = forge({"alg": record.algorithm}, sign=signer)

    assert TokenGuard([record], RULES).verify(token, NOW).subject == "alice"
    assert TokenGuard([SHARED, RSA_RECORD, EC_RECORD], RULES).verify(token, NOW).subject == "alice"


def test_what_we_sign_is_believed_and_what_is_not_json_is_not_signed() -> None:
    assert GUARD.verify(sign(claims(), SHARED), NOW).subject == "alice"
    assert NAMED.verify(sign(claims(), KeyRecord("k1", "HS256", SECRET)), NOW).subject == "alice"
    for odd in (object(), math.nan, {1, 2}):
        with pytest.raises(Invalid):
            sign({"odd": odd}, SHARED)


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "application/at+jwt"])
def test_types_of_access_tokens_are_accepted(kind: str) -> None:
    assert believed(forge({"alg": "HS256", "typ": kind, "x5t": "thumbprint"}))


@pytest.mark.parametrize("audience", [AUDIENCE, [AUDIENCE], ["https://other.example/userinfo", AUDIENCE]])
def test_an_audience_may_be_one_of_several(audience: object) -> None:
    assert believed(forge(payload=claims(aud=audience)))


def test_a_retired_secret_can_stand_beside_the_new_one() -> None:
    guard = TokenGuard([KeyRecord(None, "HS256", "n" * 32), SHARED], RULES)

    assert believed(forge(), guard)


# The algorithm


@pytest.mark.parametrize("guard", [GUARD, RSA_GUARD, NAMED])
@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", " none", "none ", "", "null"])
def test_no_spelling_of_no_signature_helps(name: str, guard: TokenGuard) -> None:
    unsigned = forge({"alg": name}, sign=lambda _: b"")

    assert code(unsigned, guard) == "token_invalid"
    assert code(unsigned + b64(b"x" * 32), guard) == "token_invalid"
    assert code(forge({"alg": name, "kid": "k1"}), guard) == "token_invalid"


@pytest.mark.parametrize(
    "name", [None, 1, True, ["HS256"], {"HS256": 1}, "hs256", "HS256 ", "HS384", "HS512", "ES256K"]
)
def test_an_algorithm_that_is_not_the_keys_is_refused(name: object) -> None:
    assert code(forge({"alg": name})) == "token_invalid"


def test_a_token_without_an_algorithm_is_refused() -> None:
    assert code(forge({"typ": "JWT"})) == "token_invalid"


@pytest.mark.parametrize(
    "secret",
    [pem(RSA_KEY), pem(RSA_KEY).strip(), der(RSA_KEY), base64.b64encode(der(RSA_KEY)), json.dumps(rsa_jwk()), b""],
    ids=label,
)
@pytest.mark.parametrize("algorithm", ["HS256", "RS256"])
def test_the_public_key_is_no_shared_secret(secret: str | bytes, algorithm: str) -> None:
    token = forge({"alg": algorithm}, sign=hs256(secret))

    assert code(token, RSA_GUARD) == "token_invalid"
    assert code(token, TokenGuard([SHARED, RSA_RECORD], RULES)) == "token_invalid"


def test_a_key_of_one_family_does_not_check_another() -> None:
    assert code(forge({"alg": "RS256"}, sign=rs256), GUARD) == "token_invalid"
    assert code(forge({"alg": "HS256"}, sign=rs256), RSA_GUARD) == "token_invalid"
    assert code(forge({"alg": "RS512"}, sign=rs256), RSA_GUARD) == "token_invalid"
    assert code(forge({"alg": "ES256"}, sign=rs256), TokenGuard([EC_RECORD], RULES)) == "token_invalid"


@pytest.mark.parametrize("signature", [b"\0" * 64, b"\0" * 32, b"\xff" * 64, b"0", b"\x30\x06\x02\x01\x00\x02\x01\x00"])
def test_an_ecdsa_signature_of_zeros_or_of_another_form_is_refused(signature: bytes) -> None:
    assert code(forge({"alg": "ES256"}, sign=lambda _: signature), TokenGuard([EC_RECORD], RULES)) == "token_invalid"


def test_an_empty_hmac_key_signs_nothing() -> None:
    assert code(forge(sign=hs256(""))) == "token_invalid"
    assert code(forge(sign=hs256(b"\0" * 32))) == "token_invalid"


# The header


@pytest.mark.parametrize(
    "extra",
    [
        {"crit": ["exp"]},
        {"crit": ["unknown"], "unknown": 1},
        {"crit": ["b64"], "b64": False},
        {"crit": []},
        {"crit": None},
        {"b64": False},
        {"jku": "https://attacker.example/jwks.json"},
        {"jwk": rsa_jwk()},
        {"jwk": ec_jwk()},
        {"jwk": {"kty": "oct", "k": b64(SECRET.encode())}},
        {"x5u": "https://attacker.example/cert.pem"},
        {"x5c": ["MIIB"]},
        {"cty": "JWT"},
        {"enc": "A256GCM"},
        {"zip": "DEF"},
        {"typ": "logout+jwt"},
        {"typ": "secevent+jwt"},
        {"typ": 1},
        {"typ": None},
    ],
)
def test_a_header_that_brings_its_own_rules_is_refused(extra: Mapping[str, object]) -> None:
    assert code(forge({"alg": "HS256", **extra})) == "token_invalid"
    assert code(forge({"alg": "RS256", **extra}, sign=rs256), RSA_GUARD) == "token_invalid"


@pytest.mark.parametrize(
    "kid",
    [
        "unknown",
        "K1",
        "k1 ",
        "k1\0",
        "k",
        "",
        "k2",
        "../../../../dev/null",
        "/dev/null",
        "' UNION SELECT 'secret' --",
        "k1' OR '1'='1",
        "$(id)",
        "|id",
        "x" * 5000,
        ["k1"],
        {"k1": 1},
        1,
        True,
        None,
    ],
)
def test_only_the_exact_name_of_a_key_finds_it(kid: object) -> None:
    assert code(forge({"alg": "HS256", "kid": kid}), NAMED) == "token_invalid"


def test_a_name_finds_its_key_only() -> None:
    assert code(forge({"alg": "HS256", "kid": "k2"}), NAMED) == "token_invalid"
    assert believed(forge({"alg": "HS256", "kid": "k1"}), NAMED)
    assert believed(forge({"alg": "RS256", "kid": "k2"}, sign=rs256), NAMED)


def test_an_unknown_name_does_not_fall_back_to_a_key_without_one() -> None:
    mixed = TokenGuard([KeyRecord("k1", "HS256", "o" * 32), SHARED], RULES)

    assert believed(forge(), mixed)
    assert code(forge({"alg": "HS256", "kid": "k9"}), mixed) == "token_invalid"
    assert code(forge({"alg": "HS256", "kid": "k1"}), mixed) == "token_invalid"


def test_a_name_is_ignored_where_no_key_has_one_but_must_be_a_name() -> None:
    assert believed(forge({"alg": "HS256", "kid": "whatever"}))
    for kid in (None, 1, "", ["k1"], "x" * 257):
        assert code(forge({"alg": "HS256", "kid": kid})) == "token_invalid"


# The claims


@pytest.mark.parametrize("claim", ["exp", "iat", "nbf"])
@pytest.mark.parametrize(
    "literal",
    [
        "Infinity",
        "-Infinity",
        "NaN",
        "1e400",
        "-1",
        "-1e400",
        "1e300",
        "9" * 30,
        f'"{SECOND + 3600}"',
        "true",
        "false",
        "null",
        "[]",
        "{}",
        f"[{SECOND}]",
        '"2099-01-01T00:00:00Z"',
    ],
)
def test_a_time_is_a_finite_number_of_this_era(claim: str, literal: str) -> None:
    payload = (json.dumps(claims(**{claim: ...}))[:-1] + f', "{claim}": {literal}}}').encode()

    assert code(forge(payload=payload)) == "token_invalid"


@pytest.mark.parametrize("claim", ["exp", "iat", "iss", "aud", "sub"])
def test_what_must_be_there_must_be_there(claim: str) -> None:
    assert code(forge(payload=claims(**{claim: ...}))) == "token_invalid"
    assert code(forge(payload=claims(**{claim: None}))) == "token_invalid"


def test_a_token_expires_after_the_leeway_and_says_so() -> None:
    assert believed(forge(payload=claims(exp=SECOND - 29)))
    assert code(forge(payload=claims(exp=SECOND - 30))) == "token_expired"
    assert code(forge(payload=claims(exp=0))) == "token_expired"


@pytest.mark.parametrize("claim", ["iat", "nbf"])
def test_a_token_from_the_future_is_refused(claim: str) -> None:
    assert believed(forge(payload=claims(**{claim: SECOND + 30})))
    assert code(forge(payload=claims(**{claim: SECOND + 31}))) == "token_invalid"


def test_expiry_is_told_only_to_who_holds_a_signed_token() -> None:
    assert code(forge(payload=claims(exp=0), sign=hs256("other" * 10))) == "token_invalid"


@pytest.mark.parametrize(
    "audience",
    [
        "",
        [],
        "other",
        "taskforce-api2",
        "TASKFORCE-API",
        "taskforce-api ",
        f"{AUDIENCE},other",
        ["other"],
        [AUDIENCE, 1],
        [[AUDIENCE]],
        {AUDIENCE: 1},
        1,
        True,
        "*",
    ],
)
def test_another_audience_is_refused(audience: object) -> None:
    assert code(forge(payload=claims(aud=audience))) == "token_invalid"


@pytest.mark.parametrize(
    "issuer",
    [
        "",
        "https://other.example",
        ISSUER + "/",
        ISSUER.upper(),
        ISSUER + ".evil.example",
        [ISSUER],
        {ISSUER: 1},
        1,
        True,
    ],
)
def test_another_issuer_is_refused(issuer: object) -> None:
    assert code(forge(payload=claims(iss=issuer))) == "token_invalid"


@pytest.mark.parametrize("subject", ["", 0, 1, True, [], ["alice"], {"id": "alice"}])
def test_a_subject_is_a_text(subject: object) -> None:
    assert code(forge(payload=claims(sub=subject))) == "token_invalid"


# How it is configured


def test_a_guard_without_keys_or_with_two_of_one_name_is_not_built() -> None:
    with pytest.raises(Invalid) as missing:
        TokenGuard([], RULES)
    with pytest.raises(Invalid) as twice:
        TokenGuard([KeyRecord("k1", "HS256", SECRET), KeyRecord("k1", "HS256", "y" * 32)], RULES)

    assert (missing.value.code, twice.value.code) == ("signing_key_missing", "signing_key_invalid")


@pytest.mark.parametrize(
    ("issuer", "audience", "leeway"),
    [
        ("", AUDIENCE, 30),
        (ISSUER, "", 30),
        (ISSUER, AUDIENCE, -1),
        (ISSUER, AUDIENCE, 301),
        (ISSUER, AUDIENCE, math.nan),
    ],
)
def test_rules_that_would_let_anything_pass_are_refused(issuer: str, audience: str, leeway: float) -> None:
    with pytest.raises(Invalid) as refusal:
        TokenRules(issuer, audience, leeway)

    assert refusal.value.code == "token_rules_invalid"
