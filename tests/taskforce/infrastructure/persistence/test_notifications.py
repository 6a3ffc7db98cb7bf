"""What happens in a run, told over a real PostgreSQL."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from taskforce.core.domain.errors import Unavailable
from taskforce.infrastructure.config.settings import driver_arguments
from taskforce.infrastructure.persistence.notifications import (
    CHANNEL,
    MAX_BYTES,
    Listener,
    Notice,
    Publisher,
    channel_of,
    check_delivery,
)
from tests.chaos.invariants import eventually
from tests.fixtures import stack as stacks


@pytest.fixture
async def ends(postgres: stacks.DatabaseUrls) -> AsyncIterator[tuple[Publisher, Listener]]:
    async with Publisher(postgres.app) as publisher, Listener(postgres.app) as listener:
        await heard(publisher, listener)
        yield publisher, listener


async def heard(publisher: Publisher, listener: Listener) -> None:
    """Waits until a word goes all the way."""
    async with asyncio.timeout(60), listener.follow("probe", "probe") as queue:
        while queue.empty():
            publisher.changed("probe", "probe")
            await asyncio.sleep(0.05)


async def until(queue: "asyncio.Queue[Notice]", done: Callable[[list[Notice]], bool]) -> list[Notice]:
    got: list[Notice] = []
    async with asyncio.timeout(60):
        while not done(got):
            got.append(await queue.get())
    return got


def said(notices: list[Notice]) -> str:
    return "".join(notice.text or "" for notice in notices)


async def test_words_and_milestones_reach_who_follows_the_run(ends: tuple[Publisher, Listener], tenant: str) -> None:
    publisher, listener = ends
    async with listener.follow(tenant, "1") as one, listener.follow(tenant, "1") as two:
        publisher.text(tenant, "1", 2, 3, "It is ")
        publisher.text(tenant, "1", 2, 3, "42.")
        publisher.changed(tenant, "1")
        for queue in (one, two):
            found = await until(queue, lambda got: bool(got) and got[-1].text is None)
            assert found == [Notice(tenant, "1", 2, 3, "It is 42."), Notice(tenant, "1")]


async def test_nobody_hears_of_another_run_or_tenant(ends: tuple[Publisher, Listener], tenant: str) -> None:
    publisher, listener = ends
    async with listener.follow(tenant, "1") as queue:
        publisher.text(f"{tenant}-b", "1", 1, 1, "theirs")
        publisher.text(tenant, "2", 1, 1, "another run's")
        publisher.text(tenant, "1", 1, 1, "mine")
        assert await until(queue, bool) == [Notice(tenant, "1", 1, 1, "mine")]
    assert (tenant, "1") not in listener._streams


@pytest.mark.parametrize(
    "piece", ["plain ", "ü", "😀", "\x01", '"', "\\", "\x00", "e\u0301"], ids=lambda piece: ascii(piece).strip("'")
)
async def test_a_text_of_any_length_and_any_letters_arrives_whole(
    ends: tuple[Publisher, Listener], tenant: str, piece: str
) -> None:
    publisher, listener = ends
    text = piece * 10_000
    async with listener.follow(tenant * 3, "0192f0c1-0000-7000-8000-000000000001") as queue:
        publisher.text(tenant * 3, "0192f0c1-0000-7000-8000-000000000001", 10_000, 99, text)
        found = await until(queue, lambda got: len(said(got)) >= len(text))
    assert said(found) == text
    assert len(found) > 1


async def test_half_a_pair_does_not_silence_the_others(ends: tuple[Publisher, Listener], tenant: str) -> None:
    publisher, listener = ends
    async with listener.follow(tenant, "1") as queue:
        publisher.text(tenant, "1", 1, 1, "a\ud800b")
        publisher.text(tenant, "1", 1, 2, "sound")
        assert said(await until(queue, lambda got: len(got) >= 2)) == "a?bsound"


def test_the_largest_notice_fits() -> None:
    publisher = Publisher("postgresql+asyncpg://unused")
    publisher.text("t" * 64, "r" * 36, 10_000, 1_000, "\x01" * 5_000 + "😀" * 5_000)
    assert max(len(payload.encode()) for _, payload in publisher._take()) <= MAX_BYTES < 8_000


async def end_listening(postgres: stacks.DatabaseUrls) -> None:
    """Ends, as a failover would, every session that listens or has told something in this database."""
    admin = await asyncpg.connect(**driver_arguments(postgres.admin))
    own = "datname = current_database() AND query ILIKE $1"
    query = f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {own}"
    ended = await admin.fetch(query, f"%{CHANNEL}%") + await admin.fetch(query, "%pg_notify%")
    await admin.close()
    assert ended


async def test_both_ends_come_back_after_their_sessions_were_ended(
    ends: tuple[Publisher, Listener], postgres: stacks.DatabaseUrls, tenant: str
) -> None:
    publisher, listener = ends
    async with listener.follow(tenant, "1") as queue:
        await end_listening(postgres)
        await heard(publisher, listener)
        publisher.text(tenant, "1", 1, 1, "again")
        assert said(await until(queue, lambda got: "again" in said(got))).endswith("again")


async def test_a_slow_reader_loses_words_and_holds_up_nobody(ends: tuple[Publisher, Listener], tenant: str) -> None:
    publisher, listener = ends
    async with AsyncExitStack() as following:
        slow = await following.enter_async_context(listener.follow(tenant, "1"))
        quick = await following.enter_async_context(listener.follow(tenant, "2"))
        for attempt in range(1_500):
            publisher.text(tenant, "1", 1, attempt, "x")
        publisher.text(tenant, "2", 1, 1, "through")
        assert said(await until(quick, bool)) == "through"
        assert slow.full()
        assert slow.get_nowait() == Notice(tenant, "1", 1, 0, "x")


async def test_telling_never_blocks_and_is_bounded_while_nobody_takes_it() -> None:
    publisher = Publisher("postgresql+asyncpg://nobody@/none?host=/nonexistent")
    for number in range(12_000):
        publisher.text("t", str(number), 1, 1, "x")
        publisher.changed("t", str(number))
    assert len(publisher._texts) == len(publisher._changed) == 10_000


async def test_ends_that_find_no_database_can_be_closed() -> None:
    nowhere = "postgresql+asyncpg://nobody@/none?host=/nonexistent"
    async with Publisher(nowhere) as publisher, Listener(nowhere):
        publisher.changed("t", "1")
        await asyncio.sleep(0)


def test_every_run_has_a_channel_of_its_own_whose_name_fits() -> None:
    long = "t" * 64, "0192f0c1-0000-7000-8000-000000000001"
    names = {channel_of(*key) for key in (long, ("t", long[1]), (long[0], "2"), ("t", "2"), ("\ud800", "2"))}
    assert len(names) == 5
    assert max(len(name.encode()) for name in names) <= 63


class _CountingListener(Listener):
    """Counts what reaches the gateway, whoever it is for."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.reached: list[object] = []

    def _deliver(self, *heard: Any) -> None:
        self.reached.append(heard[-1])
        super()._deliver(*heard)


