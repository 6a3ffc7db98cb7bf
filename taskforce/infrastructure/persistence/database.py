"""Access to PostgreSQL: every transaction first enters its tenant, or the platform's scope (row-level security)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import sqlalchemy as sa

from taskforce.core.domain.access.fair_shares import FairShares
from taskforce.core.domain.audit.content import ContentRules
from taskforce.core.domain.errors import Invalid, Unavailable
from taskforce.core.domain.identity.api_keys import ApiKey
from taskforce.core.domain.runs.kill_switches import ListedSwitch
from taskforce.core.domain.tenants.deletion import Deletion
from taskforce.core.domain.tenants.tenant import Tenant
from taskforce.core.domain.webhooks.endpoint import FixedWebhooks
from taskforce.core.interfaces.backlog import Waiting
from taskforce.core.interfaces.due_rows import DueKind
from taskforce.core.interfaces.expired_rows import ExpiredKind
from taskforce.core.interfaces.metrics import BudgetUsed, FactObserver, Observers
from taskforce.core.interfaces.repositories.webhooks import QueuedTenants
from taskforce.core.interfaces.tracing import NO_SPAN, NO_TRACING, Span, SpanStart, Tracer
from taskforce.infrastructure.config.settings import driver_arguments
from taskforce.infrastructure.persistence.column_encryption import ColumnSealer
from taskforce.infrastructure.persistence.connection import Connection, Query, ReadingConnection, Row, prepare
from taskforce.infrastructure.persistence.platform import PlatformRecords
from taskforce.infrastructure.persistence.repositories.sweep_leases import NO_TENANT
from taskforce.infrastructure.persistence.sqlstates import LOST_CONNECTION, StatementError, translated, unavailable
from taskforce.infrastructure.persistence.statement_spans import BEGIN, COMMIT
from taskforce.infrastructure.persistence.tenant_records import TenantRecords

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

GOODBYE_SECONDS = 2
_TIMES = 4
"""A tenant alone gets four fifths of the connections: transactions are short, and others find one free."""
_PLATFORMS = ""
"""The holder of the platform's transactions, which are no tenant's."""
_UNNOTICED = "A statement failed and went unnoticed; the transaction was rolled back."
_BEGIN = "BEGIN"
_PLATFORM = "set_config('app.platform', 'on', true)"
_COUNTING = "set_config('synchronous_commit', 'off', true)"
_ROLE = Query(
    sa.text(
        "SELECT r.rolsuper OR r.rolbypassrls AS bypasses, "
        "EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE c.relowner = r.oid AND c.relkind IN ('r', 'p') AND n.nspname NOT LIKE 'pg\\_%') AS owns "
        "FROM pg_roles r WHERE r.rolname = current_user"
    )
)
_SCHEMA = Query(sa.text("SELECT to_regclass('runs') IS NOT NULL"))
_SERVER_PROCESS = "SELECT pg_backend_pid()"
_ALIVE = Query(sa.text("SELECT 1"))


class Database:
    """Pools connections and opens transactions.

    Args:
        url: The normalised URL (`postgresql+asyncpg://...`) of the application's role.
        pool_size: Connections held open at most.
        patience: Seconds to wait for a free connection; then `database_unavailable`.
        contents: The audit log's content rules.
        sealer: Encrypts and decrypts columns; the default can do neither.
        fixed_webhooks: The deployment's own webhooks.
        observer: Learns of committed facts.
        tracer: Traces statements.

    Attributes:
        queued: The tenants for whom this process may have queued webhook deliveries.
    """

    def __init__(
        self,
        url: str,
        pool_size: int = 10,
        patience: float = 10,
        contents: ContentRules | None = None,
        *,
        sealer: ColumnSealer | None = None,
        fixed_webhooks: FixedWebhooks | None = None,
        observer: FactObserver | None = None,
        tracer: Tracer = NO_TRACING,
    ) -> None:
        self.queued = QueuedTenants()
        self._tracer = tracer
        self._sealer = sealer or ColumnSealer()
        self._fixed = fixed_webhooks or {}
        self._observer = observer or Observers()
        self._where = driver_arguments(url)
        self._size = pool_size
        self._patience = patience
        self._contents = contents or ContentRules()
        self._pool: asyncpg.Pool[Row] | None = None
        self._closed = False
        self._turns = FairShares(pool_size, _busy, _TIMES)

    async def close(self) -> None:
        """Closes every connection; later transactions fail."""
        self._closed = True
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                await asyncio.wait_for(pool.close(), 5)
            except TimeoutError:
                pool.terminate()

    async def check(self) -> None:
        """Requires a schema, a role to which row-level security applies, and statements that stay prepared.

        Raises:
            Unavailable: `database_role_unsafe`, `database_schema_missing`, `statements_lost` or `database_unavailable`.
        """
        async with self._transaction(_PLATFORMS, _BEGIN) as connection:
            role = await connection.one(_ROLE)
            # Row-level security does not apply to these roles, so one forgotten condition would show another tenant's
            # rows.
            if role.bypasses or role.owns:
                raise Unavailable(
                    "database_role_unsafe",
                    "The role of DATABASE_URL is a superuser, bypasses row-level security or owns tables. "
                    "Connect as taskforce_app; run migrations as the owner through MIGRATION_DATABASE_URL.",
                )
            if not await connection.value(_SCHEMA):
                raise Unavailable(
                    "database_schema_missing",
                    "The database has no schema yet. Run `python -m models.migrations upgrade` first.",
                )

        async with _telling():
            await self._check_statements()

    async def _check_statements(self) -> None:
        """Has a pooler of transactions, if there is one, carry out a statement elsewhere than where it was prepared."""
        async with _own_connection(self._where) as one, _own_connection(self._where) as other:
            prepared_at = await one.fetchval(_SERVER_PROCESS)
            async with other.transaction():
                if await other.fetchval(_SERVER_PROCESS) == prepared_at:
                    await one.fetchval(_SERVER_PROCESS)

    async def ping(self) -> None:
        """Sends a trivial query to the database.

        Raises:
            Unavailable: `database_unavailable`.
        """
        async with self._transaction(_PLATFORMS, _BEGIN) as connection:
            await connection.value(_ALIVE)

    @asynccontextmanager
    async def tenant(self, tenant_id: str) -> AsyncIterator[TenantRecords]:
        """Opens a transaction in which only this tenant's rows are visible; commits when the block ends.

        Args:
            tenant_id: The tenant.

        Raises:
            Unavailable: `database_unavailable` when PostgreSQL does not answer.
        """
        async with self._transaction(tenant_id, f"BEGIN; SELECT {_tenant(tenant_id)}") as connection:
            records = self._records(connection, tenant_id)
            yield records
        self._observer.observed(tenant_id, records.facts)
        # After the commit: whoever is woken must find the rows.
        if records.deliveries.queued:
            if (cause := self._tracer.current()) is not None:
                self.queued.follow(records.deliveries.queued, cause)
            self.queued.add(tenant_id)

    @asynccontextmanager
    async def reading(self, tenant_id: str) -> AsyncIterator[TenantRecords]:
        """Reads this tenant's rows; each statement is one round trip, and sees what is committed when it is sent.

        Raises:
            TypeError: The block writes.
            Unavailable: `database_unavailable` when PostgreSQL does not answer.
        """
        async with _telling(), self._connection(tenant_id) as driver:
            yield self._records(ReadingConnection(driver, tenant_id, self._tracer), tenant_id)

    @asynccontextmanager
    async def counting(self, tenant_id: str) -> AsyncIterator[TenantRecords]:
        """Opens a transaction as `tenant` does, for losable counts: the commit does not wait for the disk."""
        async with self._transaction(tenant_id, f"BEGIN; SELECT {_tenant(tenant_id)}, {_COUNTING}") as connection:
            records = self._records(connection, tenant_id)
            yield records
        self._observer.observed(tenant_id, records.facts)

    async def due_tenants(self, kind: DueKind, before: datetime, after: str, most: int) -> Sequence[tuple[str, bool]]:
        """Returns a page of the tenants with rows of a kind, each with whether some are due; fulfils `DueTenants`."""
        async with self._platform("") as records:
            return await records.due_tenants(kind, before, after, most)

    async def due_among(self, kind: DueKind, before: datetime, tenants: Collection[str]) -> Sequence[str]:
        """Returns those of some tenants that have due rows; fulfils `DueTenants`."""
        async with self._platform("") as records:
            return await records.due_among(kind, before, tenants)

    async def late_rows(self, kind: DueKind, before: datetime) -> Waiting:
        """Returns how many tenants have rows of a kind that were due before a time; fulfils `Backlog`."""
        async with self._platform("") as records:
            return await records.late_rows(kind, before)

    async def pending_requests(self) -> Mapping[str, Waiting]:
        """Returns the requests for approval that wait for people, by tenant; fulfils `Backlog`."""
        async with self._platform("") as records:
            return await records.pending_requests()

    async def budgets_used(self, now: datetime) -> Sequence[tuple[str, BudgetUsed]]:
        """Returns how much of budgets is used in their current periods, the fullest first; fulfils `Backlog`."""
        async with self._platform("") as records:
            return await records.budgets_used(now)

    async def register_tenant(self, tenant_id: str, now: datetime) -> None:
        """Adds the tenant's row if it does not exist; fulfils `Platform`."""
        async with self.tenant(tenant_id) as records:
            await records.tenant.add(Tenant(tenant_id, tenant_id, now, now))

    async def tenants(self, after: str | None, most: int) -> Sequence[Tenant]:
        """Returns a page of all tenants, by id; fulfils `Platform`."""
        async with self._platform("") as records:
            return await records.tenants(after, most)

    async def expired_tenants(self, kind: ExpiredKind, at: datetime) -> Sequence[Tenant]:
        """Returns the tenants with rows of a kind that may be erased; fulfils `ExpiredRows`."""
        async with self._platform("") as records:
            return await records.expired_tenants(kind, at)

    async def unsealed_tenants(self, after: str | None, most: int) -> Sequence[Tenant]:
        """Returns a page of the tenants that have unsealed audit events, by id; fulfils `UnsealedLogs`."""
        async with self._platform("") as records:
            return await records.unsealed_tenants(after, most)

    @asynccontextmanager
    async def with_key(self, key_hash: str) -> AsyncIterator[tuple[ApiKey, TenantRecords] | None]:
        """Finds an API key, and opens its tenant's repositories as `counting` does; fulfils `Platform`."""
        # No tenant yet: the query that finds the key enters the key's.
        async with self._transaction(
            _PLATFORMS, f"BEGIN; SELECT {_PLATFORM}, {_tenant('')}, {_COUNTING}"
        ) as connection:
            key = await PlatformRecords(connection).find_key(key_hash)
            yield None if key is None else (key, self._records(connection, key.tenant_id))

    async def deletion(self, tenant_id: str) -> Deletion | None:
        """Returns the report of a tenant's deletion; fulfils `Platform`."""
        async with self._platform("") as records:
            return await records.deletion(tenant_id)

    async def kill_switches(self, after: tuple[str, str, str] | None, most: int) -> Sequence[ListedSwitch]:
        """Returns a page of the pulled kill switches of all tenants, after a place; fulfils `Platform`."""
        async with self._platform("") as records:
            return await records.kill_switches(after, most)

    async def open_deletions(
        self, before: datetime, since: datetime, after: str, most: int
    ) -> Sequence[tuple[str, bool]]:
        """Returns a page of the open deletions, each with whether it has begun; fulfils `Platform`."""
        async with self._platform("") as records:
            return await records.open_deletions(before, since, after, most)

    async def hold_sweeps(self, sweeps: Collection[str], holder: str, lease: timedelta) -> frozenset[str]:
        """Takes free and expired leases of sweeps, and renews the holder's; fulfils `SweepLeases`."""
        async with self._platform(NO_TENANT) as records:
            return await records.leases.hold(sweeps, holder, lease)

    async def release_sweeps(self, holder: str) -> None:
        """Ends the leases of a holder now; fulfils `SweepLeases`."""
        async with self._platform(NO_TENANT) as records:
            await records.leases.release(holder)

    def _records(self, connection: Connection, tenant_id: str) -> TenantRecords:
        return TenantRecords(connection, tenant_id, self._contents, self._sealer, self._fixed)

    @asynccontextmanager
    async def _platform(self, tenant_id: str) -> AsyncIterator[PlatformRecords]:
        async with self._transaction(_PLATFORMS, f"BEGIN; SELECT {_PLATFORM}, {_tenant(tenant_id)}") as connection:
            yield PlatformRecords(connection)

    @asynccontextmanager
    async def _transaction(self, holder: str, begin: str) -> AsyncIterator[Connection]:
        async with _telling(), self._connection(holder) as driver:
            try:
                with self._span(BEGIN):
                    await driver.execute(begin)
                connection = Connection(driver, self._tracer)
                yield connection
                await connection.flush()
            # Cancellation too: a connection with an open transaction must not return to the pool.
            except BaseException:
                await _roll_back(driver)
                raise
            with self._span(COMMIT):
                await _commit(driver, connection)

    def _span(self, start: SpanStart) -> AbstractContextManager[Span]:
        return self._tracer.span(start) if self._tracer.recording else NO_SPAN

    @asynccontextmanager
    async def _connection(self, holder: str) -> AsyncIterator["PoolConnectionProxy[Row]"]:
        pool = await self._opened()
        # Its queue knows no tenants: a thousand that wait for one would stand before the first of another.
        async with self._turns.awaited(holder, self._patience):
            # Its TimeoutError is an OSError, which `_telling` makes `database_unavailable`.
            async with asyncio.timeout(self._patience):
                driver = await pool.acquire()
            try:
                yield driver
            finally:
                # Bounded: a silent server must not hold up whoever gives the connection back.
                await pool.release(driver, timeout=GOODBYE_SECONDS)

    async def _opened(self) -> "asyncpg.Pool[Row]":
        if self._closed:
            raise Unavailable("database_closed", "This process is about to end; ask another one, or again.")
        if self._pool is None:
            # With min_size=0 the await below does not wait for a connection: two first callers find the same pool.
            self._pool = asyncpg.create_pool(
                **{"statement_cache_size": 500, **self._where},
                min_size=0,
                max_size=self._size,
                # asyncpg replaces a connection after 50,000 queries by default; a new one prepares each statement anew.
                max_queries=1_000_000,
                max_inactive_connection_lifetime=1_800,
                timeout=5,
                command_timeout=60,
                record_class=Row,
                init=prepare,
                # No reset is needed: settings are local to a transaction, and no pooled connection listens.
                reset=_leave,
            )
            await self._pool
        return self._pool


