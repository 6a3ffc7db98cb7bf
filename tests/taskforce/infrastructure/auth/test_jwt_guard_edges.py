"""Attacks at the edges of signatures and of other serialisations, after Wycheproof and published advisories."""

import json
from collections.abc import Mapping

import pytest

from taskforce.infrastructure.auth.jwt_guard import TokenGuard
from tests.taskforce.infrastructure.auth.forged_tokens import b64, claims, forge, hs256
from tests.taskforce.infrastructure.auth.guard_factories import EC_RECORD, GUARD, NAMED, RSA_GUARD, RULES, code

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
EDGES = (0, 1, 2, ORDER - 1, ORDER, ORDER + 1, 2**256 - 1)
EC_GUARD = TokenGuard([EC_RECORD], RULES)


@pytest.mark.parametrize("r", EDGES)
@pytest.mark.parametrize("s", EDGES)
def test_no_trivial_point_is_a_signature(r: int, s: int) -> None:
    """Psychic signatures (CVE-2022-21449), and numbers that are what others are modulo the order."""
    signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    assert code(forge({"alg": "ES256"}, sign=lambda _: signature), EC_GUARD) == "token_invalid"


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 512])
@pytest.mark.parametrize("octet", [b"\0", b"\xff", b"\x01"])
def test_no_constant_is_an_rsa_signature(size: int, octet: bytes) -> None:
    assert code(forge({"alg": "RS256"}, sign=lambda _: octet * size or b"\0"), RSA_GUARD) == "token_invalid"


def test_other_serialisations_are_no_tokens() -> None:
    head, payload, signature = forge().split(".")
    flattened = {"protected": head, "payload": payload, "signature": signature}
    general = {"payload": payload, "signatures": [{"protected": head, "signature": signature}]}
    unprotected = {"header": {"alg": "HS256"}, "payload": payload, "signature": signature}
    for serialised in (flattened, general, unprotected):
        assert code(json.dumps(serialised)) == "token_invalid"
        assert code(b64(json.dumps(serialised).encode())) == "token_invalid"
    # Encrypted ones have five parts, and may hold a token of ours.
    assert code(f"{head}.{payload}.{signature}.{payload}.{signature}") == "token_invalid"
    assert code(f"{b64(b'{}')}..{payload}.{signature}.{signature}") == "token_invalid"
    assert code(forge(payload=forge().encode())) == "token_invalid"


@pytest.mark.parametrize(
    "header",
    [
        {"ALG": "HS256"},
        {"alg": "dir", "enc": "A256GCM"},
        {"alg": "HS\uff12\uff15\uff16"},
        {"alg": "HS256\0"},
        {"alg": "PS256"},
        {"alg": "EdDSA"},
        {"alg": "HS256", "b64": True},
        {"alg": "HS256", "typ": "JWT\u0131"},
        {"alg": "HS256", "typ": "dpop+jwt"},
        {"alg": "HS256", "typ": ""},
    ],
)
def test_headers_that_nearly_say_what_we_accept(header: Mapping[str, object]) -> None:
    assert code(forge(header)) == "token_invalid"


@pytest.mark.parametrize("kid", ["k1\u200b", "\u212a1", "k1/", "0", 0, False, 1e3, {}, "k1\n"])
def test_names_that_are_nearly_a_keys(kid: object) -> None:
    assert code(forge({"alg": "HS256", "kid": kid}), NAMED) == "token_invalid"


@pytest.mark.parametrize("claim", ["exp", "iat", "nbf"])
@pytest.mark.parametrize(
    "literal", ["\u0661\u0662\u0663", "0x7FFFFFFF", "+5", "05", "1_000", ".5", "5.", "253402300800", "1E400", "-0.5"]
)
def test_numbers_that_json_does_not_know_or_no_calendar_has(claim: str, literal: str) -> None:
    payload = (json.dumps(claims(**{claim: ...}))[:-1] + f', "{claim}": {literal}}}').encode()
    assert code(forge(payload=payload)) == "token_invalid"


def test_a_signature_is_over_these_very_segments() -> None:
    mine, theirs = forge(), forge(payload=claims(sub="bob"), sign=hs256("other" * 10))
    parts = [one.split(".") for one in (mine, theirs)]
    for head, payload, signature in ((0, 1, 0), (0, 1, 1), (1, 0, 1)):
        mixed = f"{parts[head][0]}.{parts[payload][1]}.{parts[signature][2]}"
        assert code(mixed, GUARD) == "token_invalid"
