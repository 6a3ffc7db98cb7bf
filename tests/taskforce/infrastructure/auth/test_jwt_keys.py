"""A key is checked when it is configured; afterwards it is used with one algorithm only."""

import base64
import json
from collections.abc import Mapping

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from structlog.testing import capture_logs

from taskforce.core.domain.errors import Invalid
from taskforce.infrastructure.auth.jwt_keys import KeyRecord, warn_short_secret
from tests.taskforce.infrastructure.auth.forged_tokens import (
    EC_KEY,
    RSA_KEY,
    SECRET,
    b64,
    der,
    ec_jwk,
    label,
    pem,
    private_pem,
    rsa_jwk,
)

KeyMaterial = str | bytes | Mapping[str, object]

OTHER_CURVE = ec.generate_private_key(ec.SECP384R1())
KOBLITZ = ec.generate_private_key(ec.SECP256K1())
SHORT_RSA = rsa.generate_private_key(public_exponent=65537, key_size=1024)
UNUSED_FAMILIES = [
    key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    for key in (ed25519.Ed25519PrivateKey.generate(), dsa.generate_private_key(1024))
]
PKCS1 = RSA_KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.PKCS1)
PKCS1_DER = RSA_KEY.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.PKCS1)
PRIVATE_DER = RSA_KEY.private_bytes(
    serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)
LOCKED_DER = RSA_KEY.private_bytes(
    serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
)
SSH = RSA_KEY.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        ("HS256", SECRET),
        ("HS512", b"s" * 64),
        ("HS256", {"kty": "oct", "k": b64(SECRET.encode())}),
        ("RS256", pem(RSA_KEY)),
        ("RS512", PKCS1),
        ("RS256", {**rsa_jwk(), "alg": "RS256", "use": "sig", "key_ops": ["verify"], "kid": "k1"}),
        ("ES256", pem(EC_KEY)),
        ("ES256", ec_jwk()),
        ("ES384", pem(OTHER_CURVE)),
    ],
    ids=label,
)
def test_good_keys_are_taken(algorithm: str, key: KeyMaterial) -> None:
    record = KeyRecord("k1", algorithm, key)

    assert record.material
    assert SECRET not in repr(record)


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        ("RS256", der(RSA_KEY)),
        ("RS256", private_pem(RSA_KEY)),
        ("RS256", pem(SHORT_RSA)),
        ("RS256", pem(EC_KEY)),
        ("RS256", SECRET),
        ("RS256", ""),
        ("RS256", pem(RSA_KEY) + pem(RSA_KEY)),
        ("RS256", SSH),
        ("RS256", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"),
        ("RS256", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"),
        ("RS256", {**rsa_jwk(), "d": "AQAB"}),
        ("RS256", {**rsa_jwk(), "e": "AQ=="}),
        ("RS256", {**rsa_jwk(), "n": 7}),
        ("RS256", {"kty": "RSA"}),
        ("RS256", ec_jwk()),
        ("ES256", pem(OTHER_CURVE)),
        ("ES256", pem(KOBLITZ)),
        ("ES256", {**ec_jwk(), "crv": "secp256k1"}),
        ("ES256", {**ec_jwk(), "y": "AQAB"}),
        ("ES256", UNUSED_FAMILIES[0]),
        ("RS256", UNUSED_FAMILIES[1]),
        ("HS256", rsa_jwk()),
        ("HS256", {"kty": "oct"}),
        ("HS256", {"kty": "oct", "k": "not base64!"}),
        ("HS256", {"kty": "oct", "k": ""}),
        ("none", SECRET),
        ("None", SECRET),
        ("", SECRET),
        ("PS256", pem(RSA_KEY)),
        ("dir", SECRET),
        ("hs256", SECRET),
    ],
    ids=label,
)
def test_other_keys_are_refused(algorithm: str, key: KeyMaterial) -> None:
    with pytest.raises(Invalid) as refusal:
        KeyRecord(None, algorithm, key)

    assert refusal.value.code == "signing_key_invalid"
    assert refusal.value.__cause__ is None


@pytest.mark.parametrize(
    "key",
    [
        pem(RSA_KEY),
        pem(EC_KEY),
        private_pem(RSA_KEY),
        PKCS1,
        der(RSA_KEY),
        der(EC_KEY),
        PKCS1_DER,
        PRIVATE_DER,
        LOCKED_DER,
        base64.b64encode(der(RSA_KEY)),
        base64.encodebytes(der(EC_KEY)),
        SSH,
        json.dumps(rsa_jwk()),
        f"  {pem(RSA_KEY)}",
    ],
    ids=label,
)
def test_a_key_of_a_pair_is_no_hmac_secret(key: str | bytes) -> None:
    with pytest.raises(Invalid) as refusal:
        KeyRecord(None, "HS256", key, allow_short_secret=True)

    assert "must not be an HMAC secret" in refusal.value.message


@pytest.mark.parametrize(
    "change", [{"alg": "RS384"}, {"use": "enc"}, {"key_ops": ["sign"]}, {"kid": "k2"}, {"key_ops": 3}]
)
def test_a_jwk_that_is_for_something_else_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        KeyRecord("k1", "RS256", {**rsa_jwk(), **change})


def test_a_name_that_is_empty_is_refused() -> None:
    with pytest.raises(Invalid):
        KeyRecord("", "HS256", SECRET)


@pytest.mark.parametrize(("algorithm", "shortest"), [("HS256", 32), ("HS384", 48), ("HS512", 64)])
def test_a_secret_is_as_long_as_its_hash_unless_a_shorter_one_is_allowed(algorithm: str, shortest: int) -> None:
    """RFC 7518, section 3.2."""
    for key in ("x" * (shortest - 1), {"kty": "oct", "k": b64(b"x" * (shortest - 1))}):
        with pytest.raises(Invalid, match=f"at least {shortest} bytes"):
            KeyRecord(None, algorithm, key)
        assert KeyRecord(None, algorithm, key, allow_short_secret=True).material == b"x" * (shortest - 1)

    assert KeyRecord(None, algorithm, "x" * shortest).material == b"x" * shortest


def test_a_short_secret_that_is_allowed_is_warned_of_once_and_never_shown() -> None:
    warn_short_secret.cache_clear()
    with capture_logs() as logs:
        KeyRecord(None, "HS256", "your-secret-key", allow_short_secret=True)
        KeyRecord(None, "HS256", "your-secret-key", allow_short_secret=True)

    assert [(line["event"], line["log_level"]) for line in logs] == [("auth.hmac_secret.short", "warning")]
    assert "your-secret-key" not in str(logs)


@pytest.mark.parametrize("empty", ["", b""])
def test_an_empty_secret_is_never_allowed(empty: str | bytes) -> None:
    with pytest.raises(Invalid):
        KeyRecord(None, "HS256", empty, allow_short_secret=True)
