"""The database is away for longer than a run may work and its model's patience lasts: the run says so, and goes on."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from temporalio.client import Client

from models.messages.runs import RunProgress
from taskforce.application.runs import tool_step
from taskforce.core.domain.runs.run import Limits, Run, RunStatus, workflow_id
from taskforce.core.domain.runs.transcript import CallStatus
from taskforce.core.interfaces.clock import utc_now
from taskforce.infrastructure.llm.litellm_model import LiteLLMModel
from tests.chaos.invariants import answers, eventually
from tests.chaos.private_stack import OwnServers, worker_parts
from tests.fixtures.missions import Missions
from tests.fixtures.probe_tools import EFFECTS, TOOLS, TRANSFERS
from tests.fixtures.scripted_llm import ScriptedLLM, held, text, tool_calls
from tests.fixtures.stack import PROOF_KEY
from worker import build_worker
from workflows.client.client import WorkflowClient
from workflows.client.connection import TemporalAddress, connect
from workflows.runtime.activity_calls import HEARTBEAT
from workflows.runtime.search_attributes import WAITING_FOR

TASK_QUEUE = "outage"
SECONDS, PATIENCE = 5, 1
"""The work that a run may do, and the seconds for which its model may fail; the database is away for longer."""


@dataclass(frozen=True, slots=True)
class Site:
    """Servers and a worker of the test's own."""

    servers: OwnServers
    temporal: Client
    llm: ScriptedLLM
    missions: Missions

    async def start(self) -> str:
        return await self.missions.start(limits=Limits(max_seconds=SECONDS))

    async def progress(self, run_id: str) -> RunProgress:
        return await self.missions.workflow_client.runs.progress(self.missions.tenant_id, run_id)

    async def outlasted(self, run_id: str) -> RunProgress:
        """Leaves the database away until the run would have ended by its time; returns what it says meanwhile."""
        handle = self.temporal.get_workflow_handle(workflow_id(self.missions.tenant_id, run_id))

        async def waits() -> bool:
            return (await self.progress(run_id)).waiting_for == "the database"

        await eventually(waits, 30)
        since = utc_now()

        async def is_late() -> bool:
            return (utc_now() - since).total_seconds() > SECONDS + PATIENCE

        await eventually(is_late)
        assert (await handle.describe()).typed_search_attributes.get(WAITING_FOR) == "the database"
        return await self.progress(run_id)

    async def ended(self, run_id: str) -> Run:
        await asyncio.to_thread(self.servers.postgres.start)
        await eventually(lambda: answers(self.missions.database))
        return await self.missions.ended(run_id)

    async def told(self, run_id: str) -> list[tuple[str, object]]:
        events = await self.missions.events(run_id)
        return [(event.type, event.data.get("waiting_for")) for event in events if event.type.startswith("run.")]


@pytest.fixture(scope="module")
async def site(llm: ScriptedLLM) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        key = stack.enter_context(pytest.MonkeyPatch.context())
        key.setenv("OPENAI_API_KEY", "unused")
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tf-outage-")))
        servers = await stack.enter_async_context(OwnServers(home))
        parts = await stack.enter_async_context(worker_parts(servers.app_url, llm.url, TOOLS))
        assert isinstance(parts.model, LiteLLMModel)
        await parts.model.prepare()
        client = await connect(TemporalAddress(servers.temporal.address, task_queue=TASK_QUEUE))
        await stack.enter_async_context(build_worker(client, TASK_QUEUE, parts))
        missions = Missions(parts.database, WorkflowClient(client, TASK_QUEUE, PROOF_KEY), "acme-corp")
        yield Site(servers, client, llm, missions.within(model_patience_seconds=PATIENCE))


def assert_waited(
    progress: RunProgress, run: Run, told: list[tuple[str, object]], answer: str, code: str = "database_unavailable"
) -> None:
    assert progress.retry is not None
    assert progress.retry.code == code
    assert (run.status, run.stop_reason, run.answer) == (RunStatus.COMPLETED, None, answer)
    assert (run.waiting_for, run.retry) == (None, None)
    assert ("run.waiting", "the database") in told


