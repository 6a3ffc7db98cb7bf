"""Repository of approval delegations in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from models.tables.approvals import ApprovalDelegationRow
from taskforce.core.domain.approvals.records import Delegation
from taskforce.infrastructure.persistence.connection import Query
from taskforce.infrastructure.persistence.repository import Repository, table, where

_DELEGATIONS = table(ApprovalDelegationRow)
_OF = Query(sa.select(_DELEGATIONS).where(where(_DELEGATIONS, "user_id")))
_NOW = sa.bindparam("now", type_=_DELEGATIONS.c.since.type)
_TO = Query(
    sa.select(_DELEGATIONS.c.user_id)
    .where(where(_DELEGATIONS, "delegate_id"), _DELEGATIONS.c.since <= _NOW, _DELEGATIONS.c.until > _NOW)
    .order_by(_DELEGATIONS.c.user_id)
)
_ADDING = insert(_DELEGATIONS)
_CHANGED = {name: _ADDING.excluded[name] for name in ("delegate_id", "since", "until")}
_SAVE = Query(_ADDING.on_conflict_do_update(index_elements=["tenant_id", "user_id"], set_=_CHANGED))
_REMOVE = Query(sa.delete(_DELEGATIONS).where(where(_DELEGATIONS, "user_id")))


class DelegationRepository(Repository):
    """Stores delegations; fulfils `Delegations`."""

    async def of(self, user_id: str) -> Delegation | None:
        """Returns a user's delegation, in force now or later."""
        row = await self._connection.first(_OF, self._of(user_id=user_id))
        return None if row is None else Delegation(row.user_id, row.delegate_id, row.since, row.until)

    async def to(self, delegate_id: str, now: datetime) -> Sequence[str]:
        """Returns the users for whom somebody decides now."""
        rows = await self._connection.all(_TO, {**self._of(delegate_id=delegate_id), "now": now})
        return [row.user_id for row in rows]

    async def save(self, delegation: Delegation) -> None:
        """Stores a delegation in place of an earlier one."""
        values = {
            "tenant_id": self._tenant_id,
            "user_id": delegation.user_id,
            "delegate_id": delegation.delegate_id,
            "since": delegation.since,
            "until": delegation.until,
        }
        await self._connection.change(_SAVE, values)

    async def remove(self, user_id: str) -> bool:
        """Ends a delegation; False when there was none."""
        return await self._connection.change(_REMOVE, self._of(user_id=user_id)) > 0
