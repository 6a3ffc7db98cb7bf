"""Outcomes of tools that end while the database is away: stored when it is back, and the tool runs once."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import uuid4

import pytest

from taskforce.application.outages import AttemptControl
from taskforce.application.runs import tool_step
from taskforce.application.runs.tool_step import ToolStepResult
from taskforce.core.domain.errors import Unavailable
from taskforce.core.domain.runs.transcript import CallStatus
from taskforce.infrastructure.persistence.database import Database
from tests.fixtures import stack
from tests.fixtures.probe_tools import EFFECTS, TRANSFERS
from tests.taskforce.application.scenario import Stage


@pytest.fixture
async def stage(postgres: stack.DatabaseUrls, tenant: str) -> AsyncIterator[Stage]:
    """A tenant whose database has one connection: whoever takes it keeps everybody else away."""
    door = Database(postgres.app, pool_size=1, patience=0.05)
    yield Stage(door, tenant)
    await door.close()


@dataclass
class Call:
    """A transfer that is under way."""

    stage: Stage
    run_id: str
    name: str
    is_over: bool = False
    waits: asyncio.Event = field(default_factory=asyncio.Event)
    waited: asyncio.Event = field(default_factory=asyncio.Event)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        self.waits.set()
        yield
        self.waited.set()

    def begin(self) -> asyncio.Task[ToolStepResult]:
        control = AttemptControl(is_over=lambda: self.is_over, waiting=self.waiting)
        return asyncio.create_task(self.stage.tool_step.run(self.stage.ref(self.run_id), 1, (), None, control=control))

    async def until_begun(self) -> None:
        async with asyncio.timeout(60):
            while not EFFECTS[f"{self.run_id}/1/1"]:  # noqa: ASYNC110 - the tool tells nobody
                await asyncio.sleep(0.01)

    @property
    def effects(self) -> int:
        return EFFECTS[f"{self.run_id}/1/1"]


async def transfer(stage: Stage) -> Call:
    name = str(uuid4())
    return Call(stage, await stage.asked(("transfer", {"name": name})), name)


async def under_way(stage: Stage) -> tuple[Call, asyncio.Task[ToolStepResult]]:
    """A call whose tool has begun, and goes on until it is let."""
    call = await transfer(stage)
    running = call.begin()
    await call.until_begun()
    return call, running


async def test_an_outcome_is_stored_when_the_database_is_back(stage: Stage) -> None:
    call, running = await under_way(stage)
    async with stage.database.tenant(stage.tenant_id):
        TRANSFERS[call.name].set()
        await asyncio.wait_for(call.waits.wait(), 60)
    assert (await running).status is CallStatus.SUCCEEDED
    assert await stage.told(call.run_id) == f"transferred {call.name}"
    assert call.waited.is_set()
    assert call.effects == 1


async def test_what_cannot_be_stored_for_too_long_is_unknown_and_says_that_the_tool_has_ended(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool_step, "OUTCOME_PATIENCE", timedelta())
    call, running = await under_way(stage)
    async with stage.database.tenant(stage.tenant_id):
        TRANSFERS[call.name].set()
        with pytest.raises(Unavailable) as lost:
            await running
    assert lost.value.code == "outcome_lost"
    again = await stage.tool_step.run(stage.ref(call.run_id), 1, (), None, lost=True)
    assert again.status is CallStatus.UNKNOWN
    assert (await stage.told(call.run_id)).startswith("The tool has ended, but the database was away")
    assert call.effects == 1


async def test_a_worker_that_shuts_down_tries_once_more_and_leaves_the_rest_to_the_next(stage: Stage) -> None:
    call, running = await under_way(stage)
    async with stage.database.tenant(stage.tenant_id):
        TRANSFERS[call.name].set()
        await asyncio.wait_for(call.waits.wait(), 60)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(running, 60)
    assert await stage.observed(call.run_id) is None
    assert (await stage.tool_step.run(stage.ref(call.run_id), 2, (), None)).status is CallStatus.UNKNOWN
    assert "ended before it had stored the outcome" in await stage.told(call.run_id)
    assert call.effects == 1


async def test_the_outcome_of_a_call_whose_run_is_cancelled_is_stored_too(stage: Stage) -> None:
    call = await transfer(stage)
    call.is_over = True
    running = call.begin()
    await call.until_begun()
    async with stage.database.tenant(stage.tenant_id):
        TRANSFERS[call.name].set()
        await asyncio.wait_for(call.waits.wait(), 60)
        running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    observed = await stage.observed(call.run_id)
    assert observed is not None
    assert (observed.status, observed.text) == (CallStatus.SUCCEEDED, f"transferred {call.name}")
