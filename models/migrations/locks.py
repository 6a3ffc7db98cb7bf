"""Locks that migrations wait for: for how long, and who holds them.

A statement that waits for a strong lock stops every later query of that table behind it. So migrations wait briefly,
give the queue way, and try again; when they give up they name the session in their way.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from taskforce.core.domain.errors import Unavailable

_GIVEN_UP = frozenset({"55P03", "40P01"})  # lock_not_available, deadlock_detected
_BLOCKERS = sa.text(
    "SELECT a.pid, a.usename::text AS role, a.application_name::text AS application, "
    "(SELECT l.relation::regclass::text FROM pg_locks l WHERE l.pid = :waits AND NOT l.granted LIMIT 1) AS relation "
    "FROM pg_stat_activity a WHERE a.pid = ANY (pg_blocking_pids(:waits)) ORDER BY a.backend_start NULLS LAST"
)


@dataclass(frozen=True, slots=True)
class Patience:
    """Bounds how long a migration waits for locks.

    Attributes:
        lock_seconds: The longest wait of one statement; queries of the table may queue behind it for as long.
        build_seconds: The longest wait of an index that is built concurrently; no query queues behind it.
        tries: How often a migration is tried.
        pause_seconds: Between two tries.
    """

    lock_seconds: float = 2
    build_seconds: float = 300
    tries: int = 10
    pause_seconds: float = 3


@dataclass(frozen=True, slots=True)
class Blocker:
    """Describes the session that stood in a migration's way last."""

    pid: int
    role: str | None
    application: str | None
    relation: str | None

    def __str__(self) -> str:
        what = f"the table {self.relation}" if self.relation else "a transaction"
        name = f", application {self.application}" if self.application else ""
        return f"{what} is held by session {self.pid} (role {self.role}{name})"


def is_lock_timeout(error: BaseException) -> bool:
    """Returns whether a statement was given up because of a lock."""
    return isinstance(error, sa.exc.DBAPIError) and getattr(error.orig, "sqlstate", None) in _GIVEN_UP


def locked_out(patience: Patience, blocker: Blocker | None) -> Unavailable:
    """Builds the error of a migration that gave up; it says what is in its way, and what to do."""
    held = "another session holds a lock that it needs" if blocker is None else str(blocker)
    end = "" if blocker is None else f", or end it: SELECT pg_terminate_backend({blocker.pid});"
    return Unavailable(
        "migration_locked",
        f"The migration gave up after {patience.tries} tries: {held}. What was not finished is undone, and earlier "
        f"migrations stay. Wait until that session has ended{end} then run the same command again.",
    )


class BlockerWatch:
    """Looks who stands in a migration's way, while it waits.

    Attributes:
        last: The last session that was seen.
    """

    def __init__(self) -> None:
        self.last: Blocker | None = None

    async def look(self, engine: AsyncEngine, pid: int, seconds: float) -> None:
        """Looks at intervals, until it is cancelled; a look that fails says nothing."""
        with contextlib.suppress(OSError, sa.exc.SQLAlchemyError):
            async with engine.connect() as connection:
                while True:
                    row = (await connection.execute(_BLOCKERS, {"waits": pid})).first()
                    # Without an open snapshot: an index that is built concurrently would wait for this session.
                    await connection.rollback()
                    self.last = self.last if row is None else Blocker(*row)
                    await asyncio.sleep(seconds)


@asynccontextmanager
async def blockers(engine: AsyncEngine, connection: AsyncConnection, patience: Patience) -> AsyncIterator[BlockerWatch]:
    """Watches over a connection while the block lasts."""
    pid = int((await connection.execute(sa.text("SELECT pg_backend_pid()"))).scalar_one())
    await connection.rollback()
    watch = BlockerWatch()
    looking = asyncio.create_task(watch.look(engine, pid, patience.lock_seconds / 4))
    try:
        yield watch
    finally:
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking
