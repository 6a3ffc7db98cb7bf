"""Verification of signed tokens, around python-jose's check of the signature.

python-jose trusts the token's own header too far and raises many kinds of errors, so this is the only module that
imports it. It sees a token only once the shape, the header and the key are settled here; it is asked one question,
whether the signature fits; and the claims are judged here. Every refusal is Unauthenticated.

A few decisions beyond the obvious: `aud` may be a list, as RFC 7519 allows, if this service is on it. `x5t` is ignored
(it names a key and carries none; Azure AD sends it). A `kid` is ignored when none of our keys has one, and may be left
out where one key alone fits the algorithm (OpenID Connect Core 1.0, section 10.1).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, TypeVar

import structlog
from jose import jwk, jws
from jose.backends.base import Key

from taskforce.core.domain.errors import Invalid, Unauthenticated
from taskforce.infrastructure.auth.jwt_encoding import decode_base64url, decode_json_object
from taskforce.infrastructure.auth.jwt_keys import KeyRecord

__all__ = [
    "LONGEST_TOKEN",
    "AudienceClaim",
    "KeyRecord",
    "SignatureMismatch",
    "TokenGuard",
    "TokenRules",
    "UnverifiedOrigin",
    "VerifiedToken",
    "sign",
    "unverified_origin",
]

AudienceClaim = Literal["aud", "client_id"]
"""Claims that can name the audience; the access tokens of AWS Cognito have `client_id` and no `aud`."""

LONGEST_TOKEN: Final = 16 * 1024
LONGEST_LEEWAY_SECONDS: Final = 300
_LONGEST_KID: Final = 256
# 9999-12-31T23:59:59Z, the last second that `datetime` holds.
_LATEST_SECOND: Final = 253_402_300_799
_SEGMENTS: Final = 3
# They bring the sender's own key along (`jwk`, `jku`, `x5c`, `x5u`; RFC 8725, section 3.10), or change what is
# signed or how it is read.
_REFUSED_HEADERS: Final = frozenset({"crit", "jku", "jwk", "x5u", "x5c", "b64", "cty", "enc", "zip"})
_Result = TypeVar("_Result")
# RFC 9068 calls an access token `at+jwt`; `application/` may stand before a type (RFC 7515, section 4.1.9).
_TYPES: Final = frozenset({"jwt", "at+jwt", "application/jwt", "application/at+jwt"})


@dataclass(frozen=True, slots=True)
class TokenRules:
    """Sets what a token must claim.

    Attributes:
        issuer: What `iss` must equal.
        audience: What `audience_claim` must equal, or, as a list in `aud`, contain.
        leeway_seconds: Tolerated difference of clocks, 0 to 300 seconds.
        audience_claim: The claim that names the audience. With `client_id` an `aud` may be missing, and must contain
            the audience too where it is there: such a client may hold tokens for other services.
        token_use: What the claim `token_use` must equal; None when it is not looked at.

    Raises:
        Invalid: `token_rules_invalid`.
    """

    issuer: str
    audience: str
    leeway_seconds: float = 30
    audience_claim: AudienceClaim = "aud"
    token_use: str | None = None

    def __post_init__(self) -> None:
        if not (self.issuer and self.audience):
            raise Invalid("token_rules_invalid", "Name the issuer and the audience of tokens.")
        if not 0 <= self.leeway_seconds <= LONGEST_LEEWAY_SECONDS:
            raise Invalid("token_rules_invalid", f"The leeway is 0 to {LONGEST_LEEWAY_SECONDS} seconds.")
        if self.audience_claim not in ("aud", "client_id"):
            raise Invalid("token_rules_invalid", "The audience stands in aud or in client_id.")
        if self.token_use == "":
            raise Invalid("token_rules_invalid", "A token_use is a text that is not empty, or absent.")


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """Holds the claims of a token that was signed by an accepted key, for this audience, and is valid now.

    Attributes:
        subject: `sub`.
        issuer: `iss`.
        issued_at: `iat`, UTC.
        expires_at: `exp`, UTC.
        claims: All claims.
    """

    subject: str
    issuer: str
    issued_at: datetime
    expires_at: datetime
    claims: Mapping[str, object]


class SignatureMismatch(Unauthenticated):
    """Reports that no key of the guard signed the token; other keys of the same issuer might have."""


@dataclass(frozen=True, slots=True)
class UnverifiedOrigin:
    """Holds the unverified issuer and key name of a token, which only select the keys to verify it with.

    Attributes:
        issuer: `iss`, or None when that is no text.
        kid: The name of the key that it claims to be signed with; None when it names none.
    """

    issuer: str | None
    kid: str | None


def unverified_origin(token: object) -> UnverifiedOrigin:
    """Reads the issuer and the key that a token names, before any work on its signature.

    Args:
        token: The credential as sent, without `Bearer`.

    Raises:
        Unauthenticated: `token_missing` or `token_invalid` for what no guard would accept, whatever its keys.
    """
    return _or_refused(lambda: _unverified_origin(token))


class TokenGuard:
    """Verifies the tokens of one issuer.

    Args:
        keys: The keys that it signs with; names (`kid`) are unique, several keys without a name are tried in order.
        rules: What its tokens must say.

    Raises:
        Invalid: `signing_key_missing` without keys, `signing_key_invalid` when two share a name.
    """

    def __init__(self, keys: Sequence[KeyRecord], rules: TokenRules) -> None:
        if not keys:
            raise Invalid("signing_key_missing", "Configure a secret or a public key that tokens are signed with.")
        names = [record.kid for record in keys if record.kid is not None]
        if len(names) != len(set(names)):
            raise Invalid("signing_key_invalid", "Two keys share a kid.")
        self._keys = tuple(keys)
        self._has_names = bool(names)
        self._prepared: dict[KeyRecord, Key] = {}
        self._rules = rules

    def verify(self, token: object, now: datetime) -> VerifiedToken:
        """Verifies a token.

        Args:
            token: The credential as sent, without `Bearer`.
            now: The time, UTC.

        Returns:
            Its claims, checked.

        Raises:
            SignatureMismatch: `token_invalid`: the token is well formed, and signed by none of the keys.
            Unauthenticated: `token_missing`, `token_expired` or `token_invalid`; nothing else is ever raised.
        """
        return _or_refused(lambda: self._verify(token, now))

    def _verify(self, token: object, now: datetime) -> VerifiedToken:
        text = _checked_size(token)
        # The shape is checked first: python-jose trusts the header, and cryptography costs the most.
        header, claims = _read(text)
        _check_header(header)
        if not any(self._signed_by(record, text) for record in self._candidates(header)):
            message = "The token's signature fits none of the keys that it may be signed with."
            raise SignatureMismatch("token_invalid", message)
        return _check_claims(claims, self._rules, now.timestamp())

    def _signed_by(self, record: KeyRecord, token: str) -> bool:
        try:
            # Parsing a key's PEM takes as long as verifying a signature with it, so parsed keys are cached.
            key = self._prepared[record] = self._prepared.get(record) or _prepared(record)
            jws.verify(token, key, algorithms=[record.algorithm])
        except Exception:  # noqa: BLE001 - python-jose lets errors of many libraries through; each means no
            return False
        return True

    def _candidates(self, header: Mapping[str, object]) -> tuple[KeyRecord, ...]:
        kid = _kid(header)
        # The header's `alg` only selects among our keys, each of which has one algorithm: `none`, or HS256 for a public
        # key, fits nothing (RFC 8725, section 3.1).
        fitting = tuple(record for record in self._keys if record.algorithm == header["alg"])
        if kid is not None and self._has_names:
            return tuple(record for record in fitting if record.kid == kid)
        if kid is None and len(fitting) == 1:
            return fitting
        # A `kid` while none of our keys has a name, or no `kid` among several keys: only unnamed keys may fit.
        return tuple(record for record in fitting if record.kid is None)


def sign(claims: Mapping[str, object], record: KeyRecord) -> str:
    """Signs claims with a shared secret; for tokens of development and tests.

    Args:
        claims: JSON-compatible claims, signed as they are.
        record: A key for HS256, HS384 or HS512.

    Raises:
        Invalid: `claims_invalid` when the claims are not JSON.
    """
    try:
        # Without `allow_nan` Python would write NaN, which is no JSON, and the guard would refuse the token.
        payload = json.dumps(claims, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError):
        raise Invalid(
            "claims_invalid", "Claims are JSON: texts, finite numbers, booleans, lists and objects."
        ) from None
    headers = {} if record.kid is None else {"kid": record.kid}
    return jws.sign(payload, _prepared(record), headers=headers, algorithm=record.algorithm)


def _refused(message: str) -> Unauthenticated:
    return Unauthenticated("token_invalid", message)


def _or_refused(read: Callable[[], _Result]) -> _Result:
    try:
        return read()
    except Unauthenticated:
        raise
    except Exception as failure:  # noqa: BLE001 - what nobody thought of is a refusal too, not a server error
        # The type alone: the text of a library's error may quote the token.
        structlog.get_logger(__name__).error("auth.token.guard_failed", error=type(failure).__name__)
        raise _refused("The token cannot be read.") from None


def _unverified_origin(token: object) -> UnverifiedOrigin:
    header, claims = _read(_checked_size(token))
    _check_header(header)
    issuer = claims.get("iss")
    return UnverifiedOrigin(issuer if isinstance(issuer, str) else None, _kid(header))


def _checked_size(token: object) -> str:
    if token is None or token == "":
        raise Unauthenticated("token_missing", "Send a token: Authorization: Bearer <token>.")
    # Bounded before anything is decoded: nobody knows yet who sends it.
    if not isinstance(token, str) or len(token) > LONGEST_TOKEN:
        raise _refused(f"A token is a text of at most {LONGEST_TOKEN} characters.")
    return token


def _read(token: str) -> tuple[Mapping[str, object], Mapping[str, object]]:
    segments = token.split(".")
    if len(segments) != _SEGMENTS:
        raise _refused("A token has three segments.")
    try:
        header, claims, _ = (decode_base64url(segment) for segment in segments)
        return decode_json_object(header), decode_json_object(claims)
    except ValueError:
        raise _refused("The token's segments are not JSON objects in base64url.") from None


def _check_header(header: Mapping[str, object]) -> None:
    if not isinstance(header.get("alg"), str):
        raise _refused("The token names no algorithm.")
    if not _REFUSED_HEADERS.isdisjoint(header):
        raise _refused("The token's header holds a parameter that is not accepted here.")
    kind = header.get("typ", "JWT")
    if not (isinstance(kind, str) and kind.lower() in _TYPES):
        raise _refused("The token's typ says that it is no access token.")


def _kid(header: Mapping[str, object]) -> str | None:
    if "kid" not in header:
        return None
    kid = header["kid"]
    if isinstance(kid, str) and 0 < len(kid) <= _LONGEST_KID:
        return kid
    raise _refused("The token's kid is not a name.")


def _prepared(record: KeyRecord) -> Key:
    return jwk.construct(record.material, record.algorithm)


def _check_claims(claims: Mapping[str, object], rules: TokenRules, now: float) -> VerifiedToken:
    issued, expires = _seconds(claims, "iat"), _seconds(claims, "exp")
    # A token from the future is refused as one before its `nbf` is: some clock is wrong by more than the leeway.
    starts = _seconds(claims, "nbf") if "nbf" in claims else issued
    subject = claims.get("sub")
    if claims.get("iss") != rules.issuer:
        raise _refused("The token is from another issuer.")
    if not _is_for_us(claims, rules):
        raise _refused("The token is for another audience.")
    if rules.token_use is not None and claims.get("token_use") != rules.token_use:
        raise _refused("The token's token_use says that it is for something else.")
    if not (isinstance(subject, str) and subject):
        raise _refused("The token names no subject.")
    if now >= expires + rules.leeway_seconds:
        raise Unauthenticated("token_expired", "The token has expired. Get a new one.")
    if max(issued, starts) > now + rules.leeway_seconds:
        raise _refused("The token is not valid yet.")
    return VerifiedToken(subject, rules.issuer, _moment(issued), _moment(expires), claims)


def _seconds(claims: Mapping[str, object], name: str) -> float:
    value = claims.get(name)
    # A bool is an int in Python; the upper bound keeps `datetime.fromtimestamp` from overflowing.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LATEST_SECOND:
        raise _refused(f"The token's {name} is not a time.")
    return value


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _is_for_us(claims: Mapping[str, object], rules: TokenRules) -> bool:
    if rules.audience_claim == "client_id":
        own = claims.get("client_id") == rules.audience
        return own and ("aud" not in claims or _is_for(rules.audience, claims["aud"]))
    return _is_for(rules.audience, claims.get("aud"))


def _is_for(audience: str, claimed: object) -> bool:
    if isinstance(claimed, str):
        return claimed == audience
    return isinstance(claimed, list) and all(isinstance(item, str) for item in claimed) and audience in claimed
