"""What happens in a run, told over a real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import asyncpg
import pytest

from taskforce.infrastructure.config.settings import driver_arguments
from taskforce.infrastructure.persistence.notifications import CHANNEL, MAX_BYTES, Listener, Notice, Publisher
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
    assert max(len(payload.encode()) for payload in publisher._take()) <= MAX_BYTES < 8_000


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
