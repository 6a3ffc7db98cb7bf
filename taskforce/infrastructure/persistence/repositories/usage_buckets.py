"""Repository of usage buckets in PostgreSQL: usage summed up by 15 minutes, and aggregations of it."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import reduce
from itertools import groupby
from operator import add, itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert

from models.tables.runs import RunFileRow, RunResultRow, TranscriptRow
from models.tables.tenants import TenantRow
from models.tables.usage import UsageRow
from models.tables.usage_buckets import UsageBucketRow, UsageDayRow
from taskforce.core.domain.metering.aggregation import (
    BUCKET_DIMENSIONS,
    COUNTS,
    UNPRICED_KINDS,
    Aggregation,
    AggregationQuery,
    UsageFilter,
    UsageGroup,
    UsageSums,
)
from taskforce.core.domain.metering.periods import BUCKET, CalendarDays, Period, TimeStep
from taskforce.core.domain.metering.usage_records import RecordPage, RecordPlace
from taskforce.infrastructure.persistence.connection import Query, Row
from taskforce.infrastructure.persistence.repositories.usage_records import (
    dimension,
    page_of,
    record_page,
    texts,
    within,
)
from taskforce.infrastructure.persistence.repository import Repository, table, where

DAY_HOURS = 24
_BUCKETS, _DAYS, _RECORDS, _TENANTS = table(UsageBucketRow), table(UsageDayRow), table(UsageRow), table(TenantRow)
_FILES, _RESULTS, _TRANSCRIPTS = table(RunFileRow), table(RunResultRow), table(TranscriptRow)
_ROLL_UP = Query(sa.text("SELECT roll_up_usage(:most)"))
_REBUILD = Query(sa.text("SELECT rebuild_usage(:since, :until)"))
# A plan for these very values. By default PostgreSQL takes the groups for many more than they are and sorts all rows on
# disk, where a table of the groups fits into memory; and to compile the statement takes longer than to run it.
_PLAN = Query(
    sa.text(
        "SELECT set_config('plan_cache_mode', 'force_custom_plan', true), set_config('jit', 'off', true), "
        "set_config('enable_sort', 'off', true), set_config('work_mem', '64MB', true)"
    )
)
_WHOLE_SINCE = Query(sa.select(_TENANTS.c.usage_whole_since).where(where(_TENANTS)))
_COST, _QUANTITY, _CURRENCY = "cost", "quantity", "currency"
_SUMMED = (*COUNTS, _COST, _QUANTITY)
_counts, _amounts = itemgetter(*COUNTS), itemgetter(_CURRENCY, _COST, _QUANTITY)
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


class UsageBucketRepository(Repository):
    """Sums up usage; fulfils `UsageBuckets`."""

    async def roll_up(self, most: int) -> int:
        """Adds a batch of records to their buckets, and marks them; a function of the owner does both at once."""
        return int(await self._connection.value(_ROLL_UP, {"most": most}))

    async def rebuild(self, period: Period) -> int | None:
        """Replaces the buckets of a period by sums of its records; None where some of them are erased."""
        found = await self._connection.value(_REBUILD, {"since": period.start, "until": period.end})
        return None if found is None else int(found)

    async def measure_storage(self, day: date) -> bool:
        """Adds the bucket of a day's storage, unless it exists."""
        bucket = datetime.combine(day, time(), UTC)
        return await self._connection.change(_MEASURE, {**self._of(bucket=bucket), "day": bucket}) > 0

    async def aggregate(self, query: AggregationQuery) -> Aggregation:
        """Sums up usage as of one moment, by one statement."""
        await self._connection.value(_PLAN)
        rows = await self._connection.all(_aggregation(query), self._of())
        whole_since = await self._connection.value(_WHOLE_SINCE, self._of()) if query.reads_records else None
        return Aggregation(query, tuple(_groups(query, rows)), whole_since)

    async def records(self, which: UsageFilter, after: RecordPlace | None, most: int) -> RecordPage:
        """Returns a page of usage records, newest first, of a bounded number that it looks at."""
        return page_of(await self._listed(record_page(which, after, most), self._of()), most)


