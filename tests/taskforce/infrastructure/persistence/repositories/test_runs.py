"""Runs, their totals and their pages."""

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest
import sqlalchemy as sa

from taskforce.core.domain.ids import new_id
from taskforce.core.domain.metering.tokens import TokenCounts
from taskforce.core.domain.metering.usage import ToolResource, UsageKind
from taskforce.core.domain.paging import Page
from taskforce.core.domain.runs.records import RunFilter
from taskforce.core.domain.runs.run import FINAL, Ending, Limits, RunStatus, StopReason, Totals
from taskforce.core.domain.runs.transcript import Exchange
from taskforce.core.interfaces.llm import ModelCall
from taskforce.core.interfaces.store import Records
from taskforce.infrastructure.persistence.database import Database
from tests.taskforce.infrastructure.persistence.factories import (
    AGENT,
    NASTY,
    NOW,
    SECOND,
    STORED,
    queued,
    settled,
    spec,
    spending,
)


async def totals(records: Records, run_id: str) -> Totals:
    run = await records.runs.get(run_id)
    assert run is not None
    return run.totals


async def test_what_was_asked_for_comes_back_as_it_was(database: Database, tenant: str) -> None:
    asked = await queued(database, tenant)
    async with database.tenant(tenant) as records:
        run = await records.runs.get(asked.run_id)
        assert run is not None
        assert await records.runs.spec(asked.run_id) == run.spec == asked
        assert (run.status, run.totals, run.answer) == (RunStatus.QUEUED, Totals(), None)
        assert await records.runs.session_owner(asked.session_id) == "alice"
        assert await records.runs.session_owner(f"{tenant}:session-2") is None


async def test_whatever_people_write_can_be_kept(database: Database, tenant: str) -> None:
    agent = replace(AGENT, system_prompt=NASTY)
    asked = await queued(database, tenant, mission=NASTY, context={NASTY: [NASTY, {"a": NASTY}]}, agent=agent)
    async with database.tenant(tenant) as records:
        kept = await records.runs.spec(asked.run_id)
        assert kept is not None
        assert (kept.mission, kept.agent.system_prompt) == (STORED, STORED)
        assert kept.context == {STORED: [STORED, {"a": STORED}]}
        await records.runs.close(asked.run_id, Ending(RunStatus.FAILED, error_message=NASTY), NASTY, NOW)
        run = await records.runs.get(asked.run_id)
        assert run is not None
        assert (run.answer, run.error_message) == (STORED, STORED)


async def test_a_huge_mission_is_kept_whole(database: Database, tenant: str) -> None:
    asked = await queued(database, tenant, mission="ü😀" * 1_500_000)
    async with database.tenant(tenant) as records:
        kept = await records.runs.spec(asked.run_id)
    assert kept is not None
    assert kept.mission == asked.mission


async def test_a_run_that_is_not_there_is_none(database: Database, tenant: str) -> None:
    async with database.tenant(tenant) as records:
        assert await records.runs.get(spec(tenant).run_id) is None
        assert await records.runs.spec(spec(tenant).run_id) is None


async def test_a_run_begins_once_and_ends_once(database: Database, tenant: str) -> None:
    asked = await queued(database, tenant)
    first, second = Ending(RunStatus.INCOMPLETE, StopReason.MAX_STEPS), Ending(RunStatus.FAILED, error_code="x")
    async with database.tenant(tenant) as records:
        runs = records.runs
        await runs.begin(asked.run_id, "run.started", NOW)
        await runs.begin(asked.run_id, "run.started", NOW + SECOND)
        begun = await runs.get(asked.run_id)
        assert begun is not None
        assert (begun.status, begun.started_at) == (RunStatus.RUNNING, NOW)
        assert [event.type for event in await records.events.after(asked.run_id, 0, 10)] == ["run.started"]
        assert await runs.set_status(asked.run_id, RunStatus.WAITING, "approval")
        assert await runs.close(asked.run_id, first, "", NOW + SECOND) is not None
        assert await runs.close(asked.run_id, second, "late", NOW + SECOND) is None
        assert not await runs.set_status(asked.run_id, RunStatus.RUNNING, None)
        run = await runs.get(asked.run_id)
    assert run is not None
    assert (run.status, run.stop_reason, run.error_code) == (RunStatus.INCOMPLETE, StopReason.MAX_STEPS, None)
    # An empty answer is an answer.
    assert (run.answer, run.waiting_for) == ("", None)
    assert (run.started_at, run.finished_at) == (NOW, NOW + SECOND)


