"""Repository of usage buckets in PostgreSQL: usage summed up by 15 minutes, and aggregations of it."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from models.tables.runs import RunFileRow, RunResultRow, TranscriptRow
from models.tables.service_statistics import ServiceStatisticsRow
from models.tables.tenants import TenantRow
from models.tables.usage_buckets import UsageBucketRow
from taskforce.core.domain.metering.aggregation import (
    BUCKET_DIMENSIONS,
    COUNTS,
    Aggregation,
    AggregationQuery,
    UsageFilter,
)
from taskforce.core.domain.metering.periods import Period
from taskforce.core.domain.metering.prices import UnitPrice
from taskforce.core.domain.metering.usage_records import RecordPage, RecordPlace
from taskforce.infrastructure.persistence.connection import Query
from taskforce.infrastructure.persistence.repositories.usage_aggregation import aggregation, groups
from taskforce.infrastructure.persistence.repositories.usage_records import page_of, record_page
from taskforce.infrastructure.persistence.repository import Repository, table, where

DAY_HOURS = 24
LOOK_BACK: Final = timedelta(days=7)
"""How far back API calls are counted that no rollup has counted."""
_BUCKETS, _TENANTS = table(UsageBucketRow), table(TenantRow)
_CALLS = table(ServiceStatisticsRow)
_FILES, _RESULTS, _TRANSCRIPTS = table(RunFileRow), table(RunResultRow), table(TranscriptRow)
_FOLLOW = Query(sa.text("SELECT follow_usage_zone()"))
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
_ONE: sa.ColumnElement[int] = sa.literal_column("1")
_ZERO: sa.ColumnElement[int] = sa.literal_column("0")
_NO_TEXT: sa.ColumnElement[str] = sa.literal_column("''", type_=sa.Text())


class UsageBucketRepository(Repository):
    """Sums up usage; fulfils `UsageBuckets`."""

    async def roll_up(self, most: int) -> int:
        """Adds a batch of records to their buckets, and marks them; a function of the owner does both at once."""
        return int(await self._connection.value(_ROLL_UP, {"most": most}))

    async def follow_zone(self) -> bool:
        """Takes up the tenant's time zone, or makes the next of the earlier days; whether there are more."""
        return bool(await self._connection.value(_FOLLOW))

    async def rebuild(self, period: Period) -> int | None:
        """Replaces the buckets of a period by sums of its records; None where some of them are erased."""
        found = await self._connection.value(_REBUILD, {"since": period.start, "until": period.end})
        return None if found is None else int(found)

    async def measure_storage(self, day: date, price: UnitPrice | None = None) -> bool:
        """Adds the bucket of a day's storage, unless it exists."""
        bucket = datetime.combine(day, time(), UTC)
        values = {**self._of(bucket=bucket), "day": bucket, **_priced(price)}
        return await self._connection.change(_MEASURE, values) > 0

    async def count_calls(self, until: datetime, price: UnitPrice | None = None) -> int:
        """Adds the buckets of API calls, of the minutes after the last one that exists."""
        values = {**self._of(), "until": until, "earliest": until - LOOK_BACK, **_priced(price)}
        return await self._connection.change(_COUNT_CALLS, values)

    async def aggregate(self, query: AggregationQuery) -> Aggregation:
        """Sums up usage as of one moment, by one statement."""
        await self._connection.value(_PLAN)
        rows = await self._connection.all(aggregation(query), self._of())
        whole_since = await self._connection.value(_WHOLE_SINCE, self._of()) if query.reads_records else None
        return Aggregation(query, tuple(groups(query, rows)), whole_since)

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
    bytes_ = sa.cast(stored, sa.Numeric) * sa.literal(DAY_HOURS, sa.BigInteger)
    told = sa.select(bytes_.label("quantity")).where(~measured).subquery()
    values: dict[str, sa.ColumnElement[Any]] = dict.fromkeys(_SUMMED, _ZERO)
    values |= dict.fromkeys((*BUCKET_DIMENSIONS.values(), _CURRENCY), _NO_TEXT)
    values |= {
        "tenant_id": sa.bindparam("of_tenant_id", type_=sa.Text()),
        "bucket": sa.bindparam("day", type_=_BUCKETS.c.bucket.type),
        "kind": kind,
        _QUANTITY: told.c.quantity,
        _COST: told.c.quantity * sa.bindparam("each", type_=sa.Numeric()),
        _CURRENCY: sa.bindparam("in_currency", type_=sa.Text()),
    }
    rows = sa.select(*(value.label(name) for name, value in values.items())).where(told.c.quantity > _ZERO)
    return Query(insert(_BUCKETS).from_select(list(values), rows).on_conflict_do_nothing())


_MEASURE = _measure()


def _count_calls() -> Query:
    until = sa.bindparam("until", type_=_CALLS.c.minute.type)
    earliest = sa.bindparam("earliest", type_=_CALLS.c.minute.type)
    kind: sa.ColumnElement[str] = sa.literal_column("'api'")
    # Found from the end of the key's index. What a process stores late of minutes before it is lost.
    last = (
        sa.select(_BUCKETS.c.bucket + sa.literal_column("interval '15 minutes'"))
        .where(where(_BUCKETS), _BUCKETS.c.kind == kind, _BUCKETS.c.bucket >= earliest)
        .order_by(_BUCKETS.c.bucket.desc())
        .limit(_ONE)
        .scalar_subquery()
    )
    origin: sa.ColumnElement[datetime] = sa.literal_column("timestamptz '2000-01-01Z'")
    bucket = sa.func.date_bin(sa.literal_column("interval '15 minutes'"), _CALLS.c.minute, origin)
    calls = sa.cast(sa.func.sum(_CALLS.c.count), sa.Numeric)
    values: dict[str, sa.ColumnElement[Any]] = dict.fromkeys(_SUMMED, _ZERO)
    values |= dict.fromkeys(BUCKET_DIMENSIONS.values(), _NO_TEXT)
    values |= {
        "tenant_id": _CALLS.c.tenant_id,
        "bucket": bucket,
        "kind": kind,
        _QUANTITY: calls,
        _COST: calls * sa.bindparam("each", type_=sa.Numeric()),
        _CURRENCY: sa.bindparam("in_currency", type_=sa.Text()),
    }
    rows = (
        sa.select(*(value.label(name) for name, value in values.items()))
        .where(
            where(_CALLS),
            _CALLS.c.kind == sa.literal_column("'endpoint'"),
            _CALLS.c.minute < until,
            _CALLS.c.minute >= sa.func.coalesce(last, earliest),
        )
        .group_by(_CALLS.c.tenant_id, bucket)
    )
    return Query(insert(_BUCKETS).from_select(list(values), rows).on_conflict_do_nothing())


_COUNT_CALLS = _count_calls()


def _priced(price: UnitPrice | None) -> dict[str, object]:
    return {
        "each": Decimal() if price is None else price.each,
        "in_currency": "" if price is None else price.currency,
    }
