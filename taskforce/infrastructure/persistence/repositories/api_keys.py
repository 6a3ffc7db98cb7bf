"""Repository of API keys in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from models.tables.access import ApiKeyRow
from taskforce.core.domain.identity.api_keys import ApiKey
from taskforce.core.domain.paging import Page
from taskforce.infrastructure.persistence.connection import Query, Row
from taskforce.infrastructure.persistence.repository import Repository, newest, storable, storable_json, table, where

KEYS = table(ApiKeyRow)
_ADD = Query(sa.insert(KEYS))
_GET = Query(sa.select(KEYS).where(where(KEYS, "key_id")))
_OPEN = sa.and_(where(KEYS, "key_id"), KEYS.c.revoked_at.is_(None))
_REVOKE = Query(sa.update(KEYS).where(_OPEN), sets=("revoked_at",))
_USED = Query(sa.update(KEYS).where(where(KEYS, "key_id")), sets=("last_used_at",))


class ApiKeyRepository(Repository):
    """Stores API keys; fulfils `ApiKeys`."""

    async def add(self, key: ApiKey) -> None:
        """Adds a key."""
        await self._connection.change(_ADD, _values(key))

    async def get(self, key_id: str) -> ApiKey | None:
        """Returns one key."""
        row = await self._connection.first(_GET, self._of(key_id=key_id))
        return None if row is None else key_of(row)

    async def page(self, before: tuple[datetime, str] | None, most: int) -> Sequence[ApiKey]:
        """Returns a page of keys, newest first."""
        query = sa.select(KEYS).where(KEYS.c.tenant_id == self._tenant_id)
        listed = newest(query, KEYS.c.created_at, KEYS.c.key_id, Page(most, before))
        return [key_of(row) for row in await self._listed(listed)]

    async def revoke(self, key_id: str, now: datetime) -> bool:
        """Revokes a key; False when it was revoked before, or does not exist."""
        return await self._connection.change(_REVOKE, {**self._of(key_id=key_id), "revoked_at": now}) > 0

    async def used(self, key_id: str, now: datetime) -> None:
        """Stores the time of a key's use."""
        await self._connection.change(_USED, {**self._of(key_id=key_id), "last_used_at": now})


def _values(key: ApiKey) -> dict[str, object]:
    return {
        "tenant_id": key.tenant_id,
        "key_id": key.key_id,
        "user_id": key.user_id,
        "name": storable(key.name),
        "prefix": key.prefix,
        "hash": key.hash,
        "roles": sorted(key.roles),
        "metadata": storable_json(key.metadata),
        "created_by": key.created_by,
        "created_by_key": key.created_by_key,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "last_used_at": key.last_used_at,
        "revoked_at": key.revoked_at,
    }


def key_of(row: Row) -> ApiKey:
    """Builds the key of a row."""
    return ApiKey(
        key_id=row.key_id,
        tenant_id=row.tenant_id,
        user_id=row.user_id,
        name=row.name,
        roles=frozenset(row.roles),
        created_at=row.created_at,
        created_by=row.created_by,
        created_by_key=row.created_by_key,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        revoked_at=row.revoked_at,
        metadata=row.metadata,
        hash=row.hash,
        prefix=row.prefix,
    )
