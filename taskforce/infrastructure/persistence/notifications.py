"""Notifications of run events between processes, over PostgreSQL's NOTIFY.

Each run has a channel of its own, and a gateway listens to those that somebody follows there: PostgreSQL drops the
others for 0.3 microseconds each, where one channel for all took 7 of every gateway, whoever followed what. Messages are
gathered for a moment and sent in a transaction of their own that writes nothing: a NOTIFY within a writing transaction
would make all commits wait for one another. What is lost when a process dies is read from the tables.
"""

import asyncio
import contextlib
import hashlib
import json
import secrets
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import asyncpg
import structlog

from taskforce.core.domain.errors import Unavailable
from taskforce.infrastructure.config.settings import driver_arguments
from taskforce.infrastructure.persistence.sqlstates import LOST_CONNECTION

CHANNEL = "taskforce_live"
"""The beginning of each channel's name."""
MAX_BYTES = 7_900
GATHER_SECONDS = 0.05
MAX_WAITING = 10_000
KEEPALIVE_SECONDS = 15.0
"""Seconds of silence after which a connection is asked whether it is still one."""
ANSWER_SECONDS = 5.0
"""Seconds that PostgreSQL may take for a statement; a connection that takes longer is lost."""
# Each character takes six bytes of JSON at most, and PostgreSQL takes 7,999 in all.
_PIECE = 1_200
_FOLLOW_SECONDS = 1.0
_NOTIFY = "SELECT pg_notify(channel, payload) FROM unnest($1::text[], $2::text[]) AS sent (channel, payload)"
_LOST = (*LOST_CONNECTION, asyncpg.PostgresError, TimeoutError)

_log = structlog.get_logger(__name__)
Key = tuple[str, str]
"""Tenant and run."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Describes one notification: a piece of the model's text, or that milestones are committed (`text` is None)."""

    tenant_id: str
    run_id: str
    step: int = 0
    attempt: int = 0
    text: str | None = None


@dataclass(slots=True)
class _Stream:
    """Holds who follows a run.

    Attributes:
        queues: A queue for each follower.
        listening: Set while the connection listens to the run's channel.
        behind: Whether notifications may have been missed: a follower has gone on without, or the connection was lost.
    """

    queues: set["asyncio.Queue[Notice]"] = field(default_factory=set)
    listening: asyncio.Event = field(default_factory=asyncio.Event)
    behind: bool = False

    def put(self, notice: Notice) -> None:
        """Hands a notification to every follower."""
        for queue in self.queues:
            # A slow reader must not delay the others; it reads lost milestones from the table.
            with contextlib.suppress(asyncio.QueueFull):
                queue.put_nowait(notice)


class _End(ABC):
    """Holds one connection in the background, and opens it again when it is lost or answers no more.

    Args:
        url: The URL of the database.
        keepalive: See `KEEPALIVE_SECONDS`; a peer that has vanished is noticed after this and `answer`.
        answer: See `ANSWER_SECONDS`.
    """

    def __init__(self, url: str, *, keepalive: float = KEEPALIVE_SECONDS, answer: float = ANSWER_SECONDS) -> None:
        self._where = {**driver_arguments(url), "timeout": answer, "command_timeout": answer}
        self._keepalive = keepalive
        self._wake = asyncio.Event()
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
                connection = await asyncpg.connect(**self._where)
                try:
                    await self._use(connection)
                finally:
                    await _close(connection)
            except _LOST as error:
                _log.warning("live.lost", end=type(self).__name__, error=type(error).__name__)
            # A pause, or a database that refuses at once would be asked without end.
            await asyncio.sleep(1)

    async def _woken(self, connection: asyncpg.Connection) -> None:
        """Waits for something to do; meanwhile requires at intervals that the other side answers.

        Without, a peer that vanished would not be noticed for hours: its network brings no word of it.
        """
        while True:
            try:
                async with asyncio.timeout(self._keepalive):
                    await self._wake.wait()
            except TimeoutError:
                await connection.execute("SELECT 1")
            else:
                self._wake.clear()
                return

    @abstractmethod
    async def _use(self, connection: asyncpg.Connection) -> None:
        """Uses the connection until it is lost."""


class Publisher(_End):
    """Sends notifications; see `Live`. Use it as an async context manager."""

    def __init__(self, url: str, *, keepalive: float = KEEPALIVE_SECONDS, answer: float = ANSWER_SECONDS) -> None:
        super().__init__(url, keepalive=keepalive, answer=answer)
        self._texts: dict[tuple[str, str, int, int], list[str]] = {}
        # A dict for the order of its keys; several milestones of a run need one notification.
        self._changed: dict[Key, None] = {}

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
            await self._woken(connection)
            # Models stream many small pieces: gathered, they need one transaction instead of one each.
            await asyncio.sleep(GATHER_SECONDS)
            self._wake.clear()
            changed = self._changed
            if taken := self._take():
                await self._send(connection, taken, changed)

    async def _send(
        self, connection: asyncpg.Connection, taken: Sequence[tuple[str, str]], changed: Mapping[Key, None]
    ) -> None:
        try:
            await connection.execute(_NOTIFY, *zip(*taken, strict=True))
        except _LOST:
            # Words that were lost are lost; that milestones are committed is said over the next connection.
            self._changed = {**changed, **self._changed}
            self._wake.set()
            raise

    def _take(self) -> list[tuple[str, str]]:
        """Returns what waits, as channels and payloads."""
        texts, self._texts = self._texts, {}
        changed, self._changed = self._changed, {}
        notices = [
            Notice(*key, text=joined[start : start + _PIECE])
            for key, parts in texts.items()
            for joined in ["".join(parts)]
            for start in range(0, len(joined), _PIECE)
        ]
        notices += [Notice(*key) for key in changed]
        return [
            (channel_of(notice.tenant_id, notice.run_id), _encode(notice, place))
            for place, notice in enumerate(notices)
        ]


