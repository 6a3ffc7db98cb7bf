"""Idempotency keys: a request that is repeated gets the first answer."""

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
    """What a key stands for.

    Attributes:
        user_id: Whose key it is.
        route: What the user asks for with it; the same key elsewhere is another one.
        key: The key, or None when the request has none.
        body: What is asked for, to tell a repeated request from another one.
    """

    user_id: str
    route: str
    key: str | None
    body: Mapping[str, object]


async def claim(
    records: Records, keyed: IdempotentCall, answer: Mapping[str, object], now: datetime
) -> Mapping[str, object] | None:
    """Claims a key within the transaction that does what is asked for.

    Args:
        records: The tenant's records.
        keyed: The key.
        answer: The body of the answer, if this request is the first.
        now: The time.

    Returns:
        None for the first request, and for one without a key; else the body of the first answer.

    Raises:
        Invalid: `idempotency_key_reused` when the key was used with another body.
    """
    if keyed.key is None:
        return None
    mine = StoredAnswer(canonical_hash(keyed.body), _ACCEPTED, answer)
    return _same(mine.body_hash, await records.answers.claim(keyed.user_id, keyed.route, keyed.key, mine, now))


async def earlier(records: Records, keyed: IdempotentCall) -> Mapping[str, object] | None:
    """The body of the first answer, before anything is looked at that may have changed since; None without one.

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
