"""Repository of service statistics in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, array, insert

from models.tables.service_statistics import ServiceStatisticsRow
from taskforce.core.domain.metering.service_levels import BOUNDS, ServiceKind, ServiceStatistics
from taskforce.core.interfaces.repositories.service_statistics import MinuteStatistics, NamedStatistics
from taskforce.infrastructure.persistence.connection import Query, Row
from taskforce.infrastructure.persistence.repository import Repository, storable, table, where

_ROWS = table(ServiceStatisticsRow)
_KEY = ("tenant_id", "kind", "minute", "name", "status_class", "process_id")
_SUMS = ("count", "errors", "sum_seconds", "max_seconds", "counts")


def _saving() -> Query:
    columns = [sa.column(name, _ROWS.c[name].type) for name in (*_KEY[1:], *_SUMS)]
    rows = sa.func.jsonb_to_recordset(sa.bindparam("minutes", type_=JSONB)).table_valued(*columns, name="given")
    given = rows.render_derived(with_types=True).c
    # In the order of the key, so that no two transactions wait for each other.
    read = sa.select(sa.bindparam("tenant", type_=sa.Text()), *given).order_by(*(given[name] for name in _KEY[1:]))
    saved = insert(_ROWS).from_select([*_KEY, *_SUMS], read)
    return Query(saved.on_conflict_do_update(index_elements=_KEY, set_={name: saved.excluded[name] for name in _SUMS}))


def _sums() -> list[sa.ColumnElement[Any]]:
    counts = [sa.func.sum(_ROWS.c.counts[number + 1]) for number in range(len(BOUNDS) + 1)]
    return [
        sa.func.sum(_ROWS.c.count).label("requests"),
        sa.func.sum(_ROWS.c.errors).label("errors"),
        sa.func.sum(_ROWS.c.sum_seconds).label("seconds"),
        sa.func.max(_ROWS.c.max_seconds).label("longest"),
        array(counts).label("counts"),
    ]


_PERIOD = sa.and_(
    where(_ROWS),
    _ROWS.c.kind == sa.any_(sa.bindparam("kinds", type_=ARRAY(sa.Text()))),
    _ROWS.c.minute >= sa.bindparam("since", type_=_ROWS.c.minute.type),
    _ROWS.c.minute < sa.bindparam("until", type_=_ROWS.c.minute.type),
)
_AFTER = sa.tuple_(sa.bindparam("after_kind", type_=sa.Text()), sa.bindparam("after_name", type_=sa.Text()))
_BY_NAME = Query(
    sa.select(_ROWS.c.kind, _ROWS.c.name, *_sums())
    .where(_PERIOD, sa.tuple_(_ROWS.c.kind, _ROWS.c.name) > _AFTER)
    .group_by(_ROWS.c.kind, _ROWS.c.name)
    .order_by(_ROWS.c.kind, _ROWS.c.name)
    .limit(sa.bindparam("most", type_=sa.Integer()))
)
_TOTAL = Query(sa.select(*_sums()).where(_PERIOD))
_SAVE = _saving()


def _dropping() -> Query:
    old: sa.Select[Any] = sa.select(sa.literal_column("ctid")).select_from(_ROWS)
    some = old.where(where(_ROWS), _ROWS.c.minute < sa.bindparam("before", type_=_ROWS.c.minute.type))
    first = sa.func.array(some.limit(sa.bindparam("most", type_=sa.Integer())).scalar_subquery())
    return Query(sa.delete(_ROWS).where(where(_ROWS), sa.literal_column("ctid") == sa.any_(first)))


_DROP = _dropping()


class ServiceStatisticsRepository(Repository):
    """Stores and adds up service statistics; fulfils `StatisticsRepository`."""

    async def save(self, minutes: Sequence[MinuteStatistics]) -> None:
        """Stores sums in place of those that the same process has stored of the same minute."""
        await self._connection.change(_SAVE, {"tenant": self._tenant_id, "minutes": [_plain(one) for one in minutes]})

    async def sums(
        self,
        kinds: Sequence[ServiceKind],
        since: datetime,
        until: datetime,
        *,
        after: tuple[str, str] | None = None,
        most: int | None = None,
    ) -> Sequence[NamedStatistics]:
        """Adds up a period by name, over all processes."""
        place = after or ("", "")
        values = {**self._period(kinds, since, until), "after_kind": place[0], "after_name": place[1], "most": most}
        rows = await self._connection.all(_BY_NAME, values)
        return [NamedStatistics(ServiceKind(row.kind), row.name, _statistics(row)) for row in rows]

    async def total(self, kind: ServiceKind, since: datetime, until: datetime) -> ServiceStatistics:
        """Adds up a period over all names of a kind."""
        row = await self._connection.one(_TOTAL, self._period([kind], since, until))
        return ServiceStatistics() if row.requests is None else _statistics(row)

    async def drop(self, before: datetime, most: int) -> int:
        """Drops minutes that began before a time; returns how many rows there were."""
        return await self._connection.change(_DROP, {**self._of(), "before": before, "most": most})

    def _period(self, kinds: Sequence[ServiceKind], since: datetime, until: datetime) -> dict[str, object]:
        return {**self._of(), "kinds": [kind.value for kind in kinds], "since": since, "until": until}


def _plain(one: MinuteStatistics) -> dict[str, object]:
    sums = one.statistics
    return {
        "kind": one.kind.value,
        "minute": one.minute.isoformat(),
        "name": storable(one.name),
        "status_class": one.status_class,
        "process_id": one.process_id,
        "count": sums.requests,
        "errors": sums.errors,
        "sum_seconds": sums.seconds,
        "max_seconds": sums.longest,
        "counts": list(sums.counts),
    }


def _statistics(row: Row) -> ServiceStatistics:
    # Of what was counted by buckets of another number, those that are missing count nothing.
    counts = tuple(int(count or 0) for count in row.counts)
    return ServiceStatistics(int(row.requests), int(row.errors), float(row.seconds), float(row.longest), counts)
