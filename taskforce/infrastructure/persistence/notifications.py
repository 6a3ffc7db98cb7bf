"""Notifications of run events between processes, over PostgreSQL's NOTIFY.

Messages are gathered for a moment and sent in a transaction of their own that writes nothing: a NOTIFY within a writing
transaction would make all commits wait for one another. What is lost when a process dies is read from the tables.
"""

import asyncio
import contextlib
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Self

import asyncpg
import structlog

from taskforce.infrastructure.config.settings import driver_arguments

CHANNEL = "taskforce_live"
MAX_BYTES = 7_900
GATHER_SECONDS = 0.05
MAX_WAITING = 10_000
# Characters of a text in one notification: each takes six bytes of JSON at most, and PostgreSQL takes 7,999 in all.
_PIECE = 1_200

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Notice:
    """Describes one notification: a piece of the model's text, or that milestones are committed (`text` is None)."""

    tenant_id: str
    run_id: str
    step: int = 0
    attempt: int = 0
    text: str | None = None


class _End(ABC):
    """Holds one connection in the background, and opens it again when it is lost."""

    def __init__(self, url: str) -> None:
        self._where = driver_arguments(url)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._hold(), name=type(self).__name__)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _hold(self) -> None:
        while True:
            try:
                connection = await asyncpg.connect(**self._where, timeout=5)
                try:
                    await self._use(connection)
                finally:
                    await connection.close(timeout=1)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
                _log.warning("live.lost", end=type(self).__name__, error=type(error).__name__)
            # A pause, or a database that refuses at once would be asked without end.
            await asyncio.sleep(1)

    @abstractmethod
    async def _use(self, connection: asyncpg.Connection) -> None:
        """Uses the connection until it is lost."""


class Publisher(_End):
    """Sends notifications; see `Live`. Use it as an async context manager.

    Args:
        url: The URL of the database.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._texts: dict[tuple[str, str, int, int], list[str]] = {}
        # A dict for the order of its keys; several milestones of a run need one notification.
        self._changed: dict[tuple[str, str], None] = {}
        self._wake = asyncio.Event()

    def text(self, tenant_id: str, run_id: str, step: int, attempt: int, text: str) -> None:
        """Queues a piece of text without blocking, and drops it when the queue is full."""
        if len(self._texts) < MAX_WAITING:
            self._texts.setdefault((tenant_id, run_id, step, attempt), []).append(text)
            self._wake.set()

    def changed(self, tenant_id: str, run_id: str) -> None:
        """Queues the notification that milestones are committed."""
        if len(self._changed) < MAX_WAITING:
            self._changed[(tenant_id, run_id)] = None
            self._wake.set()

    async def _use(self, connection: asyncpg.Connection) -> None:
        while True:
            await self._wake.wait()
            # Models stream many small pieces: gathered, they need one transaction instead of one each.
            await asyncio.sleep(GATHER_SECONDS)
            self._wake.clear()
            await connection.execute("SELECT pg_notify($1, p) FROM unnest($2::text[]) AS p", CHANNEL, self._take())

    def _take(self) -> list[str]:
        texts, self._texts = self._texts, {}
        changed, self._changed = self._changed, {}
        notices = [
            Notice(*key, text=joined[start : start + _PIECE])
            for key, parts in texts.items()
            for joined in ["".join(parts)]
            for start in range(0, len(joined), _PIECE)
        ]
        notices += [Notice(*key) for key in changed]
        return [_encode(notice, place) for place, notice in enumerate(notices)]


class Listener(_End):
    """Receives the notifications of one gateway over a single connection, whatever the number of streams.

    Args:
        url: The URL of the database.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._streams: dict[tuple[str, str], set[asyncio.Queue[Notice]]] = {}

    @contextlib.asynccontextmanager
    async def follow(self, tenant_id: str, run_id: str) -> AsyncIterator["asyncio.Queue[Notice]"]:
        """Returns a queue of a run's notifications; a slow reader loses notifications, but no milestones (rows)."""
        queue: asyncio.Queue[Notice] = asyncio.Queue(maxsize=1_000)
        streams = self._streams.setdefault((tenant_id, run_id), set())
        streams.add(queue)
        try:
            yield queue
        finally:
            streams.discard(queue)
            if not streams:
                self._streams.pop((tenant_id, run_id), None)

    async def _use(self, connection: asyncpg.Connection) -> None:
        closed = asyncio.Event()
        connection.add_termination_listener(lambda _: closed.set())
        # What was sent while the connection was lost is gone; streams poll the table as well.
        await connection.add_listener(CHANNEL, self._heard())
        await closed.wait()

    def _heard(self) -> Callable[[object, int, str, object], None]:
        def heard(_connection: object, _pid: int, _channel: str, payload: object) -> None:
            notice = _decode(str(payload))
            for queue in self._streams.get((notice.tenant_id, notice.run_id), ()):
                # A slow reader must not delay the others; it reads lost milestones from the table.
                with contextlib.suppress(asyncio.QueueFull):
                    queue.put_nowait(notice)

        return heard


def _encode(notice: Notice, place: int) -> str:
    # PostgreSQL delivers equal payloads of one transaction once, so their positions tell equal pieces of text apart.
    fields = [notice.tenant_id, notice.run_id, notice.step, notice.attempt, notice.text, place]
    # A lone surrogate cannot be sent; JSON has escaped a NUL by now.
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace").decode()


def _decode(payload: str) -> Notice:
    tenant_id, run_id, step, attempt, text, *_ = json.loads(payload)
    return Notice(tenant_id, run_id, step, attempt, text)
