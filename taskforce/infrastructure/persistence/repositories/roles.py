"""Repository of a tenant's roles, and of roles on single resources, in PostgreSQL."""

from collections.abc import Collection, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from models.tables.access import ApiKeyRow, ResourceGrantRow, RoleRow
from models.tables.columns import TEXTS, TIME
from models.tables.users import UserRow
from taskforce.core.domain.identity.resource_roles import ResourceGrant
from taskforce.core.interfaces.identity import Permission, ResourceType, Role
from taskforce.core.interfaces.repositories.identity import RoleUse
from taskforce.infrastructure.persistence.connection import Query, Row
from taskforce.infrastructure.persistence.repository import Repository, storable, storable_json, table, where

_ROLES, _GRANTS, _USERS, _KEYS = table(RoleRow), table(ResourceGrantRow), table(UserRow), table(ApiKeyRow)
_KEY = ("user_id", "role_id", "resource_type", "resource_id")
_ALL = Query(sa.select(_ROLES).where(where(_ROLES)).order_by(_ROLES.c.role_id))
_LOCK = Query(sa.select(_ROLES).where(where(_ROLES, "role_id")).with_for_update())
_WANTED = _ROLES.c.role_id == sa.any_(sa.bindparam("wanted", type_=TEXTS))
# Locked in the order of their ids: two transactions that lock the same roles cannot deadlock.
_SHARE = Query(sa.select(_ROLES).where(where(_ROLES), _WANTED).order_by(_ROLES.c.role_id).with_for_update(read=True))
_ADD = Query(insert(_ROLES).on_conflict_do_nothing())
_CHANGED = ("name", "description", "permissions", "metadata", "updated_at")
_SAVE = Query(sa.update(_ROLES).where(where(_ROLES, "role_id")), sets=_CHANGED)
_REMOVE = Query(sa.delete(_ROLES).where(where(_ROLES, "role_id")))
_NAMED = sa.bindparam("named", type_=TEXTS)
_NOW = sa.bindparam("now", type_=TIME)
_ACTIVE = sa.and_(_KEYS.c.revoked_at.is_(None), _KEYS.c.expires_at > _NOW)
_GRANTED = sa.and_(
    _GRANTS.c.role_id == sa.any_(_NAMED), sa.or_(_GRANTS.c.expires_at.is_(None), _GRANTS.c.expires_at > _NOW)
)
_LENT_UNTIL = sa.cast(_USERS.c.lent_roles[sa.bindparam("lent", type_=sa.Text)].astext, TIME)
_HELD = sa.or_(_USERS.c.granted_roles.op("@>")(_NAMED), _LENT_UNTIL > _NOW)


def _count(source: sa.Table, *conditions: sa.ColumnElement[bool]) -> sa.ScalarSelect[int]:
    return sa.select(sa.func.count()).select_from(source).where(where(source), *conditions).scalar_subquery()


_USE = Query(
    sa.select(
        _count(_USERS, _HELD).label("users"),
        _count(_KEYS, _KEYS.c.roles.op("@>")(_NAMED), _ACTIVE).label("api_keys"),
        _count(_GRANTS, _GRANTED).label("resource_grants"),
        _count(_USERS, _USERS.c.claimed_roles.op("@>")(_NAMED)).label("claims"),
    )
)
_GRANTS_OF = Query(sa.select(_GRANTS).where(where(_GRANTS, "user_id")).order_by(*(_GRANTS.c[name] for name in _KEY)))

_UNTIL = sa.bindparam("of_until", type_=TIME)
_SOONER = sa.or_(_UNTIL.is_(None), _GRANTS.c.expires_at < _UNTIL)
# A grant that ends sooner gives way to the new one; a longer one stays, and the insert then finds it.
_OUTLAST = Query(sa.delete(_GRANTS).where(where(_GRANTS, *_KEY), _GRANTS.c.expires_at.is_not(None), _SOONER))
_GRANT = Query(insert(_GRANTS).on_conflict_do_nothing())
_WITHDRAW = Query(sa.delete(_GRANTS).where(where(_GRANTS, *_KEY)))
_WITHDRAW_ALL = Query(sa.delete(_GRANTS).where(where(_GRANTS, "resource_type", "resource_id")))


