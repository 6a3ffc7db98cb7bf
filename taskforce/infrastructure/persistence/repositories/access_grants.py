"""Repository of who created which account and granted which role, in PostgreSQL."""

from collections.abc import Collection, Iterable, Sequence

import sqlalchemy as sa

from models.tables.access import AccessGrantRow
from models.tables.columns import TEXTS
from taskforce.core.domain.identity.access_grants import AccessGrant
from taskforce.core.domain.ids import new_id
from taskforce.infrastructure.persistence.connection import Query
from taskforce.infrastructure.persistence.repository import Repository, storable, table, where

_GRANTS = table(AccessGrantRow)
_ADD = Query(sa.insert(_GRANTS))
_WHAT = (_GRANTS.c.user_id, _GRANTS.c.given_by, _GRANTS.c.role_id, _GRANTS.c.key_id)
_WHOSE = _GRANTS.c.user_id == sa.any_(sa.bindparam("whose", type_=TEXTS))
# Grouped instead of limited: granting and revoking a role over and over could push the oldest fact out of a limit.
_OF = Query(sa.select(*_WHAT, sa.func.max(_GRANTS.c.at).label("at")).where(where(_GRANTS), _WHOSE).group_by(*_WHAT))


class AccessGrantRepository(Repository):
    """Stores access grants, for the four-eyes check; fulfils `AccessGrants`."""

    async def add(self, grants: Iterable[AccessGrant]) -> None:
        """Stores a grant."""
        for one in grants:
            values = {
                "tenant_id": self._tenant_id,
                "grant_id": new_id(),
                "user_id": one.user_id,
                "role_id": None if one.role is None else storable(one.role),
                "given_by": one.given_by,
                "key_id": one.key_id,
                "at": one.at,
            }
            await self._connection.change(_ADD, values)

    async def of(self, user_ids: Collection[str]) -> Sequence[AccessGrant]:
        """Returns what these people were granted, each once, with its latest time."""
        whose = [one for one in sorted(user_ids) if storable(one) == one]
        rows = await self._connection.all(_OF, {**self._of(), "whose": whose})
        return [AccessGrant(row.user_id, row.given_by, row.at, row.role_id, row.key_id) for row in rows]