async def test_a_run_that_was_paused_before_it_began_begins(database: Database, tenant: str) -> None:
    asked = await queued(database, tenant)
    async with database.tenant(tenant) as records:
        await records.runs.set_status(asked.run_id, RunStatus.PAUSED, None)
        await records.runs.begin(asked.run_id, "run.started", NOW)
        run = await records.runs.get(asked.run_id)
    assert run is not None
    assert (run.status, run.started_at) == (RunStatus.RUNNING, NOW)


async def test_what_a_run_may_use_can_be_changed(database: Database, tenant: str) -> None:
    asked = await queued(database, tenant)
    more = Limits(max_steps=77, max_tokens=10**11, max_seconds=99)
    async with database.tenant(tenant) as records:
        await records.runs.set_limits(asked.run_id, more)
        spec = await records.runs.spec(asked.run_id)
    assert spec == replace(asked, limits=more)


async def test_a_run_ends_only_with_the_words_that_it_has_heard(database: Database, tenant: str) -> None:
    asked = await queued(database, tenant)
    done = Ending(RunStatus.COMPLETED)
    async with database.tenant(tenant) as records:
        await records.messages.add(asked.run_id, new_id(), "alice", "Wait.", NOW)
        assert await records.runs.close(asked.run_id, done, "", NOW, messages=0) is None
        current = await records.runs.locked(asked.run_id)
        assert current is not None
        assert current.status is RunStatus.QUEUED
        assert await records.runs.close(asked.run_id, done, "", NOW, messages=1) is not None


async def test_changes_of_a_runs_row_are_all_made_in_one_transaction(database: Database, tenant: str) -> None:
    asked = await queued(database, tenant)
    async with database.tenant(tenant) as records:
        await records.runs.begin(asked.run_id, "run.started", NOW)
        await records.events.append(asked.run_id, "step.replied", {}, NOW, step=1)
    async with database.tenant(tenant) as records:
        told = [(event.seq, event.type) for event in await records.events.after(asked.run_id, 0, 10)]
        run = await records.runs.get(asked.run_id)
    assert told == [(1, "run.started"), (2, "step.replied")]
    assert run is not None
    assert (run.status, run.totals.steps) == (RunStatus.RUNNING, 1)


async def test_steps_never_go_back(database: Database, tenant: str) -> None:
    asked = await queued(database, tenant)
    async with database.tenant(tenant) as records:
        for step in (1, 3, 2):
            await records.events.append(asked.run_id, "step.replied", {}, NOW, step=step)
        run = await records.runs.get(asked.run_id)
    assert run is not None
    assert run.totals.steps == 3


GOOD = ModelCall("m", TokenCounts(100, 10, cached=40, cache_write=20, reasoning=3), duration_ms=7)
BAD = ModelCall("m", TokenCounts(5, 1), duration_ms=7, failed="model_unavailable", estimated="cut_off")


async def test_usage_is_kept_once_and_totals_are_the_same_however_often(database: Database, tenant: str) -> None:
    asked = await queued(database, tenant)
    run_id = asked.run_id
    spent = [
        spending(run_id, BAD, GOOD),
        spending(run_id, BAD, attempt=2),
        spending(run_id, GOOD, step=2),
        spending(run_id, call=1, tool="echo", duration_ms=3),
        spending(run_id, call=2, tool="pay"),
        spending(run_id, step=3),
    ]
    expected = Totals(
        tool_calls=2,
        input_tokens=210,
        output_tokens=22,
        cached_tokens=80,
        cache_write_tokens=40,
        reasoning_tokens=6,
        wasted_tokens=12,
        estimated_tokens=12,
    )
    for _ in range(2):
        async with database.tenant(tenant) as records:
            for one in spent:
                await records.usage.add(one)
            await records.runs.total(run_id)
            assert await totals(records, run_id) == expected


async def test_a_second_recording_does_not_change_the_first(database: Database, tenant: str) -> None:
    asked = await queued(database, tenant)
    async with database.tenant(tenant) as records:
        await records.usage.add(spending(asked.run_id, GOOD))
        await records.usage.add(spending(asked.run_id, replace(GOOD, tokens=TokenCounts(9_999))))
        await records.runs.total(asked.run_id)
        assert (await totals(records, asked.run_id)).input_tokens == 100


async def test_usage_recorded_at_once_by_rivals_counts_once(database: Database, tenant: str) -> None:
    asked = await queued(database, tenant)

    async def record() -> None:
        async with database.tenant(tenant) as records:
            await records.usage.add(spending(asked.run_id, BAD, GOOD))

    await asyncio.gather(*(record() for _ in range(20)))
    async with database.tenant(tenant) as records:
        await records.runs.total(asked.run_id)
        assert (await totals(records, asked.run_id)).input_tokens == 105


