"""A gateway that dies between commit and start, and a cancellation that reaches what hangs."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from taskforce.core.domain.runs.run import Ending, RunStatus
from taskforce.core.domain.tenants.tenant import TenantSettings
from taskforce.core.interfaces.clock import utc_now
from taskforce.infrastructure.persistence.database import Database
from tests.chaos.invariants import ended, eventually
from tests.chaos.worker_process import Crew
from tests.fixtures.isolated_sweeps import Alone, sweeps
from tests.fixtures.missions import Missions
from tests.fixtures.scripted_llm import ScriptedLLM, hang, text, tool_calls
from tests.taskforce.application.scenario import Stage
from worker import WorkerParts
from workflows.client.client import WorkflowClient
from workflows.client.recovery import LATE


def soon() -> datetime:
    """A clock for which what was committed just now is late."""
    return utc_now() + LATE + timedelta(seconds=1)


async def test_the_sweeper_starts_what_a_gateway_committed_and_did_not_start(
    missions: Missions, scripted: ScriptedLLM, database: Database, workflow_client: WorkflowClient, worker: WorkerParts
) -> None:
    scripted.script([text("Swept.")])
    run_id = await missions.accepted()
    mine = Alone(database, missions.tenant_id)
    async with sweeps(mine, workflow_client, worker.live, soon), sweeps(mine, workflow_client, worker.live, soon):
        run = await missions.ended(run_id)
    assert (run.status, run.answer) == (RunStatus.COMPLETED, "Swept.")
    assert [event.type for event in await missions.events(run_id)].count("run.started") == 1


async def test_the_sweeper_erases_what_its_tenant_keeps_no_longer(
    database: Database, workflow_client: WorkflowClient, worker: WorkerParts, tenant: str
) -> None:
    stage = Stage(database, tenant)
    await stage.person("alice", "operator")
    run_id = (await stage.accepted()).run_id
    await stage.lifecycle.end(tenant, run_id, Ending(RunStatus.COMPLETED))
    async with database.tenant(tenant) as records:
        known = await records.tenant.locked()
        assert known is not None
        await records.tenant.save(replace(known, settings=TenantSettings(data_retention_days=1)))

    async def gone() -> bool:
        async with database.tenant(tenant) as records:
            return await records.runs.get(run_id) is None

    async with sweeps(Alone(database, tenant), workflow_client, worker.live):
        await eventually(gone)


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("pieces", [(), ("Thin", "king")], ids=["before-a-word", "in-the-middle"])
async def test_a_cancellation_hangs_up_on_a_model_that_hangs(
    missions: Missions, scripted: ScriptedLLM, pieces: tuple[str, ...]
) -> None:
    hangups = scripted.hangups
    scripted.requests.clear()
    scripted.script([hang(*pieces)])
    run_id = await missions.start()
    await scripted.until(lambda llm: len(llm.requests) == 1, timeout=60)
    await missions.workflow_client.runs.cancel(missions.tenant_id, run_id)
    await scripted.until(lambda llm: llm.hangups == hangups + 1, timeout=60)
    assert (await missions.ended(run_id)).status is RunStatus.CANCELLED
    assert len(scripted.requests) == 1


async def test_a_cancellation_reaches_a_tool_that_hangs(crew: Crew, endangered: Missions, llm: ScriptedLLM) -> None:
    llm.script([tool_calls([("file_away", {"text": "a"})])])
    effects = crew.effects
    effects.hold()
    await crew.hire()
    run_id = await endangered.start()

    async def begun() -> bool:
        return effects.count("file_away", run_id, "begun") == [1]

    await eventually(begun)
    await endangered.workflow_client.runs.cancel(endangered.tenant_id, run_id)
    assert (await ended(endangered, run_id)).status is RunStatus.CANCELLED
    assert effects.count("file_away", run_id, "done") == []
