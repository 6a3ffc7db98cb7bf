"""Execution of SQLAlchemy statements by asyncpg: each is compiled once, and sent by the driver.

SQLAlchemy writes the SQL and knows the tables; its own way of executing takes four times the CPU of the driver's (see
docs/decisions/0008-asyncpg-executes.md).
"""

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache, cached_property
from typing import Any, TypeVar, cast

import asyncpg
import sqlalchemy as sa
from asyncpg.pool import PoolConnectionProxy
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.sql.compiler import SQLCompiler

from taskforce.core.interfaces.metrics import Fact
from taskforce.core.interfaces.tracing import NO_TRACING, Tracer
from taskforce.infrastructure.persistence.statement_spans import statement_span

_DIALECT = PGDialect_asyncpg()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves dialects untyped
_NUMBER = re.compile(r"\$(\d+)")
_LOCK = re.compile(r"\bFOR (NO KEY )?(UPDATE|SHARE)\b|\bFOR KEY SHARE\b|\bpg_advisory_")
_NOTHING: Mapping[str, object] = {}
Result = TypeVar("Result")


class Row(asyncpg.Record):
    """Declares a row whose columns are attributes."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - rows are untyped; repositories make aggregates of them
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class Query:
    """Compiles a statement to the driver's SQL, with its parameters in order.

    Compiling takes longer than sending: a frequent query is a constant of its module, with `bindparam`s.

    Args:
        statement: A statement of SQLAlchemy; a list is one parameter, compared with `any_`, not with `in_`.
        sets: The columns that an INSERT or UPDATE sets by parameters of their names; without, those that the statement
            sets itself, or all columns of an INSERT.
        beside: Whether it reads nothing that this transaction writes, and so may be sent together with waiting writes.
    """

    def __init__(self, statement: sa.ClauseElement, sets: Sequence[str] = (), *, beside: bool = False) -> None:
        sql = cast("SQLCompiler", statement.compile(dialect=_DIALECT, column_keys=list(sets) or None))
        self.text = str(sql)
        self.beside = beside
        self._names = tuple(sql.positiontup or ())
        wanted = {name for name, bound in sql.binds.items() if bound.required}
        self._own = {name: value for name, value in sql.params.items() if name not in wanted}

    @property
    def size(self) -> int:
        """Returns the number of parameters."""
        return len(self._names)

    def numbered_after(self, before: int) -> str:
        """Returns the text with parameters numbered from `before` + 1."""
        return _NUMBER.sub(lambda found: f"${int(found[1]) + before}", self.text)

    @cached_property
    def entering(self) -> str:
        """Returns a SELECT that enters its tenant itself, by a first parameter before its own.

        The query depends on the setting, row by row, so that PostgreSQL sets the tenant before it reads the first row.

        Raises:
            TypeError: The query locks rows, and without a transaction nothing would hold the lock.
        """
        if _LOCK.search(self.text):
            raise TypeError("A look locks nothing.")
        # `OFFSET 0` keeps the planner from merging the subqueries and from reading before the tenant is set.
        enters = "SELECT set_config('app.tenant_id', $1, true) AS tenant OFFSET 0"
        asked = self.numbered_after(1)
        once = f"SELECT asked.* FROM ({asked}) asked WHERE entered.tenant IS NOT NULL OFFSET 0"  # noqa: S608 - our text
        return f"SELECT found.* FROM ({enters}) entered CROSS JOIN LATERAL ({once}) found"  # noqa: S608 - our text

    def arguments(self, values: Mapping[str, object]) -> list[object]:
        """Returns the parameters in the order in which they are sent.

        Raises:
            KeyError: A parameter has no value.
        """
        own = self._own
        return [values[name] if name in values else own[name] for name in self._names]


Statement = Query | sa.ClauseElement


class DeferredWrite:
    """Describes a change whose outcome nobody waits for.

    Args:
        updates: The row that it updates, by any name: of two that update the same row, a statement would do only one.
        parts: Its statements by name; one may select from what an earlier one returns.
    """

    def __init__(self, updates: str | None = None, **parts: Query) -> None:
        self.updates = updates
        self.parts = parts

    def collides(self, other: "DeferredWrite") -> bool:
        """Returns whether the two writes must not be sent as one statement."""
        return self is other or (self.updates is not None and self.updates == other.updates)

    def arguments(self, values: Mapping[str, object]) -> list[object]:
        """Returns the parameters of all parts."""
        return [argument for part in self.parts.values() for argument in part.arguments(values)]


class Connection:
    """Sends statements within one transaction.

    Args:
        driver: The driver's connection, in a transaction.
        tracer: Traces the statements.

    Attributes:
        broken: Whether a write failed; the transaction must not be committed.
        facts: What the transaction adds that the metrics count after its commit.
    """

    def __init__(self, driver: "PoolConnectionProxy[Row]", tracer: Tracer = NO_TRACING) -> None:
        self._driver = driver
        self._tracer = tracer
        self._later: dict[DeferredWrite, list[object]] = {}
        self.broken = False
        self.facts: list[Fact] = []

    async def later(self, write: DeferredWrite, values: Mapping[str, object]) -> None:
        """Queues a write for the next statement or the commit; waiting writes are sent as one statement."""
        if any(write.collides(other) for other in self._later):
            await self.flush()
        self._later[write] = write.arguments(values)

    async def flush(self) -> None:
        """Sends the waiting writes."""
        if self._later:
            await self._with_waiting(self._driver.execute, None, ())

    async def all(self, statement: Statement, values: Mapping[str, object] = _NOTHING) -> Sequence[Row]:
        """Returns every row of the result."""
        return await self._send(self._driver.fetch, statement, values)

    async def one(self, statement: Statement, values: Mapping[str, object] = _NOTHING) -> Row:
        """Returns the first row, which must exist.

        Raises:
            LookupError: There is none.
        """
        row = await self.first(statement, values)
        if row is None:
            raise LookupError("A statement that always has a row had none.")
        return row

    async def first(self, statement: Statement, values: Mapping[str, object] = _NOTHING) -> Row | None:
        """Returns the first row, if there is one."""
        return await self._send(self._driver.fetchrow, statement, values)

    async def value(self, statement: Statement, values: Mapping[str, object] = _NOTHING) -> Any:  # noqa: ANN401 - as rows
        """Returns the first column of the first row; None when there is none."""
        return await self._send(self._driver.fetchval, statement, values)

    async def change(self, statement: Statement, values: Mapping[str, object] = _NOTHING) -> int:
        """Executes a change and returns the number of rows."""
        tag = await self._send(self._driver.execute, statement, values)
        # PostgreSQL's command tag ends in the number of rows: `UPDATE 3`, `INSERT 0 3`.
        return int(tag.rpartition(" ")[2])

    async def _send(
        self, send: Callable[..., Awaitable[Result]], statement: Statement, values: Mapping[str, object]
    ) -> Result:
        query = statement if isinstance(statement, Query) else Query(statement)
        arguments = query.arguments(values)
        # One round trip instead of two. All parts of one statement see the same snapshot, hence `beside`.
        if self._later and query.beside:
            return await self._with_waiting(send, query, arguments)
        await self.flush()
        return await self._traced(send, query.text, arguments)

    async def _with_waiting(
        self, send: Callable[..., Awaitable[Result]], query: Query | None, arguments: Sequence[object]
    ) -> Result:
        writes, self._later = self._later, {}
        before = [argument for one in writes.values() for argument in one]
        # The transaction lacks the waiting writes until they succeed: whoever catches the error must not commit it.
        self.broken = True
        result = await self._traced(send, _together(tuple(writes), query), [*before, *arguments])
        self.broken = False
        return result

    async def _traced(self, send: Callable[..., Awaitable[Result]], text: str, arguments: Sequence[object]) -> Result:
        # Only what a request or an activity does: what sweeps do by themselves would be most of all traces.
        if not self._tracer.recording:
            return await send(text, *arguments)
        with self._tracer.span(statement_span(text)):
            return await send(text, *arguments)


class ReadingConnection(Connection):
    """Sends reading statements outside a transaction, each in one of its own.

    Args:
        driver: The driver's connection, in no transaction.
        tenant_id: The tenant whose rows are read.
        tracer: Traces the statements.
    """

    def __init__(self, driver: "PoolConnectionProxy[Row]", tenant_id: str, tracer: Tracer = NO_TRACING) -> None:
        super().__init__(driver, tracer)
        self._tenant_id = tenant_id

    async def later(self, write: DeferredWrite, values: Mapping[str, object]) -> None:
        """Refuses to write."""
        raise TypeError("A look changes nothing.")

    async def change(self, statement: Statement, values: Mapping[str, object] = _NOTHING) -> int:
        """Refuses to write."""
        raise TypeError("A look changes nothing.")

    async def _send(
        self, send: Callable[..., Awaitable[Result]], statement: Statement, values: Mapping[str, object]
    ) -> Result:
        query = statement if isinstance(statement, Query) else Query(statement)
        # Outside a transaction no setting lasts, so each statement enters the tenant itself.
        return await self._traced(send, query.entering, [self._tenant_id, *query.arguments(values)])


async def prepare(connection: "asyncpg.Connection[Row]") -> None:
    """Configures a new connection: ids are strings, and `jsonb` is decoded."""
    await connection.set_type_codec("uuid", schema="pg_catalog", encoder=str, decoder=str)
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads)


# Only constants of modules come here (`DeferredWrite`s, and queries that are `beside`), so the cache stays small.
@cache
def _together(writes: tuple[DeferredWrite, ...], query: Query | None) -> str:
    """Joins statements into one: each becomes a common table expression, parameters renumbered, the query last."""
    parts: list[str] = []
    before = 0
    for name, part in (named for write in writes for named in write.parts.items()):
        parts.append(f"{name} AS ({part.numbered_after(before)})")
        before += part.size
    return f"WITH {', '.join(parts)} {'SELECT' if query is None else query.numbered_after(before)}"
