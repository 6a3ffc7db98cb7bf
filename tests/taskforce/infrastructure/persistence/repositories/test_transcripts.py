"""The append-only transcript."""

from collections.abc import Sequence
from dataclasses import replace

import asyncpg
import pytest

from taskforce.core.domain.runs.run import RunSpec, RunStatus
from taskforce.core.domain.runs.todo import TODO_TOOL
from taskforce.core.domain.runs.transcript import CallStatus, Entry, EntryKind, conversation
from taskforce.core.interfaces.llm import Reasoning, RequestedCall
from taskforce.core.interfaces.repositories.idempotency import DuplicateKey
from taskforce.core.interfaces.store import Records
from taskforce.infrastructure.persistence.database import Database
from taskforce.infrastructure.persistence.sqlstates import StatementError
from tests.taskforce.infrastructure.persistence.factories import NASTY, NOW, STORED, queued

MISSION = Entry(0, 0, EntryKind.MISSION, "Count.", NOW, author_id="alice")


def step(number: int, calls: int) -> list[Entry]:
    """A reply with its calls and their observations."""
    asked = tuple(RequestedCall(f"{number}/{call}", "echo", "{}") for call in range(1, calls + 1))
    reply = Entry(number, 0, EntryKind.REPLY, f"step {number}", NOW, tool_calls=asked)
    return [reply, *(observation(number, call) for call in range(1, calls + 1))]


def observation(number: int, call: int, text: str = "ok") -> Entry:
    return Entry(
        number,
        call,
        EntryKind.OBSERVATION,
        text,
        NOW,
        tool="echo",
        tool_call_id=f"{number}/{call}",
        status=CallStatus.SUCCEEDED,
        duration_ms=3,
    )


async def append(records: Records, run: RunSpec, entries: Sequence[Entry]) -> None:
    for entry in entries:
        await records.transcripts.append(run.run_id, entry)


async def said(database: Database, run: RunSpec, entries: Sequence[Entry]) -> None:
    async with database.tenant(run.tenant_id) as records:
        await append(records, run, entries)


@pytest.mark.parametrize(
    "entry",
    [
        MISSION,
        Entry(1, -1, EntryKind.WORD, "", NOW, author_id=""),
        Entry(1, 0, EntryKind.REPLY, "", NOW, tool_calls=(RequestedCall("", "", ""),), duration_ms=0),
        Entry(1, 0, EntryKind.REPLY, "", NOW, reasoning=Reasoning("openai/m", "reasoning_content", "hm")),
        replace(observation(1, 1), tool_call_id="", duration_ms=0, whole_size=0),
        replace(observation(1, 1), status=CallStatus.DENIED, whole_size=3_000_000),
    ],
)
async def test_an_entry_comes_back_as_it_was_and_empty_is_not_none(
    database: Database, tenant: str, entry: Entry
) -> None:
    run = await queued(database, tenant)
    async with database.tenant(tenant) as records:
        assert await records.transcripts.append(run.run_id, entry) == entry
        assert await records.transcripts.entry(run.run_id, entry.step, entry.call) == entry


async def test_whatever_a_model_writes_can_be_kept(database: Database, tenant: str) -> None:
    run = await queued(database, tenant)
    reply = Entry(1, 0, EntryKind.REPLY, NASTY, NOW, tool_calls=(RequestedCall(NASTY, NASTY, NASTY),))
    told = replace(observation(1, 1, NASTY), tool=NASTY, tool_call_id=NASTY)
    async with database.tenant(tenant) as records:
        stored = [await records.transcripts.append(run.run_id, one) for one in (reply, told)]
        assert await records.transcripts.range(run.run_id, 0, 1) == stored
        assert stored == [
            replace(reply, text=STORED, tool_calls=(RequestedCall(STORED, STORED, STORED),)),
            replace(told, text=STORED, tool=STORED, tool_call_id=STORED),
        ]


async def test_an_entry_that_is_there_stays_as_it_is_and_nothing_is_stored_with_a_second_one(
    database: Database, tenant: str
) -> None:
    run = await queued(database, tenant)
    await said(database, run, step(1, 2))
    with pytest.raises(DuplicateKey):
        await said(database, run, [*step(2, 0), observation(1, 2, "forged")])
    async with database.tenant(tenant) as records:
        kept = await records.transcripts.entry(run.run_id, 1, 2)
        assert await records.transcripts.entry(run.run_id, 2, 0) is None
    assert kept is not None
    assert kept.text == "ok"


