"""Repository of users in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from models.tables.runs import RunRow
from models.tables.users import UserRow
from taskforce.core.domain.identity.users import UserRecord
from taskforce.core.domain.runs.kill_switches import RunStop
from taskforce.core.domain.tenants.tenant import Tenant
from taskforce.core.interfaces.repositories.identity import UserFilter
from taskforce.infrastructure.persistence.connection import Query, Row
from taskforce.infrastructure.persistence.repositories.approval_definitions import mark_beside
from taskforce.infrastructure.persistence.repositories.kill_switches import switches_beside, switches_of
from taskforce.infrastructure.persistence.repositories.tenants import TENANTS, tenant_of
from taskforce.infrastructure.persistence.repository import Repository, storable, storable_json, table, where

_USERS, _RUNS = table(UserRow), table(RunRow)
_GET = sa.select(_USERS).where(where(_USERS, "user_id"))
_READ, _LOCK = Query(_GET), Query(_GET.with_for_update())
_ADD = Query(insert(_USERS).on_conflict_do_nothing())
_FIXED = {"tenant_id", "user_id", "created_at"}

_OWN = {f"tenant_{column.name}": column for column in TENANTS.c}
_WHO = sa.and_(_USERS.c.tenant_id == TENANTS.c.tenant_id, _USERS.c.user_id == sa.bindparam("who"))
_BOTH = (
    sa.select(*(column.label(name) for name, column in _OWN.items()), _USERS)
    # Outer: a tenant without this user is told from one that does not exist.
    .select_from(TENANTS.outerjoin(_USERS, _WHO))
    .where(where(TENANTS))
)
_STANDING = Query(_BOTH, beside=True)
_CANCELLED = (
    sa.select(_RUNS.c.cancel_at.is_not(None))
    .where(_RUNS.c.tenant_id == TENANTS.c.tenant_id, _RUNS.c.run_id == sa.bindparam("run_id"))
    .correlate(TENANTS)
    .scalar_subquery()
)
_BESIDE = (
    switches_beside(TENANTS).label("switches"),
    _CANCELLED.label("cancelled"),
    mark_beside(TENANTS).label("definitions_mark"),
)
_RUN_STANDING = Query(_BOTH.add_columns(*_BESIDE), beside=True)


def _save() -> sa.ClauseElement:
    adding = insert(_USERS)
    seen = {column.name: adding.excluded[column.name] for column in _USERS.c if column.name not in _FIXED}
    return adding.on_conflict_do_update(index_elements=["tenant_id", "user_id"], set_=seen)


_SAVE = Query(_save())


class UserRepository(Repository):
    """Stores users: people and service accounts; fulfils `Users`."""

    async def get(self, user_id: str) -> UserRecord | None:
        """Returns the user, if the tenant has one of that id."""
        return await self._one(_READ, user_id)

    async def locked(self, user_id: str) -> UserRecord | None:
        """Returns the user, locked until this transaction ends."""
        return await self._one(_LOCK, user_id)

    async def _one(self, query: Query, user_id: str) -> UserRecord | None:
        # A signal claims an unchecked user id; one that cannot be stored names nobody.
        if storable(user_id) != user_id:
            return None
        row = await self._connection.first(query, self._of(user_id=user_id))
        return None if row is None else _user(row)

    async def principal(self, user_id: str) -> tuple[Tenant | None, UserRecord | None]:
        """Returns the tenant and the user by one query."""
        row = await self._connection.first(_STANDING, {**self._of(), "who": _findable(user_id)})
        return _tenant_and_user(row)

    async def run_principal(
        self, user_id: str, agent_id: str, run_id: str
    ) -> tuple[Tenant | None, UserRecord | None, RunStop, str]:
        """Returns the tenant, the user, what stops a run of an agent, and the mark of the definitions, by one query."""
        asked = {**self._of(), "who": _findable(user_id), "agent": agent_id, "run_id": run_id}
        row = await self._connection.first(_RUN_STANDING, asked)
        stop, mark = (RunStop(), "") if row is None else (_run_stop(row), row.definitions_mark)
        return *_tenant_and_user(row), stop, mark

    async def page(self, which: UserFilter, after: str | None, most: int) -> Sequence[UserRecord]:
        """Returns a page of users by id."""
        query = sa.select(_USERS).where(_USERS.c.tenant_id == self._tenant_id).order_by(_USERS.c.user_id).limit(most)
        wanted = {"kind": which.kind, "active": which.active}
        for name, value in wanted.items():
            query = query if value is None else query.where(_USERS.c[name] == value)
        later = query if after is None else query.where(_USERS.c.user_id > after)
        return [_user(row) for row in await self._listed(later)]

    async def add(self, user: UserRecord, now: datetime) -> bool:
        """Inserts the user; False when one of that id exists, who stays unchanged."""
        return await self._connection.change(_ADD, self._values(user, now)) > 0

    async def save(self, user: UserRecord, now: datetime) -> None:
        """Inserts the user, or replaces what may change; read the user `locked` before a change."""
        await self._connection.change(_SAVE, self._values(user, now))

    def _values(self, user: UserRecord, now: datetime) -> dict[str, object]:
        return {
            "tenant_id": self._tenant_id,
            "user_id": user.user_id,
            "created_at": now,
            "username": storable(user.username),
            "email": None if user.email is None else storable(user.email),
            "active": user.active,
            "granted_roles": sorted(user.granted_roles),
            "claimed_roles": sorted(user.claimed_roles),
            "claims_seen_at": user.claims_seen_at,
            "claims_issued_at": user.claims_issued_at,
            "updated_at": now,
            "kind": user.kind,
            "attributes": storable_json(user.attributes),
            "lent_roles": {role: until.isoformat() for role, until in sorted(user.lent_roles.items())},
        }


def _findable(user_id: str) -> str:
    # A signal claims an unchecked user id; one that cannot be stored names nobody.
    return user_id if storable(user_id) == user_id else ""


def _run_stop(row: Row) -> RunStop:
    return RunStop(switches_of(row.switches), is_cancelled=bool(row.cancelled))


def _tenant_and_user(row: Row | None) -> tuple[Tenant | None, UserRecord | None]:
    if row is None:
        return None, None
    return tenant_of(row, "tenant_"), None if row.user_id is None else _user(row)


def _user(row: Row) -> UserRecord:
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
        kind=row.kind,
        attributes=row.attributes,
        lent_roles={role: datetime.fromisoformat(until) for role, until in row.lent_roles.items()},
    )
