"""Repository of kill switches in PostgreSQL."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from models.tables.kill_switches import KillSwitchRow
from taskforce.core.domain.runs.kill_switches import KillSwitch, ListedSwitch, SwitchScope, SwitchTarget
from taskforce.infrastructure.persistence.connection import Query, Row
from taskforce.infrastructure.persistence.repository import Codec, Repository, storable, table, where

_SWITCHES = table(KillSwitchRow)
_CODEC = Codec(tuple[KillSwitch, ...])
# Literal, as the partial index has it: PostgreSQL would not use it with a parameter.
_OF_ALL = sa.text("kill_switches.scope = 'installation'")
AGENT = sa.bindparam("agent", type_=sa.Text)


def halting(tenant_id: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    """Returns the condition that a switch halts the agent `AGENT` of a tenant."""
    own = sa.and_(_SWITCHES.c.tenant_id == tenant_id, _SWITCHES.c.agent_id.in_([sa.literal(""), AGENT]))
    return sa.or_(own, _OF_ALL)


def switches_beside(tenants: sa.Table) -> sa.ScalarSelect[object]:
    """Returns the subquery of the switches that halt the agent `AGENT` of a tenant, as JSON for `switches_of`."""
    found = sa.func.jsonb_agg(sa.literal_column("to_jsonb(kill_switches)"))
    return sa.select(found).where(halting(tenants.c.tenant_id)).correlate(tenants).scalar_subquery()


def switches_of(found: object) -> tuple[KillSwitch, ...]:
    """Restores the switches that `switches_beside` found."""
    switches: tuple[KillSwitch, ...] = _CODEC.load(found or ())
    return switches


_TENANT = sa.bindparam("of_tenant_id", type_=sa.Text)
_HALTING = Query(sa.select(_SWITCHES).where(halting(_TENANT)), beside=True)
_READ = Query(sa.select(_SWITCHES).where(where(_SWITCHES, "scope", "agent_id")))
_READ_OF_ALL = Query(sa.select(_SWITCHES).where(_OF_ALL).order_by(_SWITCHES.c.pulled_at).limit(1))
_PLACE = (_SWITCHES.c.tenant_id, _SWITCHES.c.scope, _SWITCHES.c.agent_id)
_ADD = Query(insert(_SWITCHES).on_conflict_do_nothing())
_REMOVE = Query(sa.delete(_SWITCHES).where(where(_SWITCHES, "scope", "agent_id")))


def switch_page(after: tuple[str, str, str] | None, most: int) -> sa.Select[Any]:
    """Returns the query of a page of pulled switches after a place; `listed` restores its rows."""
    query = sa.select(_SWITCHES).order_by(*_PLACE).limit(most)
    place = None if after is None else sa.tuple_(*(sa.literal(part, sa.Text) for part in map(storable, after)))
    return query if place is None else query.where(sa.tuple_(*_PLACE) > place)


def listed(row: Row) -> ListedSwitch:
    """Restores a switch of a list."""
    return ListedSwitch(row.tenant_id, _switch(row))


class KillSwitchRepository(Repository):
    """Stores pulled kill switches; fulfils `KillSwitches`."""

    async def halting(self, agent_id: str) -> Sequence[KillSwitch]:
        """Returns the pulled switches that halt an agent of the tenant."""
        rows = await self._connection.all(_HALTING, {**self._of(), "agent": agent_id})
        return [_switch(row) for row in rows]

    async def get(self, target: SwitchTarget) -> KillSwitch | None:
        """Returns a pulled switch; None when it is not pulled."""
        if target.scope is SwitchScope.INSTALLATION:
            row = await self._connection.first(_READ_OF_ALL, {})
        else:
            row = await self._connection.first(_READ, self._named(target))
        return None if row is None else _switch(row)

    async def page(self, after: tuple[str, str, str] | None, most: int) -> Sequence[ListedSwitch]:
        """Returns a page of the tenant's pulled switches and that of the installation, after a place."""
        visible = sa.or_(_SWITCHES.c.tenant_id == self._tenant_id, _OF_ALL)
        return [listed(row) for row in await self._connection.all(switch_page(after, most).where(visible))]

    async def add(self, switch: KillSwitch) -> bool:
        """Adds a pulled switch; False when it is pulled already, which stays unchanged."""
        values = {
            "tenant_id": self._tenant_id,
            "scope": switch.scope.value,
            "agent_id": switch.agent_id,
            "reason": storable(switch.reason),
            "pulled_by": switch.pulled_by,
            "pulled_at": switch.pulled_at,
        }
        return await self._connection.change(_ADD, values) > 0

    async def remove(self, target: SwitchTarget) -> bool:
        """Removes a pulled switch; False when it is not pulled."""
        return await self._connection.change(_REMOVE, self._named(target)) > 0

    def _named(self, target: SwitchTarget) -> dict[str, object]:
        return self._of(scope=target.scope.value, agent_id=storable(target.agent_id))


def _switch(row: Row) -> KillSwitch:
    return KillSwitch(SwitchScope(row.scope), row.agent_id, row.reason, row.pulled_by, row.pulled_at)
