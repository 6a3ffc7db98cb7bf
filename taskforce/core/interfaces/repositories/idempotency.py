"""The repository of idempotency keys and their answers."""

from datetime import datetime
from typing import Protocol

from taskforce.core.domain.idempotency import StoredAnswer


class DuplicateKey(Exception):
    """Something of that key is stored already; nothing of this transaction was."""


class Answers(Protocol):
    """First answers to idempotency keys."""

    async def claim(
        self, user_id: str, route: str, key: str, answer: StoredAnswer, now: datetime
    ) -> StoredAnswer | None:
        """Stores the answer if the key is new and returns None; else returns the first answer.

        Waits for a transaction that is claiming the same key.
        """
        ...

    async def first(self, user_id: str, route: str, key: str) -> StoredAnswer | None:
        """The first answer to a key; None when it has none."""
        ...
