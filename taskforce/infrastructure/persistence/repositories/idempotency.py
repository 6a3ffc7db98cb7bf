"""Repository of the first answers to idempotency keys, in PostgreSQL."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from models.tables.idempotency import StoredAnswerRow
from taskforce.core.domain.idempotency import StoredAnswer
from taskforce.infrastructure.persistence.connection import Query
from taskforce.infrastructure.persistence.repository import Repository, table, where

_ANSWERS = table(StoredAnswerRow)
_CLAIM = Query(insert(_ANSWERS).on_conflict_do_nothing())
_FIRST = Query(sa.select(_ANSWERS).where(where(_ANSWERS, "user_id", "route", "idempotency_key")))


class AnswerRepository(Repository):
    """Stores first answers to idempotency keys; fulfils `Answers`."""

    async def claim(
        self, user_id: str, route: str, key: str, answer: StoredAnswer, now: datetime
    ) -> StoredAnswer | None:
        """Stores the answer unless the key has one; the unique index makes a concurrent transaction wait."""
        keyed = {"user_id": user_id, "route": route, "idempotency_key": key}
        values = {"body_hash": answer.body_hash, "status": answer.status, "body": dict(answer.body), "at": now}
        if await self._connection.change(_CLAIM, {"tenant_id": self._tenant_id, **keyed, **values}):
            return None
        # A statement of its own, whose snapshot shows what the transaction that was waited for has committed.
        return await self.first(user_id, route, key)

    async def first(self, user_id: str, route: str, key: str) -> StoredAnswer | None:
        """Returns the first answer to a key."""
        keyed = {"user_id": user_id, "route": route, "idempotency_key": key}
        row = await self._connection.first(_FIRST, self._of(**keyed))
        return None if row is None else StoredAnswer(row.body_hash, row.status, row.body)