class Listener(_End):
    """Receives the notifications of one gateway over a single connection, whatever the number of streams.

    The URL must be that of the server itself: behind a pooler of transactions nothing arrives; see `check_delivery`.
    """

    def __init__(self, url: str, *, keepalive: float = KEEPALIVE_SECONDS, answer: float = ANSWER_SECONDS) -> None:
        super().__init__(url, keepalive=keepalive, answer=answer)
        self._streams: dict[Key, _Stream] = {}

    @contextlib.asynccontextmanager
    async def follow(self, tenant_id: str, run_id: str) -> AsyncIterator["asyncio.Queue[Notice]"]:
        """Returns a queue of a run's notifications; a slow reader loses notifications, but no milestones (rows).

        Whoever reads the tables after it has begun misses nothing: while the connection is lost, what was missed is
        told by one notification of milestones as soon as there is a connection again.
        """
        queue: asyncio.Queue[Notice] = asyncio.Queue(maxsize=1_000)
        stream = self._streams.setdefault((tenant_id, run_id), _Stream())
        stream.queues.add(queue)
        self._wake.set()
        try:
            await self._listened(stream)
            yield queue
        finally:
            stream.queues.discard(queue)
            if not stream.queues and self._streams.get((tenant_id, run_id)) is stream:
                del self._streams[(tenant_id, run_id)]
                self._wake.set()

    async def _listened(self, stream: _Stream) -> None:
        try:
            async with asyncio.timeout(_FOLLOW_SECONDS):
                await stream.listening.wait()
        except TimeoutError:
            stream.behind = True

    async def _use(self, connection: asyncpg.Connection) -> None:
        connection.add_termination_listener(lambda _: self._wake.set())
        heard: set[Key] = set()
        self._wake.set()
        try:
            while not connection.is_closed():
                await self._woken(connection)
                await self._agree(connection, heard)
        finally:
            for stream in self._streams.values():
                stream.listening.clear()
                stream.behind = True

    async def _agree(self, connection: asyncpg.Connection, heard: set[Key]) -> None:
        """Listens to what is followed, and to nothing else."""
        for key in heard - self._streams.keys():
            heard.discard(key)
            await connection.remove_listener(channel_of(*key), self._deliver)
        for key, stream in tuple(self._streams.items()):
            if key not in heard:
                await connection.add_listener(channel_of(*key), self._deliver)
                heard.add(key)
            if stream.behind:
                stream.behind = False
                stream.put(Notice(*key))
            stream.listening.set()

    def _deliver(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        notice = _decode(str(payload))
        stream = self._streams.get((notice.tenant_id, notice.run_id))
        if stream is not None:
            stream.put(notice)


async def check_delivery(listen_url: str, url: str, seconds: float = ANSWER_SECONDS) -> None:
    """Requires that what is sent through one URL arrives at whoever listens through another.

    Args:
        listen_url: The URL of listeners.
        url: The URL of everybody else.
        seconds: The longest time that it may take.

    Raises:
        Unavailable: `notifications_lost`, or `database_unavailable`.
    """
    channel = f"{CHANNEL}_{secrets.token_hex(20)}"
    arrived = asyncio.Event()
    try:
        async with _connected(listen_url, seconds) as listening, _connected(url, seconds) as sending:
            await listening.add_listener(channel, lambda *_: arrived.set())
            await sending.execute(_NOTIFY, [channel], [""])
            await _require(arrived, seconds)
    except _LOST as error:
        why = str(error) or "no answer in time"
        text = f"Nobody can listen at LISTEN_DATABASE_URL, or send at DATABASE_URL: {why}"
        raise Unavailable("database_unavailable", text) from error


async def _require(arrived: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await arrived.wait()
    except TimeoutError:
        raise Unavailable("notifications_lost", _NOTHING_ARRIVES) from None


_NOTHING_ARRIVES = (
    "A notification that was sent through DATABASE_URL did not arrive where the gateway listens. A pooler of "
    "transactions, such as PgBouncer, delivers none: set LISTEN_DATABASE_URL to a URL of the same database on the "
    "PostgreSQL server itself."
)


@contextlib.asynccontextmanager
async def _connected(url: str, seconds: float) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(**driver_arguments(url), timeout=seconds, command_timeout=seconds)
    try:
        yield connection
    finally:
        await _close(connection)


async def _close(connection: asyncpg.Connection) -> None:
    """Closes a connection, in a second also where nobody answers."""
    try:
        # The driver's own limit leaves out the wait for an answer to a statement that it has cancelled.
        async with asyncio.timeout(1):
            await connection.close()
    except _LOST:
        connection.terminate()


def channel_of(tenant_id: str, run_id: str) -> str:
    """Returns the name of a run's channel, of which PostgreSQL takes 63 bytes."""
    named = hashlib.blake2b(f"{tenant_id}\n{run_id}".encode("utf-8", "replace"), digest_size=20)
    return f"{CHANNEL}_{named.hexdigest()}"


def _encode(notice: Notice, place: int) -> str:
    # PostgreSQL delivers equal payloads of one transaction once, so their positions tell equal pieces of text apart.
    fields = [notice.tenant_id, notice.run_id, notice.step, notice.attempt, notice.text, place]
    # A lone surrogate cannot be sent; JSON has escaped a NUL by now.
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace").decode()


def _decode(payload: str) -> Notice:
    tenant_id, run_id, step, attempt, text, *_ = json.loads(payload)
    return Notice(tenant_id, run_id, step, attempt, text)
