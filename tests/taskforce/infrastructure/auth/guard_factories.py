"""Guards that the tests attack."""

import pytest

from taskforce.core.domain.errors import Unauthenticated
from taskforce.infrastructure.auth.jwt_guard import KeyRecord, TokenGuard, TokenRules
from tests.taskforce.infrastructure.auth.forged_tokens import (
    AUDIENCE,
    EC_KEY,
    ISSUER,
    NOW,
    RSA_KEY,
    SECRET,
    pem,
    rsa_jwk,
)

RULES = TokenRules(ISSUER, AUDIENCE, leeway_seconds=30)
SHARED = KeyRecord(None, "HS256", SECRET)
RSA_RECORD = KeyRecord(None, "RS256", pem(RSA_KEY))
EC_RECORD = KeyRecord(None, "ES256", pem(EC_KEY))
GUARD = TokenGuard([SHARED], RULES)
RSA_GUARD = TokenGuard([RSA_RECORD], RULES)
NAMED = TokenGuard([KeyRecord("k1", "HS256", SECRET), KeyRecord("k2", "RS256", rsa_jwk())], RULES)


def code(token: object, guard: TokenGuard = GUARD) -> str:
    with pytest.raises(Unauthenticated) as refusal:
        guard.verify(token, NOW)
    return refusal.value.code


def believed(token: str, guard: TokenGuard = GUARD) -> bool:
    return guard.verify(token, NOW).subject == "alice"
