"""Repository of a tenant's approval definitions in PostgreSQL."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from models.tables.approval_definitions import ApprovalDefinitionRow
from taskforce.core.domain.approvals.definition_documents import as_document, parse
from taskforce.core.domain.approvals.definitions import Definition, is_definition_id
from taskforce.infrastructure.persistence.connection import Query, Row
from taskforce.infrastructure.persistence.repository import Repository, storable_json, table, where

_DEFINITIONS = table(ApprovalDefinitionRow)
_BY_ID = _DEFINITIONS.c.definition_id
_ALL = sa.select(_DEFINITIONS).where(where(_DEFINITIONS)).order_by(_BY_ID)
_GET = sa.select(_DEFINITIONS).where(where(_DEFINITIONS, "definition_id"))
_READ, _LOCK, _EVERY = Query(_GET), Query(_GET.with_for_update()), Query(_ALL)
_MOST = sa.bindparam("most", type_=sa.Integer())
_PAGE = Query(_ALL.where(sa.bindparam("after", type_=_BY_ID.type) < _BY_ID).limit(_MOST))
# Of two concurrent additions the second waits, and then counts the first's row.
_ALONE = Query(sa.text("SELECT pg_advisory_xact_lock(hashtextextended('approval definitions:' || :tenant, 0))"))
_COUNT = Query(sa.select(sa.func.count()).select_from(_DEFINITIONS).where(where(_DEFINITIONS)))
_ADD = Query(insert(_DEFINITIONS).on_conflict_do_nothing())
_CHANGED = ("document", "version", "saved_by", "updated_at")
_SAME = where(_DEFINITIONS, "definition_id", "version")
_SAVE = Query(sa.update(_DEFINITIONS).where(_SAME), sets=_CHANGED)
_REMOVE = Query(sa.delete(_DEFINITIONS).where(where(_DEFINITIONS, "definition_id")))


def mark_beside(tenants: sa.Table) -> sa.ScalarSelect[str]:
    """Returns the subquery of a mark that changes with a tenant's definitions: a sum of hashes, one for each save."""
    # With the time: a definition that is removed and made anew has version 1 again.
    microseconds = sa.cast(sa.func.date_part("epoch", _DEFINITIONS.c.updated_at) * sa.literal(1e6), sa.BigInteger)
    hashes = sa.func.sum(sa.func.hashtextextended(_BY_ID, microseconds + _DEFINITIONS.c.version))
    found = sa.func.coalesce(sa.cast(hashes, sa.Text), "")
    mine = _DEFINITIONS.c.tenant_id == tenants.c.tenant_id
    return sa.select(found).where(mine).correlate(tenants).scalar_subquery()


class DefinitionRepository(Repository):
    """Stores the tenant's own approval definitions, not the profile's; fulfils `Definitions`."""

    async def get(self, definition_id: str) -> Definition | None:
        """Returns one definition."""
        return await self._one(_READ, definition_id)

    async def locked(self, definition_id: str) -> Definition | None:
        """Returns the definition, locked until this transaction ends."""
        return await self._one(_LOCK, definition_id)

    async def _one(self, query: Query, definition_id: str) -> Definition | None:
        # A path may name any text; one that cannot be an id names no row.
        if not is_definition_id(definition_id):
            return None
        row = await self._connection.first(query, self._of(definition_id=definition_id))
        return None if row is None else _definition(row)

    async def all(self) -> Sequence[Definition]:
        """Returns every definition, by id."""
        return [_definition(row) for row in await self._connection.all(_EVERY, self._of())]

    async def page(self, after: str | None, most: int) -> Sequence[Definition]:
        """Returns a page of definitions by id."""
        # Every id sorts after an empty text.
        rows = await self._connection.all(_PAGE, {**self._of(), "after": after or "", "most": most})
        return [_definition(row) for row in rows]

    async def count(self) -> int:
        """Returns the number of definitions, and blocks additions until this transaction ends."""
        await self._connection.value(_ALONE, {"tenant": self._tenant_id})
        return int(await self._connection.value(_COUNT, self._of()))

    async def save(self, definition: Definition, saved_by: str, now: datetime) -> Definition | None:
        """Adds a definition of version 0, or replaces the one of its version."""
        created_at = definition.created_at or now
        next_one = replace(definition, version=definition.version + 1, created_at=created_at, updated_at=now)
        values = {
            "document": storable_json(as_document(definition)),
            "version": next_one.version,
            "saved_by": saved_by,
            "updated_at": now,
        }
        if definition.version:
            same = self._of(definition_id=definition.definition_id, version=definition.version)
            changed = await self._connection.change(_SAVE, {**same, **values})
        else:
            key = {"tenant_id": self._tenant_id, "definition_id": definition.definition_id}
            changed = await self._connection.change(_ADD, {**key, **values, "created_at": now})
        return next_one if changed else None

    async def remove(self, definition_id: str) -> bool:
        """Removes a definition; False when there was none."""
        return await self._connection.change(_REMOVE, self._of(definition_id=definition_id)) > 0


def _definition(row: Row) -> Definition:
    # Checked when it was saved; whether the signal channel is on is the deployment's decision at each use.
    found = parse(row.document, lambda _: (), signals=True)
    return replace(found, version=row.version, created_at=row.created_at, updated_at=row.updated_at)
