"""The repository of idempotency keys and their answers."""

from datetime import datetime
from typing import Protocol

from taskforce.core.domain.idempotency import StoredAnswer


class DuplicateKey(Exception):
    """Raised when a row with that key exists; the transaction is rolled back."""


class Answers(Protocol):
    """The repository of first answers to idempotency keys."""

    async def claim(
        self, user_id: str, route: str, key: str, answer: StoredAnswer, now: datetime
    ) -> StoredAnswer | None:
        """Stores the answer if the key is new and returns None; else returns the first answer.

        Waits for a concurrent transaction that claims the same key.
        """
        ...

    async def first(self, user_id: str, route: str, key: str) -> StoredAnswer | None:
        """Returns the first answer to a key; None without one."""
        ...
