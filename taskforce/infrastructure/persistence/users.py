"""Users in PostgreSQL."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from models.tables.users import UserRow
from taskforce.core.domain.access import UserRecord
from taskforce.infrastructure.persistence.connection import Query
from taskforce.infrastructure.persistence.rows import Repository, storable, table, where

_USERS = table(UserRow)
_GET = sa.select(_USERS).where(where(_USERS, "user_id"))
_READ, _LOCK = Query(_GET), Query(_GET.with_for_update())
_FIXED = {"tenant_id", "user_id", "created_at"}


def _save() -> sa.ClauseElement:
    adding = insert(_USERS)
    seen = {column.name: adding.excluded[column.name] for column in _USERS.c if column.name not in _FIXED}
    return adding.on_conflict_do_update(index_elements=["tenant_id", "user_id"], set_=seen)


_SAVE = Query(_save())


class UserRows(Repository):
    """See `Users`."""

    async def get(self, user_id: str) -> UserRecord | None:
        """The user, if the tenant has one of that id."""
        return await self._one(_READ, user_id)

    async def locked(self, user_id: str) -> UserRecord | None:
        """The user, whom nobody else changes before this transaction ends."""
        return await self._one(_LOCK, user_id)

    async def _one(self, query: Query, user_id: str) -> UserRecord | None:
        # Who decides by a signal only claims an id; one that cannot be stored names nobody.
        if storable(user_id) != user_id:
            return None
        row = await self._connection.first(query, self._of(user_id=user_id))
        if row is None:
            return None
        return UserRecord(
            tenant_id=row.tenant_id,
            user_id=row.user_id,
            username=row.username,
            email=row.email,
            active=row.active,
            granted_roles=frozenset(row.granted_roles),
            claimed_roles=frozenset(row.claimed_roles),
            claims_seen_at=row.claims_seen_at,
            claims_issued_at=row.claims_issued_at,
        )

    async def save(self, user: UserRecord, now: datetime) -> None:
        """Inserts the user, or replaces what may change; who changes a user reads it `locked` first."""
        seen = {
            "username": storable(user.username),
            "email": None if user.email is None else storable(user.email),
            "active": user.active,
            "granted_roles": sorted(user.granted_roles),
            "claimed_roles": sorted(user.claimed_roles),
            "claims_seen_at": user.claims_seen_at,
            "claims_issued_at": user.claims_issued_at,
            "updated_at": now,
        }
        fixed = {"tenant_id": self._tenant_id, "user_id": user.user_id, "attributes": {}, "created_at": now}
        await self._connection.change(_SAVE, {**fixed, **seen})
