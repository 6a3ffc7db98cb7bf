"""The stored answer of an idempotency key."""

from dataclasses import dataclass

from taskforce.core.domain.json_limits import Json


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """The first answer to an idempotency key, with the hash of its request's body."""

    body_hash: str
    status: int
    body: Json
