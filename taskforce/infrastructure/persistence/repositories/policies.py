"""Repository of policy documents in PostgreSQL."""

from collections.abc import Mapping
from datetime import datetime

import sqlalchemy as sa

from models.tables.access import PolicyDocumentRow
from taskforce.core.interfaces.repositories.access import PolicyVersion
from taskforce.infrastructure.persistence.connection import Query
from taskforce.infrastructure.persistence.repository import Repository, storable_json, table, where

_DOCUMENTS = table(PolicyDocumentRow)


def _latest(*columns: sa.ColumnElement[object] | sa.Table) -> Query:
    newest = _DOCUMENTS.c.version.desc()
    return Query(sa.select(*columns).where(where(_DOCUMENTS)).order_by(newest).limit(sa.literal(1)))


_CURRENT, _MARK = _latest(_DOCUMENTS), _latest(_DOCUMENTS.c.version, _DOCUMENTS.c.at)
_ADD = Query(sa.insert(_DOCUMENTS))
# Of two concurrent saves the second waits, and then finds the first's version.
_LOCK = Query(sa.text("SELECT pg_advisory_xact_lock(hashtextextended('policy:' || :tenant, 0))"))


class PolicyRepository(Repository):
    """Stores a tenant's policy documents, one row for each version; fulfils `PolicyDocuments`."""

    async def current(self) -> PolicyVersion | None:
        """Returns the latest version; None before the first."""
        row = await self._connection.first(_CURRENT, self._of())
        return None if row is None else PolicyVersion(row.version, row.document, row.saved_by, row.at)

    async def latest(self) -> tuple[int, datetime] | None:
        """Returns the number and time of the latest version, without its document."""
        row = await self._connection.first(_MARK, self._of())
        return None if row is None else (row.version, row.at)

    async def locked(self) -> PolicyVersion | None:
        """Returns the latest version, and blocks additions until this transaction ends."""
        await self._connection.value(_LOCK, {"tenant": self._tenant_id})
        return await self.current()

    async def add(self, document: Mapping[str, object], saved_by: str, now: datetime) -> int:
        """Adds the next version and returns its number."""
        # The lock is reentrant: whoever called `locked` before does not wait for themselves.
        await self._connection.value(_LOCK, {"tenant": self._tenant_id})
        last = await self.latest()
        version = 1 if last is None else last[0] + 1
        values = {"tenant_id": self._tenant_id, "version": version, "saved_by": saved_by, "at": now}
        await self._connection.change(_ADD, {**values, "document": storable_json(document)})
        return version