async def test_a_model_call_whose_reply_cannot_be_stored_waits_for_the_database(site: Site) -> None:
    replied = asyncio.Event()
    site.llm.requests.clear()
    site.llm.script([held(text("Lost."), replied), text("Stored.")])
    run_id = await site.start()
    await site.llm.until(lambda llm: len(llm.requests) == 1)
    await asyncio.to_thread(site.servers.postgres.stop)
    replied.set()
    progress = await site.outlasted(run_id)
    run = await site.ended(run_id)
    assert_waited(progress, run, await site.told(run_id), "Stored.")


async def transfers(site: Site) -> tuple[str, str]:
    """A run whose model has a transfer made, which is under way."""
    name = str(uuid4())
    site.llm.script([tool_calls([("transfer", {"name": name})]), text("Done.")])
    run_id = await site.start()

    async def begun() -> bool:
        return EFFECTS[f"{run_id}/1/1"] == 1

    await eventually(begun)
    return run_id, name


async def test_the_outcome_of_a_tool_is_stored_when_the_database_is_back(site: Site) -> None:
    run_id, name = await transfers(site)
    handle = site.temporal.get_workflow_handle(workflow_id(site.missions.tenant_id, run_id))
    await asyncio.to_thread(site.servers.postgres.stop)
    stopped = utc_now()
    TRANSFERS[name].set()

    async def outlives_its_heartbeats() -> bool:
        pending = (await handle.describe()).raw_description.pending_activities
        assert [(one.activity_type.name, one.attempt) for one in pending] == [("run_tool", 1)]
        return pending[0].last_heartbeat_time.ToDatetime(UTC) > stopped + HEARTBEAT + timedelta(seconds=SECONDS)

    await eventually(outlives_its_heartbeats)
    run = await site.ended(run_id)
    # The wait was longer than the run may work.
    assert (run.status, run.stop_reason, run.answer) == (RunStatus.COMPLETED, None, "Done.")
    [observed] = await site.missions.observations(run_id)
    assert (observed.status, observed.text) == (CallStatus.SUCCEEDED, f"transferred {name}")
    assert EFFECTS[f"{run_id}/1/1"] == 1


async def test_an_outcome_that_cannot_be_stored_for_too_long_is_unknown(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool_step, "OUTCOME_PATIENCE", timedelta(seconds=1))
    run_id, name = await transfers(site)
    await asyncio.to_thread(site.servers.postgres.stop)
    TRANSFERS[name].set()
    progress = await site.outlasted(run_id)
    run = await site.ended(run_id)
    assert_waited(progress, run, await site.told(run_id), "Done.", "outcome_lost")
    [observed] = await site.missions.observations(run_id)
    assert observed.status is CallStatus.UNKNOWN
    assert observed.text.startswith("The tool has ended, but the database was away")
    assert EFFECTS[f"{run_id}/1/1"] == 1


@pytest.mark.parametrize("tool", ["echo", "echo_slowly", "transfer"])
async def test_a_tool_waits_for_the_database(site: Site, monkeypatch: pytest.MonkeyPatch, tool: str) -> None:
    """Quick ones, slow ones, and one that may not happen twice, beside one whose outcome is lost."""
    monkeypatch.setattr(tool_step, "OUTCOME_PATIENCE", timedelta(seconds=1))
    name = str(uuid4())
    arguments = {"name": name} if tool == "transfer" else {"text": "a"}
    site.llm.script([tool_calls([("transfer", {"name": name}), (tool, arguments)]), text("Done.")])
    run_id = await site.start()

    async def begun() -> bool:
        return EFFECTS[f"{run_id}/1/1"] == 1

    await eventually(begun)
    await asyncio.to_thread(site.servers.postgres.stop)
    TRANSFERS[name].set()
    progress = await site.outlasted(run_id)
    run = await site.ended(run_id)
    assert_waited(progress, run, await site.told(run_id), "Done.", "outcome_lost")
    assert EFFECTS[f"{run_id}/1/1"] == 1
