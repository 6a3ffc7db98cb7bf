"""Users in PostgreSQL."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from models.tables.users import UserRow
from taskforce.core.domain.access import UserRecord
from taskforce.infrastructure.persistence.rows import Repository, storable, table

_USERS = table(UserRow)


class UserRows(Repository):
    """See `Users`."""

    async def get(self, user_id: str) -> UserRecord | None:
        """The user, if the tenant has one of that id."""
        return await self._one(sa.select(_USERS), user_id)

    async def locked(self, user_id: str) -> UserRecord | None:
        """The user, whom nobody else changes before this transaction ends."""
        return await self._one(sa.select(_USERS).with_for_update(), user_id)

    async def _one(self, query: sa.Select[Any], user_id: str) -> UserRecord | None:
        # Who decides by a signal only claims an id; one that cannot be stored names nobody.
        if storable(user_id) != user_id:
            return None
        of_user = query.where(_USERS.c.tenant_id == self._tenant_id, _USERS.c.user_id == user_id)
        row = (await self._connection.execute(of_user)).one_or_none()
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
        statement = insert(_USERS).values({**fixed, **seen})
        await self._connection.execute(
            statement.on_conflict_do_update(index_elements=["tenant_id", "user_id"], set_=seen)
        )