async def test_what_nobody_follows_here_does_not_reach_the_gateway(postgres: stacks.DatabaseUrls, tenant: str) -> None:
    async with Publisher(postgres.app) as publisher, _CountingListener(postgres.app) as listener:
        await heard(publisher, listener)
        async with listener.follow(tenant, "1") as queue:
            before = len(listener.reached)
            for number in range(200):
                publisher.text(tenant, f"other-{number}", 1, 1, "theirs")
                publisher.text(f"{tenant}-b", "1", 1, 1, "theirs")
            publisher.text(tenant, "1", 1, 1, "mine")
            assert said(await until(queue, bool)) == "mine"
        assert len(listener.reached) == before + 1


async def listened(postgres: stacks.DatabaseUrls) -> Sequence[str]:
    """What the listening sessions of this database did last."""
    admin = await asyncpg.connect(**driver_arguments(postgres.admin))
    try:
        query = "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%LISTEN%live%'"
        return [row["query"] for row in await admin.fetch(query) if "pg_stat_activity" not in row["query"]]
    finally:
        await admin.close()


async def test_who_goes_is_listened_for_no_longer_and_may_come_back(
    ends: tuple[Publisher, Listener], postgres: stacks.DatabaseUrls, tenant: str
) -> None:
    publisher, listener = ends
    for _ in range(3):
        async with listener.follow(tenant, "1") as queue:
            publisher.text(tenant, "1", 1, 1, "here")
            assert said(await until(queue, bool)) == "here"
    ended = f'UNLISTEN "{channel_of(tenant, "1")}"'

    async def unheard() -> bool:
        return any(ended in one for one in await listened(postgres))

    await eventually(unheard)


