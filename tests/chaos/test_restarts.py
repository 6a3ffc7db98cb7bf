"""PostgreSQL and Temporal go away in the middle of runs and come back; the runs end as if they had not."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from taskforce.core.domain.runs.run import RunStatus
from taskforce.infrastructure.config.settings import normalise_database_url
from taskforce.infrastructure.persistence.database import Database
from tests.chaos.invariants import answers, assert_sound, ended, eventually
from tests.chaos.private_stack import OwnServers
from tests.chaos.worker_process import Crew, Order
from tests.fixtures.missions import Missions
from tests.fixtures.scripted_llm import ScriptedLLM, call_until, text, tool_calls
from tests.fixtures.stack import PROOF_KEY
from workflows.client.client import WorkflowClient
from workflows.client.connection import TemporalAddress, connect

TASK_QUEUE = "restarts"
RUNS, CALLS = 4, 6


@dataclass(frozen=True, slots=True)
class Site:
    """Servers of the test's own and a crew that works on them."""

    servers: OwnServers
    crew: Crew
    llm: ScriptedLLM
    missions: Missions

    async def under_way(self) -> list[str]:
        """Starts runs and returns when they have had some of their effects."""
        self.llm.reply = call_until("file_away", lambda seen: {"text": f"a{seen}"}, CALLS)
        before = sum(self.crew.effects.seen().values())
        runs = [await self.missions.start(f"restart {number}") for number in range(RUNS)]

        async def some() -> bool:
            return sum(self.crew.effects.seen().values()) - before >= RUNS * 2

        await eventually(some)
        return runs

    async def end_well(self, runs: list[str]) -> None:
        """Checks that the runs end, each effect had at least once and told of exactly once."""
        admin_url = normalise_database_url(self.servers.postgres.urls().admin)
        for run_id in runs:
            run = await ended(self.missions, run_id)
            assert (run.status, run.totals.steps) == (RunStatus.COMPLETED, CALLS + 1)
            await assert_sound(self.missions, admin_url, run_id)
            assert len(self.crew.effects.count("file_away", run_id, "done")) == CALLS


@pytest.fixture(scope="module")
async def site(llm: ScriptedLLM, place: Path) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tf-site-")))
        servers = await stack.enter_async_context(OwnServers(home))
        order = Order(servers.app_url, servers.temporal.address, TASK_QUEUE, llm.url, str(place))
        crew = await stack.enter_async_context(Crew(order))
        await crew.hire()
        database = Database(servers.app_url)
        stack.push_async_callback(database.close)
        client = await connect(TemporalAddress(servers.temporal.address, task_queue=TASK_QUEUE))
        yield Site(servers, crew, llm, Missions(database, WorkflowClient(client, TASK_QUEUE, PROOF_KEY), "acme-corp"))


async def test_runs_outlive_a_restart_of_postgresql(site: Site) -> None:
    runs = await site.under_way()
    await asyncio.to_thread(site.servers.postgres.stop)
    await asyncio.to_thread(site.servers.postgres.start)
    await eventually(lambda: answers(site.missions.database))
    await site.end_well(runs)


async def test_runs_outlive_a_kill_of_temporal(site: Site) -> None:
    runs = await site.under_way()
    await site.servers.kill_temporal()
    await site.servers.restart_temporal()
    await site.end_well(runs)


async def test_a_tool_that_is_not_idempotent_is_not_run_again_when_the_database_was_away_for_its_outcome(
    site: Site,
) -> None:
    effects = site.crew.effects
    site.llm.script([tool_calls([("wire", {"amount": 7})]), text("I shall ask the bank.")])
    effects.hold()
    run_id = await site.missions.start("wire")

    async def begun() -> bool:
        return effects.count("wire", run_id, "begun") == [1]

    await eventually(begun)
    await asyncio.to_thread(site.servers.postgres.stop)
    effects.release()

    async def done() -> bool:
        return effects.count("wire", run_id, "done") == [1]

    await eventually(done)
    await asyncio.to_thread(site.servers.postgres.start)
    await eventually(lambda: answers(site.missions.database))
    run = await ended(site.missions, run_id)
    assert (run.status, run.answer) == (RunStatus.COMPLETED, "I shall ask the bank.")
    assert effects.count("wire", run_id, "begun") == [1]
