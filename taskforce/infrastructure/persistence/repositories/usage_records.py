"""Conditions on usage records, by dimensions, and pages of them."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from models.tables.usage import UsageRow
from taskforce.core.domain.metering.aggregation import BUCKET_DIMENSIONS, RECORD_DIMENSIONS, TAG, UsageFilter
from taskforce.core.domain.metering.tokens import TokenCounts
from taskforce.core.domain.metering.usage_records import RecordPage, RecordPlace, UsageRecord
from taskforce.infrastructure.persistence.connection import Row
from taskforce.infrastructure.persistence.repository import storable, table, where

LOOKED_AT = 2_000
"""Records that one page looks at: however rare those are that a filter chooses, a page costs no more."""
_RECORDS = table(UsageRow)
_NO_TEXT: sa.ColumnElement[str] = sa.literal_column("''", type_=sa.Text())
_ORDER = [_RECORDS.c[name] for name in RecordPlace._fields]


def record_page(which: UsageFilter, after: RecordPlace | None, most: int) -> sa.Select[*tuple[Any, ...]]:
    """Builds the statement of a page: records that are meant, and the last one that was looked at."""
    seen = sa.select(_RECORDS, *_looked_at(which)).where(*within(_alone(which, of_run=True)))
    if after is not None:
        place = (sa.literal(value, column.type) for value, column in zip(after, _ORDER, strict=True))
        seen = seen.where(sa.tuple_(*_ORDER) < sa.tuple_(*place))
    window = seen.order_by(*(column.desc() for column in _ORDER)).limit(LOOKED_AT).cte("seen")
    last = window.c.number == sa.literal(LOOKED_AT)
    order = [window.c[name].desc() for name in RecordPlace._fields]
    return sa.select(window).where(sa.or_(window.c.wanted, last)).order_by(*order).limit(most + 1)


def page_of(rows: Sequence[Row], most: int) -> RecordPage:
    """Builds the page of the rows that `record_page` gives."""
    wanted = [row for row in rows if row.wanted]
    following = None
    if len(wanted) > most:
        following = _place(wanted[most - 1])
    elif rows and rows[-1].number == LOOKED_AT:
        following = _place(rows[-1])
    return RecordPage([_record(row) for row in wanted[:most]], following)


def _looked_at(which: UsageFilter) -> Sequence[sa.ColumnElement[Any]]:
    number = sa.func.row_number().over(order_by=[column.desc() for column in _ORDER]).label("number")
    conditions = [chosen(name, values) for name, values in _alone(which, of_run=False).values.items()]
    return number, sa.and_(sa.true(), *conditions).label("wanted")


def _alone(which: UsageFilter, *, of_run: bool) -> UsageFilter:
    """Keeps the filter by run, which an index serves, or all others."""
    return UsageFilter(which.period, {name: said for name, said in which.values.items() if (name == "run") is of_run})


def within(which: UsageFilter) -> Sequence[sa.ColumnElement[bool]]:
    """Builds the conditions on usage records that a filter chooses; they take `of_tenant_id` as a parameter."""
    at = _RECORDS.c.at
    period = [at >= sa.literal(which.period.start, at.type), at < sa.literal(which.period.end, at.type)]
    return [where(_RECORDS), *period, *(chosen(name, values) for name, values in which.values.items())]


def chosen(name: str, values: Sequence[str]) -> sa.ColumnElement[bool]:
    """Builds the condition that usage records have one of the values of a dimension."""
    if name == "run":
        # As ids, so that the key's index finds them.
        ids = sa.literal([one for one in values if _is_id(one)], ARRAY(_RECORDS.c.run_id.type))
        return _RECORDS.c.run_id == sa.any_(ids)
    return dimension(name) == sa.any_(texts(values))


def dimension(name: str) -> sa.ColumnElement[str]:
    """Builds the value of a dimension of usage records; the empty text where they have none."""
    if name.startswith(TAG):
        tag = _RECORDS.c.tags.op("->>", return_type=sa.Text())(sa.literal(name.removeprefix(TAG), sa.Text()))
        return sa.func.coalesce(tag, _NO_TEXT)
    column = _RECORDS.c[{**BUCKET_DIMENSIONS, **RECORD_DIMENSIONS}[name]]
    value = sa.cast(column, sa.Text()) if isinstance(column.type, sa.Uuid) else column
    return sa.func.coalesce(value, _NO_TEXT) if column.nullable else value


def texts(values: Sequence[str]) -> sa.ColumnElement[Any]:
    """Builds the array of values that a dimension is compared with."""
    return sa.literal([storable(value) for value in values], ARRAY(sa.Text()))


def _is_id(text: str) -> bool:
    try:
        return bool(UUID(text))
    except ValueError:
        return False


def _place(row: Row) -> RecordPlace:
    return RecordPlace(*(row[name] for name in RecordPlace._fields))


def _record(row: Row) -> UsageRecord:
    return UsageRecord(
        place=_place(row),
        kind=row.kind,
        user_id=row.user_id,
        agent_id=row.agent_id,
        agent_version=row.agent_version,
        session_id=row.session_id,
        model=row.model,
        provider=row.provider,
        tool=row.tool,
        department=row.department,
        cost_center=row.cost_center,
        tokens=TokenCounts(*(row[f"{name}_tokens"] for name in TokenCounts.__slots__)),
        estimated=row.estimated,
        error_code=row.error_code,
        duration_ms=row.duration_ms,
        cost=row.cost,
        currency=row.currency,
        price_source=row.price_source,
        tags=row.tags,
    )
