"""Proofs by which a worker verifies that an update of a request came through the gateway.

Whoever reaches Temporal may send an update in anybody's name. An update of the gateway carries a message authentication
code (MAC) over the request and the whole update, made with a key of the deployment.
"""

import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from taskforce.core.domain.canonical_json import canonical_json
from taskforce.core.domain.errors import Conflict, Unavailable
from taskforce.core.domain.json_limits import Json

LONGEST_WAIT: Final = timedelta(hours=24)
"""Longest time that a decision may wait for a worker; an older one must be submitted again."""
CLOCK_SKEW: Final = timedelta(minutes=5)
"""Tolerated lead of the gateway's clock over the worker's."""

PROOF_EXPIRED = "proof_expired"
"""The code of the refusal of an update that has waited too long: it was not made, and may be made anew."""

_PURPOSE: Final = "taskforce/update-proof/1"
_NONCE_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class UpdateProof:
    """The proof of one update.

    Attributes:
        made_at: Time at which it was made, UTC.
        nonce: Random text, which makes the proof single-use.
        code: HMAC-SHA-256 in hex.
    """

    made_at: datetime
    nonce: str
    code: str


class ProofKey:
    """The deployment's key for proofs; makes and verifies them.

    Args:
        key: A key for this purpose alone; None where the deployment has none, and proofs can be neither made nor
            verified.
    """

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key

    def prove(self, content: Json, now: datetime) -> UpdateProof:
        """Makes a proof for an update.

        Args:
            content: The whole update with the id of its request, JSON-compatible.
            now: Current time, UTC.

        Raises:
            Unavailable: `encryption_key_missing`.
        """
        nonce = secrets.token_hex(_NONCE_BYTES)
        return UpdateProof(now, nonce, self._code(content, now, nonce))

    def fits(self, content: Json, proof: UpdateProof) -> bool:
        """Tells whether a proof was made for exactly this update, at whatever time.

        Raises:
            Unavailable: `encryption_key_missing`.
        """
        code = self._code(content, proof.made_at, proof.nonce)
        # Bytes, not texts: `compare_digest` raises for text outside ASCII, which an attacker may send.
        return hmac.compare_digest(code.encode(), proof.code.encode("utf-8", "surrogatepass"))

    def check(self, content: Json, proof: UpdateProof, now: datetime) -> None:
        """Requires that a proof was made for exactly this update, and not too long ago.

        Raises:
            Conflict: `proof_invalid` or `proof_expired`.
            Unavailable: `encryption_key_missing`.
        """
        if not self.fits(content, proof):
            raise Conflict("proof_invalid", "The proof that the gateway has sent this does not fit what it says.")
        if not -CLOCK_SKEW <= now - proof.made_at <= LONGEST_WAIT:
            raise Conflict(PROOF_EXPIRED, "This has waited too long to count. Look at the request, and say it again.")

    def _code(self, content: Json, made_at: datetime, nonce: str) -> str:
        if self._key is None:
            text = (
                "The gateway vouches for decisions with a key, and TASKFORCE_ENCRYPTION_KEY is not set. Set it to 32 "
                "random bytes in base64 (openssl rand -base64 32), the same for every gateway and worker, and start "
                "them again."
            )
            raise Unavailable("encryption_key_missing", text)
        # The purpose keeps a code of another use of the key from counting here.
        proven = canonical_json([_PURPOSE, made_at.isoformat(), nonce, content])
        return hmac.digest(self._key, proven.encode("utf-8", "surrogatepass"), "sha256").hex()