@asynccontextmanager
async def _own_connection(where: Mapping[str, Any]) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    connection = await asyncpg.connect(**where, timeout=5, command_timeout=10)
    try:
        yield connection
    finally:
        await connection.close(timeout=GOODBYE_SECONDS)


def _busy() -> Unavailable:
    return Unavailable("database_unavailable", "All connections to PostgreSQL that a tenant may have are in use.")


@asynccontextmanager
async def _telling() -> AsyncIterator[None]:
    """Translates errors of PostgreSQL and of the driver to the product's."""
    try:
        yield
    except asyncpg.ClientConfigurationError as error:
        raise Invalid("bad_setting", f"DATABASE_URL cannot be used: {error}") from None
    # A migration that changes a table invalidates prepared statements; the next attempt prepares them anew.
    except (*LOST_CONNECTION, asyncpg.InvalidCachedStatementError) as error:
        raise unavailable(error) from error
    except asyncpg.PostgresError as error:
        raise translated(error) from None


def _tenant(tenant_id: str) -> str:
    # Sent in one message with BEGIN, which takes no parameters. is_local = true: the setting ends with the transaction,
    # so a pooled connection carries nothing over.
    if "\x00" in tenant_id:
        raise ValueError("A tenant id holds no NUL.")
    quoted = tenant_id.replace("\\", "\\\\").replace("'", "''")
    return f"set_config('app.tenant_id', E'{quoted}', true)"


async def _commit(driver: "PoolConnectionProxy[Row]", connection: Connection) -> None:
    if connection.broken:
        await _roll_back(driver)
        raise StatementError(_UNNOTICED)
    try:
        # PostgreSQL answers ROLLBACK, without an error, to the COMMIT of a transaction in which a statement failed.
        answer = await driver.execute("COMMIT")
    except asyncpg.IntegrityConstraintViolationError as error:
        raise translated(error) from None
    except (*LOST_CONNECTION, asyncpg.PostgresError) as error:
        text = "The database went away at the very end: it is not known whether the change was made. Look first."
        raise Unavailable("database_outcome_unknown", text) from error
    if answer != "COMMIT":
        raise StatementError(_UNNOTICED)


async def _leave(_: object) -> None:
    """Resets nothing when a connection returns to the pool."""


async def _roll_back(driver: "PoolConnectionProxy[Row]") -> None:
    # Closing a connection rolls back as well; the roll-back has a time limit, for a silent server must delay nobody.
    try:
        await driver.execute("ROLLBACK", timeout=GOODBYE_SECONDS)
    except (*LOST_CONNECTION, asyncpg.PostgresError):
        with contextlib.suppress(asyncpg.InterfaceError):
            driver.terminate()
