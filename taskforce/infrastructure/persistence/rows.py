"""Between rows and aggregates: the small things that every repository needs."""

from collections.abc import Mapping
from typing import Any, TypeVar

import sqlalchemy as sa
from pydantic import TypeAdapter
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import SQLModel

Aggregate = TypeVar("Aggregate")


def table(model: type[SQLModel]) -> sa.Table:
    """The table behind a model; repositories speak to tables, which is quicker than the ORM."""
    return SQLModel.metadata.tables[str(model.__tablename__)]


def storable(text: str) -> str:
    """Replaces what PostgreSQL's text cannot hold: NUL and lone surrogates."""
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def storable_json(value: object) -> Any:  # noqa: ANN401 - JSON
    """JSON-compatible data whose texts PostgreSQL's `jsonb` can hold; what is bounded in depth comes in."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, Mapping):
        return {storable(str(name)): storable_json(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [storable_json(part) for part in value]
    return value


class Codec:
    """Turns a frozen aggregate into JSON for a `jsonb` column, and back."""

    def __init__(self, kind: type[Aggregate]) -> None:
        self._adapter: TypeAdapter[Any] = TypeAdapter(kind)

    def dump(self, value: object) -> Any:  # noqa: ANN401 - JSON
        """The value as JSON-compatible data."""
        return self._adapter.dump_python(value, mode="json")

    def load(self, data: object) -> Any:  # noqa: ANN401 - the caller names the type
        """The aggregate again."""
        return self._adapter.validate_python(data)


class Repository:
    """One noun's rows within one transaction of one tenant."""

    def __init__(self, connection: AsyncConnection, tenant_id: str) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    async def _inserted(self, statement: sa.Executable) -> bool:
        result = await self._connection.execute(statement)
        return bool(getattr(result, "rowcount", 0))