class RoleRepository(Repository):
    """Stores the tenant's own roles, and roles granted on one resource; fulfils `Roles`."""

    async def all(self) -> Sequence[Role]:
        """Returns every role of the tenant's own, by id."""
        return [_role(row) for row in await self._connection.all(_ALL, self._of())]

    async def locked(self, role_id: str) -> Role | None:
        """Returns the role, locked until this transaction ends."""
        # A path may name any text; one that cannot be stored names no row.
        if storable(role_id) != role_id:
            return None
        row = await self._connection.first(_LOCK, self._of(role_id=role_id))
        return None if row is None else _role(row)

    async def shared(self, role_ids: Collection[str]) -> Sequence[Role]:
        """Returns those of these roles that exist, locked against changes until this transaction ends."""
        wanted = [name for name in role_ids if storable(name) == name]
        return [_role(row) for row in await self._connection.all(_SHARE, {**self._of(), "wanted": wanted})]

    async def use(self, role_id: str, now: datetime) -> RoleUse:
        """Returns the holders of a role name, whether or not such a role exists."""
        row = await self._connection.one(_USE, {**self._of(), "named": [role_id], "lent": role_id, "now": now})
        return RoleUse(row.users, row.api_keys, row.resource_grants, row.claims)

    async def add(self, role: Role, maker_id: str, now: datetime) -> bool:
        """Adds a role; False when one of that id exists."""
        made = {"tenant_id": self._tenant_id, "created_by": maker_id, "created_at": now}
        return await self._connection.change(_ADD, {**made, **_values(role, now)}) > 0

    async def save(self, role: Role, now: datetime) -> None:
        """Replaces what may change."""
        await self._connection.change(_SAVE, {**self._of(role_id=role.role_id), **_values(role, now)})

    async def remove(self, role_id: str) -> bool:
        """Removes a role; False when there was none."""
        return await self._connection.change(_REMOVE, self._of(role_id=role_id)) > 0

    async def grants(self, user_id: str) -> Sequence[ResourceGrant]:
        """Returns the roles that a user holds on single resources."""
        rows = await self._connection.all(_GRANTS_OF, self._of(user_id=user_id))
        return [_grant(row) for row in rows]

    async def grant(self, grant: ResourceGrant, granted_by: str, now: datetime) -> bool:
        """Grants a role on one resource; False when it was granted before, for at least as long."""
        made = {
            "tenant_id": self._tenant_id,
            "granted_by": granted_by,
            "at": now,
            "expires_at": grant.expires_at,
        }
        await self._connection.change(_OUTLAST, self._of(**_key(grant), until=grant.expires_at))
        return await self._connection.change(_GRANT, {**made, **_key(grant)}) > 0

    async def withdraw(self, grant: ResourceGrant) -> bool:
        """Revokes a role on one resource; False when there was none."""
        return await self._connection.change(_WITHDRAW, self._of(**_key(grant))) > 0

    async def withdraw_all(self, resource_type: ResourceType, resource_id: str) -> int:
        """Revokes everybody's roles on one resource; returns their number."""
        gone = self._of(resource_type=resource_type.value, resource_id=resource_id)
        return await self._connection.change(_WITHDRAW_ALL, gone)


def _key(grant: ResourceGrant) -> dict[str, object]:
    return {
        "user_id": grant.user_id,
        "role_id": grant.role_id,
        "resource_type": grant.resource_type.value,
        "resource_id": storable(grant.resource_id),
    }


def _grant(row: Row) -> ResourceGrant:
    return ResourceGrant(row.user_id, row.role_id, ResourceType(row.resource_type), row.resource_id, row.expires_at)


def _values(role: Role, now: datetime) -> dict[str, object]:
    return {
        "role_id": role.role_id,
        "name": storable(role.name),
        "description": storable(role.description),
        "permissions": sorted(permission.value for permission in role.permissions),
        "metadata": storable_json(role.metadata),
        "updated_at": now,
    }


def _role(row: Row) -> Role:
    return Role(
        role_id=row.role_id,
        name=row.name,
        description=row.description,
        permissions=frozenset(Permission(value) for value in row.permissions),
        tenant_id=row.tenant_id,
        metadata=row.metadata,
    )