def _measure() -> Query:
    stored: sa.ColumnElement[Any] = sum(
        (
            sa.select(sa.func.coalesce(sa.func.sum(size), _ZERO)).where(where(source)).scalar_subquery()
            for source, size in (
                (_FILES, _FILES.c.size),
                # Of what is kept beside its row, PostgreSQL reads the length and nothing else.
                (_RESULTS, sa.func.octet_length(_RESULTS.c.content)),
                (_TRANSCRIPTS, sa.func.octet_length(_TRANSCRIPTS.c.text) + sa.func.pg_column_size(_TRANSCRIPTS.c.data)),
            )
        ),
        start=_ZERO,
    )
    kind: sa.ColumnElement[str] = sa.literal_column("'storage'")
    measured = sa.exists().where(where(_BUCKETS, "bucket"), _BUCKETS.c.kind == kind)
    told = sa.select(stored.label("bytes")).where(~measured).subquery()
    values: dict[str, sa.ColumnElement[Any]] = dict.fromkeys(_SUMMED, _ZERO)
    values |= dict.fromkeys((*BUCKET_DIMENSIONS.values(), _CURRENCY), _NO_TEXT)
    values |= {
        "tenant_id": sa.bindparam("of_tenant_id", type_=sa.Text()),
        "bucket": sa.bindparam("day", type_=_BUCKETS.c.bucket.type),
        "kind": kind,
        _QUANTITY: told.c.bytes * sa.literal(DAY_HOURS, sa.BigInteger),
    }
    rows = sa.select(*(value.label(name) for name, value in values.items())).where(told.c.bytes > _ZERO)
    return Query(insert(_BUCKETS).from_select(list(values), rows).on_conflict_do_nothing())


_MEASURE = _measure()


def _aggregation(query: AggregationQuery) -> sa.ClauseElement:
    """Builds the statement: usage by step, dimensions and currency; beyond the most groups of all steps, their sums."""
    names = [f"of_{place}" for place in range(len(query.dimensions))]
    grouped = _grouped(query, names).cte("grouped")
    if not names:
        return sa.select(grouped, sa.false().label("rest")).order_by(grouped.c.step, grouped.c[_CURRENCY])
    ranked = _ranked(grouped, names)
    rest = ranked.c.place > sa.literal(query.groups, sa.BigInteger)
    same = sa.and_(*(grouped.c[name] == ranked.c[name] for name in names))
    told = (
        sa.select(
            grouped.c.step,
            rest.label("rest"),
            *(sa.case((rest, _NO_TEXT), else_=grouped.c[name]).label(name) for name in names),
            *(grouped.c[name] for name in (_CURRENCY, *_SUMMED)),
            ranked.c.place,
        )
        .select_from(grouped.join(ranked, same))
        .subquery("told")
    )
    keyed = [told.c[name] for name in ("step", "rest", *names, _CURRENCY)]
    totals = [_total(told.c[name]).label(name) for name in _SUMMED]
    return (
        sa.select(*keyed, *totals).group_by(*keyed).order_by(told.c.step, sa.func.min(told.c.place), told.c[_CURRENCY])
    )


def _grouped(query: AggregationQuery, names: Sequence[str]) -> sa.Select[*tuple[Any, ...]]:
    """Sums up each table on its own first: several processes take part in that, in a union none does."""
    records = _summed(_of_records(query, names), names)
    if query.reads_records:
        return records
    sources = [_summed(each, names) for each in _sources(query, names)]
    return _summed(sa.union_all(*sources, records), names)


