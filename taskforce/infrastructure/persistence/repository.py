"""Base of the repositories: tables, JSON columns, and text that PostgreSQL can store."""

from collections.abc import Mapping
from typing import Any, TypeVar

import sqlalchemy as sa
from pydantic import TypeAdapter
from sqlmodel import SQLModel

from taskforce.infrastructure.persistence.connection import Connection

Aggregate = TypeVar("Aggregate")


def table(model: type[SQLModel]) -> sa.Table:
    """Returns the table of a model; repositories use tables, which are faster than the ORM."""
    return SQLModel.metadata.tables[str(model.__tablename__)]


def where(source: sa.Table, *names: str) -> sa.ColumnElement[bool]:
    """Returns the condition that columns equal the parameters `of_<column>`, the tenant's first."""
    columns = ("tenant_id", *names)
    return sa.and_(*(source.c[name] == sa.bindparam(f"of_{name}", type_=source.c[name].type) for name in columns))


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

    def _of(self, **values: object) -> dict[str, object]:
        """Returns the parameters of `where`."""
        return {"of_tenant_id": self._tenant_id, **{f"of_{name}": value for name, value in values.items()}}
