"""Parser of JWK Sets (RFC 7517): which keys can verify token signatures, and why the others cannot."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from taskforce.core.domain.errors import Invalid
from taskforce.infrastructure.auth.jwt_encoding import decode_json_object
from taskforce.infrastructure.auth.jwt_keys import (
    EC_ALGORITHMS,
    RSA_ALGORITHMS,
    KeyRecord,
    algorithms_for,
    public_key,
)

MOST_KEYS: Final = 100
LONGEST_KID: Final = 256
ASYMMETRIC_ALGORITHMS: Final = RSA_ALGORITHMS | EC_ALGORITHMS

_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Describes a key of the set that no signature is verified with.

    Attributes:
        position: Its position in the set, from 0.
        kid: Its `kid`, where that is a valid one.
        reason: A stable code: `kid_invalid`, `kid_shared`, `key_private`, `key_symmetric`, `algorithm_not_accepted`,
            `key_purpose`, `key_unreadable`, `rsa_short`, `rsa_roca` or `curve_unsupported`.
    """

    position: int
    kid: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class PublishedKeys:
    """Holds the usable keys of a set, and those that are left out.

    Attributes:
        records: The usable keys, possibly none.
        left_out: The others.
    """

    records: tuple[KeyRecord, ...]
    left_out: tuple[LeftOut, ...]


def keys_in(body: bytes, algorithms: Sequence[str]) -> PublishedKeys:
    """Parses the keys of a JWK Set with which token signatures can be verified.

    Args:
        body: The document, as received.
        algorithms: What is accepted, the preferred first; everything that has public keys when empty.

    Returns:
        The keys, possibly none, and those that are left out: private and symmetric keys, those for encryption, weak
        ones, those of other families, and those whose algorithm is not accepted or contradicts the key. Of keys that
        share a `kid` none is taken, for it does not say which is meant.

    Raises:
        ValueError: This is no JWK Set, or one of more than 100 keys.
    """
    keys = decode_json_object(body).get("keys")
    if not isinstance(keys, list) or len(keys) > MOST_KEYS or not all(isinstance(key, dict) for key in keys):
        raise ValueError("not a JWK Set")
    read = [_record(jwk, at, algorithms) for at, jwk in enumerate(keys)]
    names = Counter(one.kid for one in read if isinstance(one, KeyRecord) and one.kid is not None)
    shared = frozenset(name for name, times in names.items() if times > 1)
    judged = [_unshared(one, at, shared) for at, one in enumerate(read)]
    return PublishedKeys(
        tuple(one for one in judged if isinstance(one, KeyRecord)),
        tuple(one for one in judged if isinstance(one, LeftOut)),
    )


def _unshared(one: KeyRecord | LeftOut, position: int, shared: frozenset[str]) -> KeyRecord | LeftOut:
    twin = isinstance(one, KeyRecord) and one.kid in shared
    return LeftOut(position, one.kid, "kid_shared") if twin else one


def _record(jwk: Mapping[str, object], position: int, algorithms: Sequence[str]) -> KeyRecord | LeftOut:
    named = jwk.get("kid")
    kid = named if isinstance(named, str) and 0 < len(named) <= LONGEST_KID else None
    if "kid" in jwk and kid is None:
        return LeftOut(position, None, "kid_invalid")
    if jwk.get("kty") == "oct":
        return LeftOut(position, kid, "key_symmetric")
    # Whoever reads the set could sign with a key that stands in it whole.
    if not _PRIVATE.isdisjoint(jwk):
        return LeftOut(position, kid, "key_private")
    try:
        algorithm = _algorithm(jwk, algorithms)
        return LeftOut(position, kid, "algorithm_not_accepted") if algorithm is None else KeyRecord(kid, algorithm, jwk)
    except Invalid as refusal:
        return LeftOut(position, kid, str(refusal.details.get("reason", "key_unreadable")))


def _algorithm(jwk: Mapping[str, object], algorithms: Sequence[str]) -> str | None:
    """Returns the key's own algorithm, or the first accepted one that fits it."""
    possible = algorithms_for(public_key(jwk))
    accepted = algorithms or ("RS256", *sorted(ASYMMETRIC_ALGORITHMS))
    fitting = [one for one in accepted if one in possible]
    # What the issuer says of its key binds (RFC 7517, section 4.4): no other algorithm is tried with it.
    if "alg" in jwk:
        return next((one for one in fitting if one == jwk["alg"]), None)
    return next(iter(fitting), None)
