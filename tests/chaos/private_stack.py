"""Servers and workers that belong to one test, so that it may stop and kill them."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from cli.stack.binaries import temporal_binary
from cli.stack.postgres import EmbeddedPostgres
from cli.stack.temporal import TemporalDevServer
from models.migrations.runner import upgrade
from taskforce.core.interfaces.clock import Clock, utc_now
from taskforce.infrastructure.config.settings import normalise_database_url
from taskforce.infrastructure.llm.litellm_model import LiteLLMModel
from taskforce.infrastructure.net.guarded_http import GuardedHttp
from taskforce.infrastructure.persistence.column_encryption import ColumnSealer
from taskforce.infrastructure.persistence.database import Database
from taskforce.infrastructure.persistence.notifications import Publisher
from taskforce.infrastructure.tools.declaration import Tool
from taskforce.infrastructure.tools.registry import ToolRegistry
from tests.fixtures.stack import MASTER_KEY, PROOF_KEY, keep_logs_for
from worker import WorkerParts


class OwnServers:
    """A PostgreSQL and a Temporal over a file, both of the test's own.

    Args:
        home: An empty directory.
        dynamic_config: Further settings of the Temporal server.
        postgres_settings: Further settings of PostgreSQL.
    """

    def __init__(
        self,
        home: Path,
        dynamic_config: Mapping[str, str] | None = None,
        postgres_settings: Mapping[str, str] | None = None,
    ) -> None:
        self.postgres = EmbeddedPostgres(home / "pg", durable=False, settings=postgres_settings)
        self.temporal = TemporalDevServer(
            temporal_binary(print),
            log=home / "temporal.log",
            database=home / "temporal.db",
            dynamic_config=dynamic_config,
        )

    async def __aenter__(self) -> Self:
        # The Temporal server ends with the thread that starts it, so that it starts in this one.
        self.temporal.launch()
        await asyncio.to_thread(self.postgres.start)
        await upgrade(self.owner_url)
        await self.keep_logs_for("0 seconds")
        await asyncio.to_thread(self.temporal.wait_ready)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.temporal.stop)
        await asyncio.to_thread(self.postgres.stop)

    async def kill_temporal(self) -> None:
        """Kills Temporal, as `kill -9` does."""
        identity = self.temporal.identity()
        assert identity is not None
        os.kill(identity.pid, signal.SIGKILL)
        await asyncio.to_thread(self.temporal.stop)

    async def restart_temporal(self) -> None:
        """Starts it again, over the same file."""
        self.temporal.launch()
        await asyncio.to_thread(self.temporal.wait_ready)

    def kill_postgres(self) -> None:
        """Kills PostgreSQL; its other processes see that, and end."""
        pid = self.postgres.pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    async def keep_logs_for(self, grace: str) -> None:
        """Says how long the audit log of a tenant that is deleted is kept."""
        await keep_logs_for(self.owner_url, grace)

    @property
    def owner_url(self) -> str:
        """SQLAlchemy's URL of the database, for the owner of the tables."""
        return normalise_database_url(self.postgres.urls().owner)

    @property
    def app_url(self) -> str:
        """SQLAlchemy's URL of the database, for the application."""
        return normalise_database_url(self.postgres.urls().app)


@asynccontextmanager
async def worker_parts(
    app_url: str,
    llm_url: str,
    more_tools: Sequence[Tool],
    clock: Clock = utc_now,
    *,
    allowed: Sequence[str] = (),
) -> AsyncIterator[WorkerParts]:
    """What a worker of the product needs, with tools that only tests have and a model server of the test's own."""
    async with AsyncExitStack() as stack:
        database = Database(app_url, pool_size=20, sealer=ColumnSealer(MASTER_KEY))
        stack.push_async_callback(database.close)
        live = await stack.enter_async_context(Publisher(app_url))
        model = LiteLLMModel(api_base=llm_url)
        stack.push_async_callback(model.aclose)
        http = GuardedHttp(frozenset(allowed))
        stack.push_async_callback(http.aclose)
        tools = ToolRegistry([*ToolRegistry.discover().tools, *more_tools])
        yield WorkerParts(
            database=database, live=live, model=model, tools=tools, http=http, clock=clock, proof_key=PROOF_KEY
        )
