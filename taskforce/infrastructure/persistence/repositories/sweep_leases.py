"""Repository of the leases of sweeps in PostgreSQL, a row each: unlike an advisory lock it needs no session of its own,
which PgBouncer in transaction mode does not give.
"""

from collections.abc import Collection
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert

from models.tables.sweep_leases import SweepLeaseRow
from taskforce.infrastructure.persistence.connection import Connection, Query
from taskforce.infrastructure.persistence.repository import table

_LEASES = table(SweepLeaseRow)
NO_TENANT = ""
# The database's clock, and not that of a caller: of two workers whose clocks differ, each would see the other's lease
# as expired. And not the time at which the transaction began: it may have waited for the row.
_NOW = sa.func.clock_timestamp()
_HOLDER = sa.bindparam("holder", type_=sa.Text())


def _holding() -> Query:
    wanted = sa.select(sa.func.unnest(sa.bindparam("sweeps", type_=ARRAY(sa.Text()))).label("sweep")).subquery()
    until = _NOW + sa.bindparam("lease", type_=sa.Interval())
    others = sa.exists().where(
        _LEASES.c.tenant_id == NO_TENANT,
        _LEASES.c.sweep == wanted.c.sweep,
        _LEASES.c.holder != _HOLDER,
        _LEASES.c.expires_at > _NOW,
    )
    # Who does not get a lease only reads. In the order of the names, so that two that take them wait, and do not jam.
    free = sa.select(sa.literal(NO_TENANT), wanted.c.sweep, _HOLDER, until).where(~others).order_by(wanted.c.sweep)
    taken = insert(_LEASES).from_select(["tenant_id", "sweep", "holder", "expires_at"], free)
    return Query(
        taken.on_conflict_do_update(
            index_elements=["tenant_id", "sweep"],
            set_={"holder": taken.excluded.holder, "expires_at": taken.excluded.expires_at},
            # Asked once more of the locked row, which another worker may have taken meanwhile.
            where=sa.or_(_LEASES.c.holder == taken.excluded.holder, _LEASES.c.expires_at <= _NOW),
        ).returning(_LEASES.c.sweep)
    )


_HOLD = _holding()
_RELEASE = Query(
    sa.update(_LEASES).where(_LEASES.c.tenant_id == NO_TENANT, _LEASES.c.holder == _HOLDER).values(expires_at=_NOW)
)


class SweepLeaseRepository:
    """Stores leases within a transaction of the platform's scope, whose tenant is empty."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def hold(self, sweeps: Collection[str], holder: str, lease: timedelta) -> frozenset[str]:
        """Takes free and expired leases and renews the holder's; returns those that it has now."""
        rows = await self._connection.all(_HOLD, {"sweeps": sorted(sweeps), "holder": holder, "lease": lease})
        return frozenset(row.sweep for row in rows)

    async def release(self, holder: str) -> None:
        """Ends the leases of a holder now."""
        await self._connection.change(_RELEASE, {"holder": holder})
