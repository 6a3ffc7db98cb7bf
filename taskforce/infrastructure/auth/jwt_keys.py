"""Trusted signing keys: each is checked when it is configured and bound to exactly one algorithm."""

import base64
import binascii
import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import load_der_x509_certificate

from taskforce.core.domain.errors import Invalid
from taskforce.infrastructure.auth.jwt_encoding import decode_base64url, decode_json_object
from taskforce.infrastructure.auth.roca import has_roca_fingerprint

HMAC_ALGORITHMS: Final = frozenset({"HS256", "HS384", "HS512"})
RSA_ALGORITHMS: Final = frozenset({"RS256", "RS384", "RS512"})
EC_ALGORITHMS: Final = frozenset({"ES256", "ES384", "ES512"})
ALGORITHMS: Final = HMAC_ALGORITHMS | RSA_ALGORITHMS | EC_ALGORITHMS

SHORTEST_SECRET_BYTES: Final[Mapping[str, int]] = MappingProxyType({"HS256": 32, "HS384": 48, "HS512": 64})
"""A secret is as long as the hash that it is used with (RFC 7518, section 3.2)."""
SHORTEST_RSA_BITS: Final = 2048
_KINDS: Final = f"A public key is RSA of {SHORTEST_RSA_BITS} bits or more, or on P-256, P-384 or P-521."

# cryptography names curves as SEC 2 does, and RFC 7518 as NIST does.
_CURVES: Mapping[str, tuple[str, str, type[ec.EllipticCurve]]] = MappingProxyType(
    {
        "secp256r1": ("ES256", "P-256", ec.SECP256R1),
        "secp384r1": ("ES384", "P-384", ec.SECP384R1),
        "secp521r1": ("ES512", "P-521", ec.SECP521R1),
    }
)
# Exactly one block: of several, `load_pem_public_key` takes the first and passes over the rest.
_PUBLIC_PEM = re.compile(rb"\s*-----BEGIN (RSA )?PUBLIC KEY-----[A-Za-z0-9+/=\s]+-----END (RSA )?PUBLIC KEY-----\s*")
_LOOKS_ASYMMETRIC = re.compile(rb"BEGIN [A-Z0-9 ]*(KEY|CERTIFICATE)|ssh-|ecdsa-sha2-")

_PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


@dataclass(frozen=True)
class KeyRecord:
    """Describes one key that tokens may be signed with.

    Attributes:
        kid: The name that a token's `kid` must equal exactly; None for a key without a name.
        algorithm: The one algorithm that this key is used with; a token cannot choose another.
        key: For HS*, a secret (text, bytes, or a JWK with `kty` `oct`) of 32, 48 or 64 bytes or more, as long as the
            hash. For RS* and ES*, a public key in PEM, or a public JWK. DER, certificates and private keys are refused.
        allow_short_secret: Takes a shorter secret, with a warning; for development only.
        material: What the signature is checked with: the secret's bytes, or the public key as PEM. Derived from `key`.

    Raises:
        Invalid: `signing_key_invalid`; the message never holds key material.
    """

    kid: str | None
    algorithm: str
    # Not compared or hashed: a JWK is a dict, and `material` stands for the key.
    key: str | bytes | Mapping[str, object] = field(repr=False, compare=False, hash=False)
    allow_short_secret: bool = field(default=False, compare=False)
    material: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.kid == "":
            raise _refused("A key's kid is a text that is not empty, or absent.")
        if self.algorithm not in ALGORITHMS:
            raise _refused(f"A key's algorithm is one of {', '.join(sorted(ALGORITHMS))}.")
        if isinstance(self.key, Mapping):
            _check_jwk_purpose(self.key, self.kid, self.algorithm)
        object.__setattr__(self, "material", self._material())

    def _material(self) -> bytes:
        if self.algorithm in HMAC_ALGORITHMS:
            return _secret(self.key, SHORTEST_SECRET_BYTES[self.algorithm], allow_short=self.allow_short_secret)
        public = public_key(self.key)
        if self.algorithm not in algorithms_for(public):
            raise _refused(f"This public key cannot be used with {self.algorithm}.")
        return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def algorithms_for(key: _PublicKey) -> frozenset[str]:
    """Returns the algorithms that a public key can be bound to; it has to be bound to one of them."""
    if isinstance(key, rsa.RSAPublicKey):
        return RSA_ALGORITHMS
    return frozenset({_CURVES[key.curve.name][0]})


def public_key(key: str | bytes | Mapping[str, object]) -> _PublicKey:
    """Parses a public key from PEM or JWK.

    Raises:
        Invalid: `signing_key_invalid` for anything else, RSA below 2048 bits or with ROCA's pattern, and curves but
            P-256, P-384, P-521; `details["reason"]` says which.
    """
    try:
        loaded = _from_jwk(key) if isinstance(key, Mapping) else _from_pem(key)
    except (ValueError, TypeError, KeyError, UnsupportedAlgorithm):
        raise _refused("This is not a public key in PEM, nor a public JWK.", "key_unreadable") from None
    if isinstance(loaded, rsa.RSAPublicKey):
        return _strong(loaded)
    if isinstance(loaded, ec.EllipticCurvePublicKey) and loaded.curve.name in _CURVES:
        return loaded
    raise _refused(_KINDS, "curve_unsupported")


