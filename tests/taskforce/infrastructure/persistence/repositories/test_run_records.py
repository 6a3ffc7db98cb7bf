"""Words, effects, whole results, files and milestones."""

import asyncio
from datetime import timedelta

from taskforce.core.domain.ids import new_id
from taskforce.core.interfaces.tools import StoredFile
from taskforce.infrastructure.persistence.database import Database
from tests.taskforce.infrastructure.persistence.factories import NASTY, NOW, SECOND, STORED, queued


async def test_words_come_in_the_order_asked_and_are_kept_once(database: Database, tenant: str) -> None:
    run = await queued(database, tenant)
    first, second = new_id(), new_id()
    async with database.tenant(tenant) as records:
        await records.messages.add(run.run_id, first, "alice", NASTY, NOW)
        await records.messages.add(run.run_id, second, "bob", "", NOW)
        await records.messages.add(run.run_id, first, "mallory", "forged", NOW)
        found = await records.messages.get(run.run_id, [second, new_id(), first])
        assert found == [(second, "bob", ""), (first, "alice", STORED)]
        assert await records.messages.get(run.run_id, []) == []
        await records.messages.add(run.run_id, answer := new_id(), "alice", "Blue.", NOW, question="1.1")
        said = [answer, second, new_id(), first]
        assert await records.messages.unnamed(run.run_id, said, None) == [second, first]
        assert await records.messages.unnamed(run.run_id, said, NOW) == [second, first]
        assert await records.messages.unnamed(run.run_id, said, NOW + timedelta(microseconds=1)) == []


async def test_an_effect_begins_once_whoever_tries(database: Database, tenant: str) -> None:
    run = await queued(database, tenant)

    async def begin() -> bool:
        async with database.tenant(tenant) as records:
            return await records.effects.begin(run.run_id, 1, 1, NASTY, NOW)

    assert sorted(await asyncio.gather(*(begin() for _ in range(15)))) == [False] * 14 + [True]
    async with database.tenant(tenant) as records:
        assert await records.effects.begin(run.run_id, 1, 2, "pay", NOW)


async def test_a_whole_result_is_read_by_characters(database: Database, tenant: str) -> None:
    run = await queued(database, tenant)
    whole = "0123456789" * 300_000 + "ü😀"
    async with database.tenant(tenant) as records:
        await records.results.add(run.run_id, 1, 1, whole)
        await records.results.add(run.run_id, 1, 1, "forged")
        assert await records.results.read(run.run_id, 1, 1, 0, 2**31 - 1) == whole
        assert await records.results.read(run.run_id, 1, 1, 2_999_998, 10) == "89ü😀"
        assert await records.results.read(run.run_id, 1, 1, 3_000_002, 10) == ""
        assert await records.results.read(run.run_id, 1, 2, 0, 10) is None
        await records.results.add(run.run_id, 2, 1, NASTY)
        assert await records.results.read(run.run_id, 2, 1, 0, 1_000) == STORED


async def test_a_file_is_created_replaced_and_listed(database: Database, tenant: str) -> None:
    run, other = await queued(database, tenant), await queued(database, tenant)
    content = bytes(range(256)) * 4_000
    async with database.tenant(tenant) as records:
        await records.files.write(run.run_id, "b/ü.bin", b"", NOW)
        await records.files.write(run.run_id, "a", b"x", NOW)
        await records.files.write(run.run_id, "a", content, NOW + SECOND)
        assert await records.files.read(run.run_id, "a") == content
        assert await records.files.read(run.run_id, "b/ü.bin") == b""
        assert await records.files.read(run.run_id, "c") is None
        assert await records.files.read(other.run_id, "a") is None
        assert await records.files.list(run.run_id) == [
            StoredFile("a", len(content), NOW + SECOND),
            StoredFile("b/ü.bin", 0, NOW),
        ]


async def test_milestones_are_numbered_without_gaps_under_rivals(database: Database, tenant: str) -> None:
    run = await queued(database, tenant)

    async def append(number: int) -> int:
        async with database.tenant(tenant) as records:
            await records.events.append(run.run_id, "test", {"number": number}, NOW)
            seq = (await records.events.after(run.run_id, 0, 100))[-1].seq
            if number % 5 == 0:
                raise LookupError
            return seq

    given = await asyncio.gather(*(append(number) for number in range(50)), return_exceptions=True)
    async with database.tenant(tenant) as records:
        events = await records.events.after(run.run_id, 0, 100)
    assert [event.seq for event in events] == list(range(1, 41))
    assert sorted(seq for seq in given if isinstance(seq, int)) == list(range(1, 41))
    assert {event.data["number"] for event in events} == {number for number in range(50) if number % 5}


async def test_a_stream_goes_on_where_it_stopped(database: Database, tenant: str) -> None:
    run, other = await queued(database, tenant), await queued(database, tenant)
    async with database.tenant(tenant) as records:
        for number in range(1, 6):
            await records.events.append(run.run_id, f"kind {number}", {NASTY: [NASTY]}, NOW)
        await records.events.append(other.run_id, "first", {}, NOW)
        assert [event.seq for event in await records.events.after(other.run_id, 0, 9)] == [1]
        found = await records.events.after(run.run_id, 2, 2)
        assert await records.events.after(run.run_id, 5, 2) == []
    assert [(event.seq, event.type, event.at) for event in found] == [(3, "kind 3", NOW), (4, "kind 4", NOW)]
    assert found[0].data == {STORED: [STORED]}