async def test_who_catches_the_error_of_a_second_entry_commits_nothing(database: Database, tenant: str) -> None:
    run = await queued(database, tenant)
    await said(database, run, step(1, 0))

    async def catch() -> None:
        async with database.tenant(tenant) as records:
            await records.runs.begin(run.run_id, "run.started", NOW)
            await records.transcripts.append(run.run_id, observation(1, 0))
            with pytest.raises(asyncpg.UniqueViolationError):
                # Read together with what waits to be written.
                await records.users.principal("alice")

    with pytest.raises(StatementError, match="rolled back"):
        await catch()
    async with database.tenant(tenant) as records:
        found = await records.runs.get(run.run_id)
    assert found is not None
    assert found.status is RunStatus.QUEUED


async def test_entries_come_in_order_words_before_the_reply(database: Database, tenant: str) -> None:
    run = await queued(database, tenant)
    words = [Entry(1, place, EntryKind.WORD, "word", NOW, author_id="alice") for place in (-1, -2)]
    async with database.tenant(tenant) as records:
        await append(records, run, [*reversed(step(1, 2)), *words, MISSION])
        found = await records.transcripts.latest(run.run_id, 0, 100)
    assert [(entry.step, entry.call) for entry in found] == [(0, 0), (1, -2), (1, -1), (1, 0), (1, 1), (1, 2)]


async def test_the_latest_entries_are_whole_steps_and_the_mission(database: Database, tenant: str) -> None:
    run = await queued(database, tenant)
    async with database.tenant(tenant) as records:
        await append(records, run, [MISSION, *(one for n in range(1, 6) for one in step(n, 3))])
        found = await records.transcripts.latest(run.run_id, 0, 6)
        assert [(entry.step, entry.call) for entry in found[:2]] == [(0, 0), (4, 0)]
        assert len(found) == 9
        later = await records.transcripts.latest(run.run_id, 5, 100)
        assert [entry.step for entry in later] == [5] * 4
    messages = conversation("prompt", [], found)
    observed = [message.tool_call_id for message in messages if message.role == "tool"]
    assert observed == [call.id for message in messages for call in message.tool_calls]


async def test_a_range_counts_steps_and_not_entries(database: Database, tenant: str) -> None:
    run = await queued(database, tenant)
    async with database.tenant(tenant) as records:
        await append(records, run, [MISSION, *(one for n in range(1, 6) for one in step(n, 1))])
        assert {entry.step for entry in await records.transcripts.range(run.run_id, 1, 2)} == {2, 3}
        assert {entry.step for entry in await records.transcripts.range(run.run_id, -1, 2)} == {0, 1}
        last = await records.transcripts.last_reply(run.run_id)
    assert last is not None
    assert last.text == "step 5"


async def test_nothing_is_found_where_nothing_is(database: Database, tenant: str) -> None:
    run = await queued(database, tenant)
    async with database.tenant(tenant) as records:
        assert await records.transcripts.latest(run.run_id, 0, 10) == []
        assert await records.transcripts.entry(run.run_id, 1, 0) is None
        assert await records.transcripts.last_reply(run.run_id) is None
        assert await records.transcripts.last_plan(run.run_id) is None
        assert not await records.transcripts.heard(run.run_id, "none")


async def test_the_latest_plan_is_the_last_one_that_was_written(database: Database, tenant: str) -> None:
    run = await queued(database, tenant)
    plans = [replace(observation(number, 1, f"plan {number}"), tool=TODO_TOOL) for number in (1, 2, 3)]
    await said(database, run, [*plans[:2], replace(plans[2], status=CallStatus.FAILED), observation(4, 1)])
    async with database.tenant(tenant) as records:
        assert await records.transcripts.last_plan(run.run_id) == plans[1]


async def test_a_message_is_known_by_its_id_and_not_by_its_words(database: Database, tenant: str) -> None:
    run = await queued(database, tenant)
    await said(database, run, [Entry(1, -1, EntryKind.WORD, "Hurry.", NOW, author_id="alice", word_id="first")])
    async with database.tenant(tenant) as records:
        assert await records.transcripts.heard(run.run_id, "first")
        assert not await records.transcripts.heard(run.run_id, "second")