def _strong(key: rsa.RSAPublicKey) -> rsa.RSAPublicKey:
    if key.key_size < SHORTEST_RSA_BITS:
        raise _refused(_KINDS, "rsa_short")
    if has_roca_fingerprint(key.public_numbers().n):
        text = "This RSA key was made by a library whose keys can be factored (ROCA, CVE-2017-15361). Make another."
        raise _refused(text, "rsa_roca")
    return key


def _refused(message: str, reason: str | None = None) -> Invalid:
    return Invalid("signing_key_invalid", message, details={} if reason is None else {"reason": reason})


def _bytes(key: str | bytes) -> bytes:
    return key.encode("utf-8") if isinstance(key, str) else bytes(key)


def _from_pem(key: str | bytes) -> object:
    pem = _bytes(key)
    if not _PUBLIC_PEM.fullmatch(pem):
        raise ValueError("not one public key in PEM")
    return serialization.load_pem_public_key(pem)


def _from_jwk(jwk: Mapping[str, object]) -> object:
    # `d` is the private part (RFC 7518, sections 6.2.2 and 6.3.2): a verifier must not be given it.
    if "d" in jwk:
        raise ValueError("a private key")
    if jwk.get("kty") == "RSA":
        return rsa.RSAPublicNumbers(_number(jwk["e"]), _number(jwk["n"])).public_key()
    if jwk.get("kty") != "EC":
        raise ValueError("neither RSA nor EC")
    curve = {name: curve for _, name, curve in _CURVES.values()}[str(jwk["crv"])]
    return ec.EllipticCurvePublicNumbers(_number(jwk["x"]), _number(jwk["y"]), curve()).public_key()


def _number(value: object) -> int:
    if not isinstance(value, str):
        raise TypeError("a JWK's numbers are base64url text")
    return int.from_bytes(decode_base64url(value), "big")


def _check_jwk_purpose(jwk: Mapping[str, object], kid: str | None, algorithm: str) -> None:
    # RFC 7517, sections 4.2 to 4.5; each of the four members is optional.
    operations = jwk.get("key_ops", ["verify"])
    suits = (
        jwk.get("alg", algorithm) == algorithm
        and jwk.get("kid", kid) == kid
        and jwk.get("use", "sig") == "sig"
        and isinstance(operations, list | tuple)
        and "verify" in operations
    )
    if not suits:
        raise _refused("The JWK's alg, kid, use or key_ops say that it is for something else.", "key_purpose")


def _secret(key: str | bytes | Mapping[str, object], shortest: int, *, allow_short: bool) -> bytes:
    secret = _oct_secret(key) if isinstance(key, Mapping) else _bytes(key)
    if not secret:
        raise _refused("An HMAC secret must not be empty.")
    # Else whoever knows the public key could sign with HS256 (algorithm confusion, RFC 8725, section 2.1).
    if _is_asymmetric(secret):
        raise _refused("A public or private key, or a certificate, must not be an HMAC secret: it is not a secret.")
    if len(secret) < shortest:
        if not allow_short:
            raise _refused(f"An HMAC secret for this algorithm is at least {shortest} bytes long.")
        warn_short_secret()
    return secret


def _oct_secret(jwk: Mapping[str, object]) -> bytes:
    value = jwk.get("k")
    if jwk.get("kty") != "oct" or not isinstance(value, str):
        raise _refused("A JWK for HMAC has the kty oct and its secret in k.")
    try:
        return decode_base64url(value)
    except ValueError:
        raise _refused("A JWK's k is base64url without padding.") from None


@functools.cache
def warn_short_secret() -> None:
    """Warns, once per process, that tokens can be forged by guessing the secret."""
    structlog.get_logger(__name__).warning(
        "auth.hmac_secret.short",
        advice="This JWT secret can be guessed, and is refused outside development. Use 64 random bytes.",
    )


def _is_asymmetric(secret: bytes) -> bool:
    if _LOOKS_ASYMMETRIC.search(secret) or _is_jwk(secret):
        return True
    try:
        # A key in PEM that lost its first and last line on the way into a variable is no secret either.
        unarmoured = base64.b64decode(b"".join(secret.split()), validate=True)
    except binascii.Error:
        unarmoured = b""
    return _is_der(secret) or _is_der(unarmoured)


def _is_jwk(secret: bytes) -> bool:
    try:
        return "kty" in decode_json_object(secret)
    except ValueError:
        return False


def _is_der(data: bytes) -> bool:
    return any(_loads(load, data) for load in (_load_public, _load_private, load_der_x509_certificate))


def _load_public(data: bytes) -> object:
    return serialization.load_der_public_key(data)


def _load_private(data: bytes) -> object:
    return serialization.load_der_private_key(data, password=None)


def _loads(load: Callable[[bytes], object], data: bytes) -> bool:
    try:
        load(data)
    except (ValueError, TypeError, UnsupportedAlgorithm) as refusal:
        # The loader raises TypeError for an encrypted private key, whose password it lacks.
        return isinstance(refusal, TypeError)
    return True
