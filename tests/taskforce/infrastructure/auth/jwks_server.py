"""Issuers that publish their keys on this machine, as the tests want them."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from taskforce.infrastructure.auth.jwt_provider import JWTConfig, JWTIdentityProvider
from tests.taskforce.infrastructure.auth.forged_tokens import AUDIENCE, ISSUER, NOW, RSA_KEY, claims, forge, rsa_jwk
from tests.taskforce.infrastructure.net.http_server import Web

OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PATH = "/jwks"


@dataclass
class MovingClock:
    """The time, which moves when a test says so."""

    now: datetime = field(default=NOW)

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, **time: float) -> None:
        self.now += timedelta(**time)


def published(kid: str | None, key: rsa.RSAPrivateKey = RSA_KEY, **changes: object) -> dict[str, object]:
    """A key as issuers publish them; a change to `...` takes a member away."""
    jwk = {**rsa_jwk(key), "kid": kid, "use": "sig", "alg": "RS256", **changes}
    return {name: value for name, value in jwk.items() if value is not ... and (name, value) != ("kid", None)}


def publish(web: Web, *keys: Mapping[str, object], **headers: str) -> str:
    """Has the server answer with a set of keys; returns where."""
    web.answer(PATH, json.dumps({"keys": list(keys)}).encode(), 200, **headers)
    return web.url(PATH)


def rs256_by(key: rsa.RSAPrivateKey) -> Callable[[bytes], bytes]:
    return lambda message: key.sign(message, padding.PKCS1v15(), hashes.SHA256())


def signed(kid: str | None, key: rsa.RSAPrivateKey = RSA_KEY, **changes: object) -> str:
    """A token of ten days, as clocks move far here."""
    header = {"alg": "RS256"} if kid is None else {"alg": "RS256", "kid": kid}
    exp = int((NOW + timedelta(days=10)).timestamp())
    return forge(header, claims(**{"exp": exp, **changes}), rs256_by(key))


def provider_for(uri: str, clock: MovingClock, **config: object) -> JWTIdentityProvider:
    settled = {"jwks_uri": uri, "issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["RS256"], **config}
    return JWTIdentityProvider(JWTConfig(**settled), development=True, clock=clock)  # type: ignore[arg-type]