async def test_earlier_exchanges_are_the_answered_runs_of_the_session(database: Database, tenant: str) -> None:
    for number in range(5):
        asked = await queued(database, tenant, mission=f"mission {number}", created_at=NOW + number * SECOND)
        if number != 2:
            async with database.tenant(tenant) as records:
                await records.runs.close(asked.run_id, Ending(RunStatus.COMPLETED), f"answer {number}", NOW)
    await queued(database, tenant, session_id=f"{tenant}:session-2")
    now = spec(tenant, created_at=NOW + 4 * SECOND)
    async with database.tenant(tenant) as records:
        found = await records.runs.exchanges(now, 2)
        assert found == (Exchange("mission 1", "answer 1"), Exchange("mission 3", "answer 3"))
        assert len(await records.runs.exchanges(now, 10)) == 3


async def pages(database: Database, tenant: str, which: RunFilter, limit: int) -> list[str]:
    """All pages, while a run is added before each."""
    seen: list[str] = []
    page = Page(limit)
    while True:
        await queued(database, tenant, created_at=NOW + 1_000 * SECOND, mission="late")
        async with database.tenant(tenant) as records:
            found = await records.runs.page(which, page)
        if page.before is None:
            found = found[1:]
        seen += [run.spec.run_id for run in found]
        if not found:
            return seen
        page = Page(limit, before=(found[-1].spec.created_at, found[-1].spec.run_id))


async def test_pages_are_complete_and_stable_while_runs_are_added(database: Database, tenant: str) -> None:
    await settled(database, tenant)
    # Many of one instant: the id decides.
    asked = [spec(tenant, created_at=NOW + (number // 4) * SECOND) for number in range(23)]
    async with database.tenant(tenant) as records:
        for one in asked:
            await records.runs.add(one)
    expected = [one.run_id for one in sorted(asked, key=lambda one: (one.created_at, one.run_id), reverse=True)]
    assert await pages(database, tenant, RunFilter(), 5) == expected
    assert all(one != other for one, other in pairwise(expected))


@pytest.mark.parametrize("name", ["status", "session_id", "agent_id", "user_id"])
async def test_a_page_shows_what_was_asked_for(database: Database, tenant: str, name: str) -> None:
    usual = await queued(database, tenant)
    other = await queued(
        database,
        tenant,
        user_id="bob",
        session_id=f"{tenant}:session-bob",
        agent=replace(AGENT, agent_id="other"),
    )
    async with database.tenant(tenant) as records:
        await records.runs.begin(other.run_id, "run.started", NOW)
        wanted = {
            "status": RunStatus.RUNNING,
            "session_id": other.session_id,
            "agent_id": "other",
            "user_id": "bob",
        }
        found = await records.runs.page(RunFilter(**{name: wanted[name]}), Page(10))  # type: ignore[arg-type]
        everything = await records.runs.page(RunFilter(), Page(10))
    assert [run.spec.run_id for run in found] == [other.run_id]
    assert {run.spec.run_id for run in everything} == {usual.run_id, other.run_id}


def test_final_statuses_are_those_that_close_a_run() -> None:
    assert {status.value for status in FINAL} == {"completed", "incomplete", "failed", "cancelled"}


async def test_a_tool_call_may_have_used_models_besides(database: Database, tenant: str) -> None:
    asked = await queued(database, tenant)
    used = (
        ToolResource(UsageKind.RAG_QUERY),
        ToolResource(UsageKind.EMBEDDING, "openai/small", "openai", TokenCounts(50), "tokenizer", 3),
    )
    entry = spending(asked.run_id, call=1, tool="search", duration_ms=9, resources=used)
    async with database.tenant(tenant) as records:
        for _ in range(2):
            await records.usage.add(entry)
        await records.runs.total(asked.run_id)
        columns = "part, kind, model, provider, tool, input_tokens::int, estimated, duration_ms"
        found = await records.users._connection.all(sa.text(f"SELECT {columns} FROM usage_records ORDER BY part"))
        assert [tuple(row) for row in found] == [
            (0, "tool", None, None, "search", 0, None, 9),
            (1, "rag_query", None, None, "search", 0, None, 0),
            (2, "embedding", "openai/small", "openai", "search", 50, "tokenizer", 3),
        ]
        # A run's limit of tokens is one of its models' calls.
        assert await totals(records, asked.run_id) == Totals(tool_calls=1)
        assert await records.usage.of_steps(asked.run_id, 0, 9) == []
