"""Idempotency keys: a repeated request gets the answer of the first one."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from taskforce.core.domain.canonical_json import canonical_hash
from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.idempotency import StoredAnswer
from taskforce.core.interfaces.store import Records

_ACCEPTED = 202


@dataclass(frozen=True, slots=True)
class IdempotentCall:
    """A request with its idempotency key.

    Attributes:
        user_id: The user; keys of different users are different.
        route: The name of the operation; the same key for another operation is a different one.
        key: The key; None where the request has none.
        body: The body of the request, to tell a repeated request from another one.
    """

    user_id: str
    route: str
    key: str | None
    body: Mapping[str, object]


async def claim(
    records: Records, keyed: IdempotentCall, answer: Mapping[str, object], now: datetime
) -> Mapping[str, object] | None:
    """Claims a key within the transaction that fulfils the request.

    Args:
        records: The tenant's records.
        keyed: The request with its key.
        answer: The body of the answer, stored if this request is the first.
        now: The time, UTC.

    Returns:
        None for the first request, and for one without a key; else the body of the first answer.

    Raises:
        Invalid: `idempotency_key_reused`: the key was used with another body.
    """
    if keyed.key is None:
        return None
    mine = StoredAnswer(canonical_hash(keyed.body), _ACCEPTED, answer)
    return _same(mine.body_hash, await records.answers.claim(keyed.user_id, keyed.route, keyed.key, mine, now))


async def earlier(records: Records, keyed: IdempotentCall) -> Mapping[str, object] | None:
    """Finds the body of the first answer without claiming the key; None where there is none.

    For a check before validation: what a repeated request names may have changed since the first one.

    Raises:
        Invalid: As `claim`.
    """
    if keyed.key is None:
        return None
    return _same(canonical_hash(keyed.body), await records.answers.first(keyed.user_id, keyed.route, keyed.key))


def _same(body_hash: str, first: StoredAnswer | None) -> Mapping[str, object] | None:
    if first is not None and first.body_hash != body_hash:
        raise Invalid("idempotency_key_reused", "This Idempotency-Key was used with another body. Use a new key.")
    return None if first is None else first.body