class SilentNetwork:
    """A way to PostgreSQL that can fall silent: nothing arrives any more, and neither side is told."""

    def __init__(self, directory: Path, url: str) -> None:
        self._there = driver_arguments(url)
        self._socket = str(directory / ".s.PGSQL.5432")
        self.url = make_url(url).update_query_dict({"host": str(directory)}).render_as_string(hide_password=False)
        self._flows = asyncio.Event()
        self._flows.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self.connections = 0

    async def __aenter__(self) -> "SilentNetwork":
        self._server = await asyncio.start_unix_server(self._accept, self._socket)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            with suppress(ConnectionError):
                await writer.wait_closed()

    def fall_silent(self) -> None:
        """Drops everything on the connections that there are; new ones work."""
        self._flows.clear()
        self._flows = asyncio.Event()
        self._flows.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        place = f"{self._there['host']}/.s.PGSQL.{self._there.get('port') or 5432}"
        there, away = await asyncio.open_unix_connection(place)
        self._writers += [writer, away]
        for one, other in ((reader, away), (there, writer)):
            task = asyncio.create_task(self._carry(one, other, self._flows))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, one: asyncio.StreamReader, other: asyncio.StreamWriter, flows: asyncio.Event) -> None:
        with suppress(ConnectionError):
            while data := await one.read(65_536):
                await flows.wait()
                other.write(data)
                await other.drain()
        if flows.is_set():
            other.close()


@pytest.fixture
def socket_dir() -> Iterator[Path]:
    """A directory whose path is short enough for a socket in it."""
    with TemporaryDirectory(prefix="tf-net-") as directory:
        yield Path(directory)


@pytest.fixture
async def network(socket_dir: Path, postgres: stacks.DatabaseUrls) -> AsyncIterator[SilentNetwork]:
    async with SilentNetwork(socket_dir, postgres.app) as network:
        yield network


async def test_a_peer_that_vanishes_is_noticed_and_who_follows_is_told_to_look(
    network: SilentNetwork, postgres: stacks.DatabaseUrls, tenant: str
) -> None:
    async with Publisher(postgres.app) as publisher, Listener(network.url, keepalive=0.2, answer=0.5) as listener:
        await heard(publisher, listener)
        async with listener.follow(tenant, "1") as queue:
            network.fall_silent()
            # The run ends while nothing arrives; whoever follows it hears of that all the same.
            publisher.changed(tenant, "1")
            assert await until(queue, bool) == [Notice(tenant, "1")]
            assert network.connections > 1
            publisher.text(tenant, "1", 1, 1, "again")
            assert said(await until(queue, lambda got: bool(said(got)))) == "again"


async def test_milestones_that_a_vanished_peer_did_not_take_are_told_by_the_next_connection(
    network: SilentNetwork, postgres: stacks.DatabaseUrls, tenant: str
) -> None:
    async with Publisher(network.url, keepalive=60, answer=0.5) as publisher, Listener(postgres.app) as listener:
        await heard(publisher, listener)
        async with listener.follow(tenant, "1") as queue:
            network.fall_silent()
            publisher.changed(tenant, "1")
            assert await until(queue, bool) == [Notice(tenant, "1")]
            assert network.connections > 1


async def test_who_began_to_follow_without_a_connection_is_told_to_look_once_there_is_one(
    socket_dir: Path, postgres: stacks.DatabaseUrls, tenant: str
) -> None:
    network = SilentNetwork(socket_dir, postgres.app)
    async with Listener(network.url) as listener, listener.follow(tenant, "1") as queue:
        assert queue.empty()
        async with network:
            assert await until(queue, bool) == [Notice(tenant, "1")]


async def test_notifications_that_arrive_pass_the_check(postgres: stacks.DatabaseUrls) -> None:
    await check_delivery(postgres.app, postgres.app)


async def test_a_listener_that_hears_nothing_is_refused_with_what_to_do(
    stack: stacks.StackAddress, postgres: stacks.DatabaseUrls, worker_id: str
) -> None:
    """As behind a pooler of transactions: LISTEN succeeds, and nothing ever comes."""
    elsewhere = stacks.own_database(stack, f"elsewhere_{worker_id}")
    with pytest.raises(Unavailable, match="set LISTEN_DATABASE_URL to a URL of the same database") as refused:
        await check_delivery(elsewhere.app, postgres.app, seconds=0.5)
    assert refused.value.code == "notifications_lost"


async def test_a_server_that_does_not_answer_is_not_taken_for_a_pooler(postgres: stacks.DatabaseUrls) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql+asyncpg://nobody@127.0.0.1:{silent.getsockname()[1]}/none"
        for listen_url, send_url in ((url, postgres.app), (postgres.app, url)):
            with pytest.raises(Unavailable, match="no answer in time") as refused:
                await check_delivery(listen_url, send_url, seconds=0.3)
            assert refused.value.code == "database_unavailable"


async def test_a_listeners_url_that_leads_nowhere_is_refused(postgres: stacks.DatabaseUrls) -> None:
    nowhere = "postgresql+asyncpg://nobody@/none?host=/nonexistent"
    with pytest.raises(Unavailable, match="LISTEN_DATABASE_URL") as refused:
        await check_delivery(nowhere, postgres.app)
    assert refused.value.code == "database_unavailable"