def _sources(query: AggregationQuery, names: Sequence[str]) -> Iterable[sa.Select[*tuple[Any, ...]]]:
    """Yields what to read of days and of buckets: whole days by the day, as long as the tenant's days are the same."""
    period, days, at = query.which.period, query.days, _BUCKETS.c.bucket

    def buckets(start: datetime, end: datetime) -> sa.Select[*tuple[Any, ...]]:
        within_bounds = (at >= sa.literal(start, at.type), at < sa.literal(end, at.type))
        return _of_sums(query, names, _BUCKETS, _step(query, at)).where(*within_bounds)

    if days is None:
        yield buckets(period.start, period.end)
        return
    same = _same_days(days)
    day = _DAYS.c.day
    yield _of_sums(query, names, _DAYS, _step_of_day(query)).where(
        same, day >= sa.literal(days.first, day.type), day <= sa.literal(days.last, day.type)
    )
    yield buckets(days.start, days.end).where(~same)
    for start, end in ((period.start, days.start), (days.end, period.end)):
        if start < end:
            yield buckets(start, end)


def _same_days(days: CalendarDays) -> sa.ColumnElement[bool]:
    """Builds the condition that days are kept of this time zone, and that PostgreSQL knows its clocks as we do."""
    zone = sa.literal(days.zone, sa.Text())

    def date_of(moment: datetime) -> sa.ColumnElement[date]:
        # The zone of the row: of constants PostgreSQL would find the date before it compares, and fail for a zone that
        # it does not know.
        return sa.cast(sa.func.timezone(_TENANTS.c.usage_zone, sa.literal(moment, _BUCKETS.c.bucket.type)), sa.Date)

    bounds = (
        (days.start, days.first),
        (days.start - BUCKET, days.first - timedelta(days=1)),
        (days.end - BUCKET, days.last),
        (days.end, days.last + timedelta(days=1)),
    )
    agree = (date_of(moment) == sa.literal(day, sa.Date()) for moment, day in bounds)
    since = _TENANTS.c.usage_days_since <= sa.literal(days.first, sa.Date())
    found = sa.select(sa.and_(_TENANTS.c.usage_zone == zone, since, *agree)).where(where(_TENANTS)).scalar_subquery()
    return sa.func.coalesce(found, sa.false())


def _summed(facts: sa.SelectBase, names: Sequence[str]) -> sa.Select[*tuple[Any, ...]]:
    source = facts.subquery()
    by = [source.c[name] for name in ("step", *names, _CURRENCY)]
    return sa.select(*by, *(_total(source.c[name]).label(name) for name in _SUMMED)).group_by(*by)


def _ranked(grouped: sa.CTE, names: Sequence[str]) -> sa.CTE:
    """Orders the groups of all steps together: those that cost most first, then by tokens, records and quantity."""
    keys = [grouped.c[name] for name in names]
    tokens = grouped.c.input_tokens + grouped.c.output_tokens
    sizes = [sa.func.sum(size).desc() for size in (grouped.c[_COST], tokens, grouped.c.records, grouped.c[_QUANTITY])]
    place = sa.func.row_number().over(order_by=[*sizes, *keys]).label("place")
    return sa.select(*keys, place).group_by(*keys).cte("ranked")


def _total(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    # `sum` of bigint keeps and returns what takes several times as long, see migration 0035.
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


def _groups(query: AggregationQuery, rows: Iterable[Row]) -> Iterable[UsageGroup]:
    """Yields the groups; the rows of one, by currency, become one."""
    # Items and not attributes, which Python code looks up: there may be many thousands of rows.
    place = itemgetter("step", "rest", *(f"of_{place}" for place in range(len(query.dimensions))))
    for (step, rest, *key), found in groupby(rows, place):
        sums = reduce(add, map(_sums, found))
        yield UsageGroup(query.bounds[step - 1], query.bounds[step], None if rest else tuple(key), sums)


def _sums(row: Row) -> UsageSums:
    currency, cost, quantity = _amounts(row)
    counts = dict(zip(COUNTS, _counts(row), strict=True))
    return UsageSums(**counts, quantity=quantity, costs={currency: cost} if currency else {})
