"""The door to PostgreSQL: every transaction says first to which tenant it belongs, or that it is the platform's."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from taskforce.core.domain.errors import Unavailable
from taskforce.infrastructure.persistence.platform import PlatformRecords
from taskforce.infrastructure.persistence.records import TenantRecords

# is_local = true: the setting ends with the transaction, so a pooled connection carries nothing over.
_SET_TENANT = sa.text("SELECT set_config('app.tenant_id', :tenant, true)")
_SET_PLATFORM = sa.text("SELECT set_config('app.platform', 'on', true), set_config('app.tenant_id', :tenant, true)")
_ROLE = sa.text(
    "SELECT r.rolsuper OR r.rolbypassrls AS bypasses, "
    "EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE c.relowner = r.oid AND c.relkind IN ('r', 'p') AND n.nspname NOT LIKE 'pg\\_%') AS owns "
    "FROM pg_roles r WHERE r.rolname = current_user"
)
_SCHEMA = sa.text("SELECT to_regclass('runs') IS NOT NULL")


class Database:
    """A pool of connections and the doors through it.

    Args:
        url: SQLAlchemy URL (`postgresql+asyncpg://...`) of the application's role.
        pool_size: Connections held open at most.
    """

    def __init__(self, url: str, pool_size: int = 10) -> None:
        self._engine = create_async_engine(
            url,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=10,
            pool_pre_ping=False,
            pool_recycle=1_800,
            # Errors travel into logs; missions and arguments shall not.
            hide_parameters=True,
            connect_args={"timeout": 5, "command_timeout": 60},
        )

    async def close(self) -> None:
        """Closes every connection."""
        await self._engine.dispose()

    async def check(self) -> None:
        """Refuses to work with a role that could see past the tenants' walls, or without a schema.

        Raises:
            Unavailable: `database_role_unsafe`, `database_schema_missing` or `database_unavailable`.
        """
        async with self._transaction() as connection:
            role = (await connection.execute(_ROLE)).one()
            if role.bypasses or role.owns:
                raise Unavailable(
                    "database_role_unsafe",
                    "The role of DATABASE_URL is a superuser, bypasses row-level security or owns tables. "
                    "Connect as taskforce_app; run migrations as the owner through MIGRATION_DATABASE_URL.",
                )
            if not (await connection.execute(_SCHEMA)).scalar_one():
                raise Unavailable(
                    "database_schema_missing",
                    "The database has no schema yet. Run `python -m models.migrations upgrade` first.",
                )

    async def ping(self) -> None:
        """Asks the database for a sign of life.

        Raises:
            Unavailable: `database_unavailable`.
        """
        async with self._transaction() as connection:
            await connection.execute(sa.text("SELECT 1"))

    @asynccontextmanager
    async def tenant(self, tenant_id: str) -> AsyncIterator[TenantRecords]:
        """Opens a transaction in which only this tenant's rows exist; commits when the block ends.

        Args:
            tenant_id: The tenant.

        Raises:
            Unavailable: `database_unavailable` when PostgreSQL does not answer.
        """
        async with self._transaction() as connection:
            await connection.execute(_SET_TENANT, {"tenant": tenant_id})
            yield TenantRecords(connection, tenant_id)

    async def unstarted_runs(self, before: datetime, most: int) -> Sequence[tuple[str, str]]:
        """See `Platform`."""
        async with self._platform("") as records:
            return await records.unstarted_runs(before, most)

    async def register_tenant(self, tenant_id: str, now: datetime) -> None:
        """See `Platform`."""
        async with self._platform(tenant_id) as records:
            await records.register_tenant(tenant_id, now)

    @asynccontextmanager
    async def _platform(self, tenant_id: str) -> AsyncIterator[PlatformRecords]:
        async with self._transaction() as connection:
            await connection.execute(_SET_PLATFORM, {"tenant": tenant_id})
            yield PlatformRecords(connection)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._engine.begin() as connection:
                yield connection
        except (OSError, PoolTimeout, InterfaceError, OperationalError, TimeoutError) as error:
            raise _unavailable(error) from error
        except DBAPIError as error:
            if error.connection_invalidated or _is_outage(error):
                raise _unavailable(error) from error
            raise


def _is_outage(error: DBAPIError) -> bool:
    # SQLSTATE classes: 08 connection, 28 not let in, 3D no such database, 53 out of resources (disk full among them),
    # 57 shut down, 58 system error.
    state = getattr(error.orig, "sqlstate", None) or ""
    return state[:2] in {"08", "28", "3D", "53", "57", "58"}


def _unavailable(error: Exception) -> Unavailable:
    state = getattr(getattr(error, "orig", error), "sqlstate", None)
    hint = f" (SQLSTATE {state})" if state else ""
    return Unavailable("database_unavailable", f"PostgreSQL does not answer{hint}; nothing was changed. Try again.")
