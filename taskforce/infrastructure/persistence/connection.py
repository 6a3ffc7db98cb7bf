"""Statements written with SQLAlchemy, compiled once and sent by asyncpg.

SQLAlchemy writes the SQL and knows the tables; its own way of executing takes four times the CPU of the driver's (see
docs/decisions/0008-asyncpg-executes.md).
"""

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, cast

import asyncpg
import sqlalchemy as sa
from asyncpg.pool import PoolConnectionProxy
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.sql.compiler import SQLCompiler

_DIALECT = PGDialect_asyncpg()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves dialects untyped
_NUMBER = re.compile(r"\$(\d+)")
_NOTHING: Mapping[str, object] = {}


class Row(asyncpg.Record):
    """A row whose columns are attributes."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - rows are untyped; repositories make aggregates of them
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class Query:
    """A statement ready to be sent, with its parameters in order.

    Compiling takes longer than sending: what is asked often is made once, as a module's constant, with `bindparam`s.

    Args:
        statement: What SQLAlchemy would execute; a list is one parameter, compared with `any_`, not with `in_`.
        sets: The columns that an INSERT or UPDATE sets by parameters of their names; what it says itself, or all
            columns of an INSERT, without.
    """

    def __init__(self, statement: sa.ClauseElement, sets: Sequence[str] = ()) -> None:
        sql = cast("SQLCompiler", statement.compile(dialect=_DIALECT, column_keys=list(sets) or None))
        self.text = str(sql)
        self._names = tuple(sql.positiontup or ())
        wanted = {name for name, bound in sql.binds.items() if bound.required}
        self._own = {name: value for name, value in sql.params.items() if name not in wanted}

    @property
    def size(self) -> int:
        """How many parameters it has."""
        return len(self._names)

    def numbered_after(self, before: int) -> str:
        """The text with parameters numbered from `before` + 1."""
        return _NUMBER.sub(lambda found: f"${int(found[1]) + before}", self.text)

    def arguments(self, values: Mapping[str, object]) -> list[object]:
        """The parameters in the order in which they are sent.

        Raises:
            KeyError: A parameter has no value.
        """
        own = self._own
        return [values[name] if name in values else own[name] for name in self._names]


Statement = Query | sa.ClauseElement


class Write:
    """A change whose outcome nobody waits for.

    Args:
        parts: Its statements by name; one may select from what an earlier one returns.
    """

    def __init__(self, **parts: Query) -> None:
        self.parts = parts

    def arguments(self, values: Mapping[str, object]) -> list[object]:
        """The parameters of all parts."""
        return [argument for part in self.parts.values() for argument in part.arguments(values)]


class Connection:
    """The way to PostgreSQL within one transaction.

    Args:
        driver: The driver's connection, in a transaction.

    Attributes:
        broken: Whether something was not written; the transaction must not be committed.
    """

    def __init__(self, driver: "PoolConnectionProxy[Row]") -> None:
        self._driver = driver
        self._later: dict[Write, list[object]] = {}
        self.broken = False

    async def later(self, write: Write, values: Mapping[str, object]) -> None:
        """Writes before the next statement, or before the commit; all that waits is sent as one."""
        if write in self._later:
            await self.flush()
        self._later[write] = write.arguments(values)

    async def flush(self) -> None:
        """Sends what waits."""
        if self._later:
            writes, self._later = self._later, {}
            arguments = [argument for one in writes.values() for argument in one]
            # Until they are in, the transaction lacks them: it must not be committed by somebody who caught the error.
            self.broken = True
            await self._driver.execute(_together(tuple(writes)), *arguments)
            self.broken = False

    async def all(self, statement: Statement, values: Mapping[str, object] = _NOTHING) -> Sequence[Row]:
        """Every row of the result."""
        query = await self._next(statement)
        return await self._driver.fetch(query.text, *query.arguments(values))

    async def one(self, statement: Statement, values: Mapping[str, object] = _NOTHING) -> Row:
        """The first row, which must be there.

        Raises:
            LookupError: It is not.
        """
        row = await self.first(statement, values)
        if row is None:
            raise LookupError("A statement that always has a row had none.")
        return row

    async def first(self, statement: Statement, values: Mapping[str, object] = _NOTHING) -> Row | None:
        """The first row, if there is one."""
        query = await self._next(statement)
        return await self._driver.fetchrow(query.text, *query.arguments(values))

    async def value(self, statement: Statement, values: Mapping[str, object] = _NOTHING) -> Any:  # noqa: ANN401 - as rows
        """The first column of the first row; None when there is none."""
        query = await self._next(statement)
        return await self._driver.fetchval(query.text, *query.arguments(values))

    async def change(self, statement: Statement, values: Mapping[str, object] = _NOTHING) -> int:
        """Changes rows, and says how many."""
        query = await self._next(statement)
        tag = await self._driver.execute(query.text, *query.arguments(values))
        return int(tag.rpartition(" ")[2])

    async def _next(self, statement: Statement) -> Query:
        await self.flush()
        return statement if isinstance(statement, Query) else Query(statement)


async def prepare(connection: "asyncpg.Connection[Row]") -> None:
    """Teaches a new connection that ids are texts and that `jsonb` is data."""
    await connection.set_type_codec("uuid", schema="pg_catalog", encoder=str, decoder=str)
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads)


@cache
def _together(writes: tuple[Write, ...]) -> str:
    """One statement for several: each is a common table expression, its parameters numbered on."""
    parts: list[str] = []
    before = 0
    for name, query in (part for write in writes for part in write.parts.items()):
        parts.append(f"{name} AS ({query.numbered_after(before)})")
        before += query.size
    return f"WITH {', '.join(parts)} SELECT"
