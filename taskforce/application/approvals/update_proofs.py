"""Verification of workflow updates: proven by the gateway's MAC, which is single-use, or of the signal channel."""

from dataclasses import dataclass

from taskforce.application.approvals.decisions import found
from taskforce.application.idempotency import IdempotentCall, claim
from taskforce.core.domain.approvals.approval import Channel
from taskforce.core.domain.approvals.update_proofs import ProofKey, UpdateProof
from taskforce.core.domain.errors import Conflict, Invalid
from taskforce.core.domain.json_limits import Json
from taskforce.core.interfaces.clock import Clock
from taskforce.core.interfaces.store import Store


@dataclass(frozen=True, slots=True)
class ReceivedUpdate:
    """An update as the request's workflow has received it.

    Attributes:
        tenant_id: The tenant.
        request_id: The request.
        said: The content of the update that the proof covers.
        proof: The gateway's MAC over it; None where the update has none.
        arrival: The id of this arrival: it tells a retried activity from a proof that is sent a second time.
    """

    tenant_id: str
    request_id: str
    said: Json
    proof: UpdateProof | None
    arrival: str = ""


class UpdateVerification:
    """Verifies the proofs of updates.

    Args:
        store: The tenants' data.
        key: The key of the proofs.
        clock: The time, UTC.
    """

    def __init__(self, store: Store, key: ProofKey, clock: Clock) -> None:
        self._store = store
        self._key = key
        self._clock = clock

    def channel(self, update: ReceivedUpdate) -> Channel:
        """Returns the channel of an update: the API where its proof is valid, of any age, else the signal channel.

        Raises:
            Unavailable: `encryption_key_missing`.
        """
        proven = update.proof is not None and self._key.fits(update.said, update.proof)
        return Channel.API if proven else Channel.SIGNAL

    async def accept(self, update: ReceivedUpdate) -> Channel:
        """Verifies an update and marks its proof as used.

        Returns:
            The API channel where the proof is valid; the signal channel where there is no proof.

        Raises:
            Conflict: `proof_invalid`, `proof_expired` or `proof_used`.
            Unavailable: `encryption_key_missing`.
        """
        if update.proof is None:
            return Channel.SIGNAL
        self._key.check(update.said, update.proof, self._clock())
        async with self._store.tenant(update.tenant_id) as records:
            # Nonces are stored under the requester's id, for the decider's may be made up.
            requester = (await found(records, update.request_id)).approval.requester_id
            once = IdempotentCall(
                requester, f"proof:{update.request_id}", update.proof.nonce, {"arrival": update.arrival}
            )
            try:
                await claim(records, once, {}, self._clock())
            # The nonce was claimed by another arrival, so the proof was sent a second time.
            except Invalid:
                raise Conflict("proof_used", "This was said before; it does not count again.") from None
        return Channel.API
