"""Base of the repositories: tables, JSON columns, and text that PostgreSQL can store."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
from pydantic import TypeAdapter
from sqlmodel import SQLModel

from taskforce.core.domain.paging import Page
from taskforce.infrastructure.persistence.connection import Connection, Query, Row

Aggregate = TypeVar("Aggregate")
_NOTHING: Mapping[str, object] = {}
_OWN_PLAN = Query(
    sa.text(
        "SELECT set_config('plan_cache_mode', 'force_custom_plan', true), set_config('enable_bitmapscan', 'off', true)"
    )
)


def table(model: type[SQLModel]) -> sa.Table:
    """Returns the table of a model; repositories use tables, which are faster than the ORM."""
    return SQLModel.metadata.tables[str(model.__tablename__)]


def where(source: sa.Table, *names: str) -> sa.ColumnElement[bool]:
    """Returns the condition that columns equal the parameters `of_<column>`, the tenant's first."""
    columns = ("tenant_id", *names)
    return sa.and_(*(source.c[name] == sa.bindparam(f"of_{name}", type_=source.c[name].type) for name in columns))


def newest(
    query: sa.Select[Any], at: sa.ColumnElement[Any], item_id: sa.ColumnElement[Any], page: Page
) -> sa.Select[Any]:
    """Returns the statement of a page of a list, newest first.

    Args:
        query: Selects the rows of the list; its conditions name the tenant.
        at: The column of time that orders the list.
        item_id: The id that orders rows of one moment.
        page: The page.
    """
    if page.before is not None:
        place = sa.tuple_(sa.literal(page.before[0], at.type), sa.literal(page.before[1], item_id.type))
        query = query.where(sa.tuple_(at, item_id) < place)
    return query.order_by(at.desc(), item_id.desc()).limit(page.limit)


def storable(text: str) -> str:
    """Replaces what PostgreSQL's `text` cannot hold: NUL and lone surrogates."""
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def storable_json(value: object) -> Any:  # noqa: ANN401 - JSON
    """Replaces in JSON data what PostgreSQL's `jsonb` cannot hold; the data's depth must be bounded."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, Mapping):
        return {storable(str(name)): storable_json(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [storable_json(part) for part in value]
    return value


class Codec:
    """Serializes a frozen aggregate to JSON for a `jsonb` column, and back."""

    def __init__(self, kind: type[Aggregate]) -> None:
        self._adapter: TypeAdapter[Any] = TypeAdapter(kind)

    def dump(self, value: object) -> Any:  # noqa: ANN401 - JSON
        """Serializes the value to JSON data."""
        return self._adapter.dump_python(value, mode="json")

    def load(self, data: object) -> Any:  # noqa: ANN401 - the caller names the type
        """Restores the aggregate."""
        return self._adapter.validate_python(data)


class Repository:
    """Holds the connection and the tenant of one repository, within one transaction."""

    def __init__(self, connection: Connection, tenant_id: str) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    async def _listed(self, query: sa.Select[Any], values: Mapping[str, object] = _NOTHING) -> Sequence[Row]:
        """Returns the rows of a list's page, by a plan for these very filters.

        After five times PostgreSQL would keep one plan for all values: that of a user with few rows, for one with half
        of them, takes a hundred times as long. And beside many tenants it takes filters for rarer than they are, reads
        all rows that meet them as a bitmap, and sorts them, where an index in the order of the page needs a page only.
        """
        await self._connection.value(_OWN_PLAN)
        return await self._connection.all(query, values)

    def _of(self, **values: object) -> dict[str, object]:
        """Returns the parameters of `where`."""
        return {"of_tenant_id": self._tenant_id, **{f"of_{name}": value for name, value in values.items()}}
