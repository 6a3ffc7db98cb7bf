"""A workshop for tokens that no library would make. Signatures are computed here, independent of what is tested."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
SECOND = int(NOW.timestamp())
SECRET = "correct horse battery staple, and then some"
ISSUER = "https://issuer.example"
AUDIENCE = "taskforce-api"

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())

Signer = Callable[[bytes], bytes]


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    encoded = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return encoded.decode()


def der(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def private_pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    encoded = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return encoded.decode()


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def rsa_jwk(key: rsa.RSAPrivateKey = RSA_KEY) -> dict[str, object]:
    numbers = key.public_key().public_numbers()
    return {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e)}


def ec_jwk(key: ec.EllipticCurvePrivateKey = EC_KEY) -> dict[str, object]:
    numbers = key.public_key().public_numbers()
    return {
        "kty": "EC",
        "crv": "P-256",
        "x": b64(numbers.x.to_bytes(32, "big")),
        "y": b64(numbers.y.to_bytes(32, "big")),
    }


def hs256(secret: str | bytes = SECRET) -> Signer:
    key = secret.encode() if isinstance(secret, str) else secret
    return lambda message: hmac.new(key, message, hashlib.sha256).digest()


def rs256(message: bytes) -> bytes:
    return RSA_KEY.sign(message, padding.PKCS1v15(), hashes.SHA256())


def es256(message: bytes) -> bytes:
    r, s = decode_dss_signature(EC_KEY.sign(message, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def claims(**changes: object) -> dict[str, object]:
    """Good claims with changes; a change to `...` takes the claim away."""
    good = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "alice",
        "org_id": "acme-corp",
        "roles": ["operator"],
        "iat": SECOND,
        "exp": SECOND + 3600,
        **changes,
    }
    return {name: value for name, value in good.items() if value is not ...}


def forge(
    header: Mapping[str, object] | bytes | None = None,
    payload: Mapping[str, object] | bytes | None = None,
    sign: Signer | None = None,
) -> str:
    """Signs any header over any payload; bytes are taken as they are."""
    head = {"alg": "HS256", "typ": "JWT"} if header is None else header
    body = claims() if payload is None else payload
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (head, body)]
    message = ".".join(b64(part) for part in parts)
    return f"{message}.{b64((sign or hs256())(message.encode()))}"


def label(value: object) -> str:
    """Names a test's case without the random keys in it: every process must give it the same name."""
    return value if isinstance(value, str) and len(value) < 20 else type(value).__name__
