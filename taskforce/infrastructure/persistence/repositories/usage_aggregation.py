"""The statement of an aggregation of usage: days, buckets, and the records that are in none yet."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from models.tables.tenants import TenantRow
from models.tables.usage import UsageRow
from models.tables.usage_buckets import UsageBucketRow, UsageDayRow
from taskforce.core.domain.metering.aggregation import (
    BUCKET_DIMENSIONS,
    COUNTS,
    UNPRICED_KINDS,
    AggregationQuery,
    UsageGroup,
    UsageSums,
)
from taskforce.core.domain.metering.periods import CalendarDays, TimeStep
from taskforce.infrastructure.persistence.connection import Row
from taskforce.infrastructure.persistence.repositories.usage_records import dimension, texts, within
from taskforce.infrastructure.persistence.repository import table, where

_BUCKETS, _DAYS, _RECORDS, _TENANTS = table(UsageBucketRow), table(UsageDayRow), table(UsageRow), table(TenantRow)
_COST, _QUANTITY, _CURRENCY, _PLACE = "cost", "quantity", "currency", "place"
_SUMMED = (*COUNTS, _COST, _QUANTITY)
_counts, _amounts = itemgetter(*COUNTS), itemgetter("currencies", "costs", _QUANTITY)
_ONE: sa.ColumnElement[int] = sa.literal_column("1")
_ZERO: sa.ColumnElement[int] = sa.literal_column("0")
_NO_TEXT: sa.ColumnElement[str] = sa.literal_column("''", type_=sa.Text())
_FAILED, _ESTIMATED = _RECORDS.c.error_code.is_not(None), _RECORDS.c.estimated.is_not(None)
_TOKENS = _RECORDS.c.input_tokens + _RECORDS.c.output_tokens
_UNPRICED = sa.and_(_RECORDS.c.cost.is_(None), sa.or_(*(_RECORDS.c.kind == kind for kind in UNPRICED_KINDS)))
# As the functions that write buckets add records up, see migration 0035.
_OF_RECORD: Mapping[str, sa.ColumnElement[Any]] = {
    "records": _ONE,
    "failed": sa.cast(_FAILED, sa.Integer),
    "wasted_tokens": sa.case((_FAILED, _TOKENS), else_=_ZERO),
    "estimated_tokens": sa.case((_ESTIMATED, _TOKENS), else_=_ZERO),
    "unpriced": sa.cast(_UNPRICED, sa.Integer),
    _COST: sa.func.coalesce(_RECORDS.c.cost, _ZERO),
    _QUANTITY: _ZERO,
}


def aggregation(query: AggregationQuery) -> sa.ClauseElement:
    """Builds the statement: a row by step and dimensions; beyond the most groups of all steps, one of their sums."""
    names = [f"of_{place}" for place in range(len(query.dimensions))]
    grouped = _grouped(query, names).cte("grouped")
    by = ["step", "rest", *names]
    each = _summed(_cut(query, grouped, names), [*by, _CURRENCY], sa.func.min(sa.column(_PLACE)).label(_PLACE)).cte()
    costs = (sa.func.array_agg(each.c[_CURRENCY]).label("currencies"), sa.func.array_agg(each.c[_COST]).label("costs"))
    return _summed(each, by, *costs).order_by(each.c.step, sa.func.min(each.c[_PLACE]))


def _cut(query: AggregationQuery, grouped: sa.CTE, names: Sequence[str]) -> sa.FromClause:
    """Takes the dimensions from those groups that are not told one by one."""
    if not names:
        return sa.select(grouped, sa.false().label("rest"), _ONE.label(_PLACE)).subquery()
    ranked = _ranked(grouped, names)
    rest = ranked.c[_PLACE] > sa.literal(query.groups, sa.BigInteger)
    same = sa.and_(*(grouped.c[name] == ranked.c[name] for name in names))
    return (
        sa.select(
            grouped.c.step,
            rest.label("rest"),
            *(sa.case((rest, _NO_TEXT), else_=grouped.c[name]).label(name) for name in names),
            *(grouped.c[name] for name in (_CURRENCY, *_SUMMED)),
            ranked.c[_PLACE],
        )
        .select_from(grouped.join(ranked, same))
        .subquery()
    )


def _ranked(grouped: sa.CTE, names: Sequence[str]) -> sa.CTE:
    """Orders the groups of all steps together: those that cost most first, then by tokens, records and quantity."""
    keys = [grouped.c[name] for name in names]
    tokens = grouped.c.input_tokens + grouped.c.output_tokens
    sizes = [sa.func.sum(size).desc() for size in (grouped.c[_COST], tokens, grouped.c.records, grouped.c[_QUANTITY])]
    place = sa.func.row_number().over(order_by=[*sizes, *keys]).label(_PLACE)
    return sa.select(*keys, place).group_by(*keys).cte("ranked")


def _grouped(query: AggregationQuery, names: Sequence[str]) -> sa.SelectBase:
    """Sums up each table by itself: several processes take part in that, but in no union. A group may come twice."""
    by = ("step", *names, _CURRENCY)
    records = _summed(_of_records(query, names).subquery(), by)
    if query.reads_records:
        return records
    sums = (_summed(each.subquery(), by) for each in _sources(query, names))
    return sa.union_all(*sums, records)


def _sources(query: AggregationQuery, names: Sequence[str]) -> Iterable[sa.Select[*tuple[Any, ...]]]:
    """Yields what to read of days and of buckets: whole days by the day, as long as the tenant's days are the same."""
    period, days, at = query.which.period, query.days, _BUCKETS.c.bucket

    def buckets(start: datetime, end: datetime) -> sa.Select[*tuple[Any, ...]]:
        within_bounds = (at >= sa.literal(start, at.type), at < sa.literal(end, at.type))
        return _of_sums(query, names, _BUCKETS, _step(query, at)).where(*within_bounds)

    if days is None:
        yield buckets(period.start, period.end)
        return
    same, day = _same_days(query, days), _DAYS.c.day
    yield _of_sums(query, names, _DAYS, _step_of_day(query)).where(
        same, day >= sa.literal(days.first, day.type), day <= sa.literal(days.last, day.type)
    )
    yield buckets(days.start, days.end).where(~same)
    for start, end in ((period.start, days.start), (days.end, period.end)):
        if start < end:
            yield buckets(start, end)


