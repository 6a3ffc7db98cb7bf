"""First answers to idempotency keys, in PostgreSQL."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from models.tables.answers import StoredAnswerRow
from taskforce.core.interfaces.stored import StoredAnswer
from taskforce.infrastructure.persistence.rows import Repository, table

_ANSWERS = table(StoredAnswerRow)


class AnswerRows(Repository):
    """See `Answers`."""

    async def claim(
        self, user_id: str, route: str, key: str, answer: StoredAnswer, now: datetime
    ) -> StoredAnswer | None:
        """Stores the answer unless the key has one; a rival transaction is waited for by the unique index."""
        keyed = {"tenant_id": self._tenant_id, "user_id": user_id, "route": route, "idempotency_key": key}
        values = {"body_hash": answer.body_hash, "status": answer.status, "body": dict(answer.body), "at": now}
        if await self._inserted(insert(_ANSWERS).values({**keyed, **values}).on_conflict_do_nothing()):
            return None
        query = sa.select(_ANSWERS).filter_by(**keyed)
        row = (await self._connection.execute(query)).one()
        return StoredAnswer(row.body_hash, row.status, row.body)
