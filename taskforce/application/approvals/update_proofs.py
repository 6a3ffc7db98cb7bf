"""What an update of a request is worth: vouched for by the gateway, once, or only claimed."""

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
    """An update as it has reached a request's workflow.

    Attributes:
        tenant_id: The tenant.
        request_id: The request.
        said: All that it says, as its proof covers it.
        proof: What it brings along to be believed.
        arrival: Names this arrival of it, so that an activity that is tried again is told from a proof that is sent
            again.
    """

    tenant_id: str
    request_id: str
    said: Json
    proof: UpdateProof | None
    arrival: str = ""


class UpdateVerification:
    """Decides how much updates are believed.

    Args:
        store: The tenants' data.
        key: What proofs are made with.
        clock: The time.
    """

    def __init__(self, store: Store, key: ProofKey, clock: Clock) -> None:
        self._store = store
        self._key = key
        self._clock = clock

    def channel(self, update: ReceivedUpdate) -> Channel:
        """How an update has reached us: by the API if its proof fits, whatever its age, else as a signal does.

        Raises:
            Unavailable: `encryption_key_missing`.
        """
        proven = update.proof is not None and self._key.fits(update.said, update.proof)
        return Channel.API if proven else Channel.SIGNAL

    async def accept(self, update: ReceivedUpdate) -> Channel:
        """How an update has reached us; uses its proof up.

        Returns:
            The API for what the gateway vouches for; the signal channel for what has no proof.

        Raises:
            Conflict: `proof_invalid`, `proof_expired` or `proof_used`.
            Unavailable: `encryption_key_missing`.
        """
        if update.proof is None:
            return Channel.SIGNAL
        self._key.check(update.said, update.proof, self._clock())
        async with self._store.tenant(update.tenant_id) as records:
            # Kept beside the requester's idempotency keys: who has decided may be unknown here.
            requester = (await found(records, update.request_id)).approval.requester_id
            once = IdempotentCall(
                requester, f"proof:{update.request_id}", update.proof.nonce, {"arrival": update.arrival}
            )
            try:
                await claim(records, once, {}, self._clock())
            except Invalid:
                raise Conflict("proof_used", "This was said before; it does not count again.") from None
        return Channel.API