def _same_days(query: AggregationQuery, days: CalendarDays) -> sa.ColumnElement[bool]:
    """Builds the condition that days are kept of this time zone, and that PostgreSQL knows its clocks as we do.

    Each bound of a step begins a day there as well: it has the same date, and what is before it has an earlier one.
    """
    moments = [days.start, *(bound for bound in query.bounds if days.start < bound < days.end), days.end]
    dates = [moment.astimezone(query.zone).date() for moment in moments]
    moment, day = sa.column("moment", _BUCKETS.c.bucket.type), sa.column("day", sa.Date())
    arrays = (sa.literal(moments, ARRAY(moment.type)), sa.literal(dates, ARRAY(day.type)))
    bounds = sa.func.unnest(*arrays).table_valued(moment, day, name="bounds").render_derived()

    def date_of(at: sa.ColumnElement[datetime]) -> sa.ColumnElement[Any]:
        # The zone of the row: of constants PostgreSQL would find the date before it compares, and fail for a zone that
        # it does not know.
        return sa.cast(sa.func.timezone(_TENANTS.c.usage_zone, at), sa.Date())

    before = bounds.c.moment - sa.literal_column("interval '15 minutes'")
    differs = sa.or_(date_of(bounds.c.moment) != bounds.c.day, date_of(before) >= bounds.c.day)
    found = (
        sa.select(
            sa.and_(
                _TENANTS.c.usage_zone == sa.literal(days.zone, sa.Text()),
                _TENANTS.c.usage_days_since <= sa.literal(days.first, sa.Date()),
                ~sa.exists().select_from(bounds).where(differs).correlate(_TENANTS),
            )
        )
        .where(where(_TENANTS))
        .scalar_subquery()
    )
    return sa.func.coalesce(found, sa.false())


def _summed(facts: sa.FromClause, by: Sequence[str], *more: sa.ColumnElement[Any]) -> sa.Select[*tuple[Any, ...]]:
    keys = [facts.c[name] for name in by]
    return sa.select(*keys, *(_total(facts.c[name]).label(name) for name in _SUMMED), *more).group_by(*keys)


def _total(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    # `sum` of bigint keeps and returns what takes several times as long, see migration 0040.
    return (sa.func.sum if column.key in {_COST, _QUANTITY} else sa.func.total)(column)


def _of_sums(
    query: AggregationQuery, names: Sequence[str], source: sa.Table, step: sa.ColumnElement[int]
) -> sa.Select[*tuple[Any, ...]]:
    dimensions = [source.c[BUCKET_DIMENSIONS[name]] for name in query.dimensions]
    chosen = [
        source.c[BUCKET_DIMENSIONS[name]] == sa.any_(texts(values)) for name, values in query.which.values.items()
    ]
    return sa.select(
        step,
        *(value.label(name) for name, value in zip(names, dimensions, strict=True)),
        *(source.c[name] for name in (_CURRENCY, *_SUMMED)),
    ).where(where(source), *chosen)


def _of_records(query: AggregationQuery, names: Sequence[str]) -> sa.Select[*tuple[Any, ...]]:
    return sa.select(
        _step(query, _RECORDS.c.at),
        *(dimension(value).label(name) for name, value in zip(names, query.dimensions, strict=True)),
        sa.func.coalesce(_RECORDS.c[_CURRENCY], _NO_TEXT).label(_CURRENCY),
        *((_OF_RECORD[name] if name in _OF_RECORD else _RECORDS.c[name]).label(name) for name in _SUMMED),
    ).where(
        *within(query.which),
        # Word for word as in the partial index of what is not rolled up.
        *([] if query.reads_records else [sa.text("NOT rolled_up")]),
    )


def _step(query: AggregationQuery, at: sa.ColumnElement[datetime]) -> sa.ColumnElement[int]:
    if query.step is TimeStep.NONE:
        return _ONE.label("step")
    return sa.func.width_bucket(at, sa.literal(list(query.bounds), ARRAY(at.type))).label("step")


def _step_of_day(query: AggregationQuery) -> sa.ColumnElement[int]:
    if query.step is TimeStep.NONE:
        return _ONE.label("step")
    days = [bound.astimezone(query.zone).date() for bound in query.bounds]
    return sa.func.width_bucket(_DAYS.c.day, sa.literal(days, ARRAY(sa.Date()))).label("step")


def groups(query: AggregationQuery, rows: Iterable[Row]) -> Iterable[UsageGroup]:
    """Yields the groups that the rows tell."""
    # Items and not attributes, which Python code looks up: there may be many thousands of rows.
    place = itemgetter("step", "rest", *(f"of_{place}" for place in range(len(query.dimensions))))
    for row in rows:
        step, rest, *key = place(row)
        yield UsageGroup(query.bounds[step - 1], query.bounds[step], None if rest else tuple(key), _sums(row))


def _sums(row: Row) -> UsageSums:
    currencies, costs, quantity = _amounts(row)
    counts = dict(zip(COUNTS, _counts(row), strict=True))
    known = {currency: cost for currency, cost in sorted(zip(currencies, costs, strict=True)) if currency}
    return UsageSums(**counts, quantity=quantity, costs=known)
