"""A kill switch: nothing of what it halts begins any more, whoever dies meanwhile, until it is let go."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from temporalio.client import Client

from taskforce.application.identity.principals import Actor
from taskforce.application.runs.kill_switches import pull_switch, release_switch
from taskforce.core.domain.errors import Unavailable
from taskforce.core.domain.identity.principals import PLATFORM_TENANT
from taskforce.core.domain.runs.kill_switches import SwitchScope, SwitchTarget
from taskforce.core.domain.runs.run import RunStatus, workflow_id
from taskforce.core.interfaces.identity import Permission
from taskforce.infrastructure.persistence.database import Database
from tests.fixtures.actors import acting
from tests.fixtures.missions import AGENT, Missions, now
from tests.fixtures.probe_tools import EFFECTS, TRANSFERS
from tests.fixtures.scripted_llm import ScriptedLLM, held, text, tool_calls
from tests.workflows.approvals import asked, yes
from worker import WorkerParts, build_worker
from workflows.client.client import WorkflowClient

WHY = "It deletes what it should read."


def ada(tenant_id: str) -> Actor:
    return acting(tenant_id, "ada", now(), frozenset({Permission.TENANT_MANAGE}))


def of_tenant(missions: Missions) -> SwitchTarget:
    return SwitchTarget(missions.tenant_id, SwitchScope.TENANT)


async def pull(missions: Missions, target: SwitchTarget | None = None) -> None:
    target = target or of_tenant(missions)
    await pull_switch(missions.database, ada(target.tenant_id), target, WHY)


async def let_go(missions: Missions, target: SwitchTarget | None = None) -> None:
    target = target or of_tenant(missions)
    await release_switch(missions.database, ada(target.tenant_id), target)


@asynccontextmanager
async def pulled(missions: Missions, target: SwitchTarget) -> AsyncIterator[None]:
    await pull(missions, target)
    try:
        yield
    finally:
        await let_go(missions, target)


async def until_looked(temporal: Client, missions: Missions, run_id: str, times: int) -> None:
    """Waits until a halted run has looked for its release a number of times."""
    handle = temporal.get_workflow_handle(workflow_id(missions.tenant_id, run_id))
    async with asyncio.timeout(60):
        while True:
            pending = (await handle.describe()).raw_description.pending_activities
            if any(one.activity_type.name == "await_release" and one.attempt >= times for one in pending):
                return
            await asyncio.sleep(0.05)


async def until_transferred(run_id: str) -> None:
    async with asyncio.timeout(60):
        while not EFFECTS[f"{run_id}/1/1"]:  # noqa: ASYNC110 - the tool tells nobody
            await asyncio.sleep(0.02)


@pytest.fixture
async def installation(database: Database) -> SwitchTarget:
    await database.register_tenant(PLATFORM_TENANT, now())
    return SwitchTarget(PLATFORM_TENANT, SwitchScope.INSTALLATION)


async def test_a_run_asks_the_model_nothing_until_the_switch_is_let_go_also_of_another_worker(
    temporal: Client, parts: WorkerParts, tenant: str, scripted: ScriptedLLM
) -> None:
    queue, name = f"halted-{uuid4()}", str(uuid4())
    missions = Missions(parts.database, WorkflowClient(temporal, queue), tenant).within(model_patience_seconds=0)
    scripted.requests.clear()
    scripted.script([tool_calls([("transfer", {"name": name})]), text("Done.")])
    async with build_worker(temporal, queue, parts):
        run_id = await missions.start()
        await until_transferred(run_id)
        await pull(missions)
        TRANSFERS[name].set()
        told = await missions.event(run_id, "run.waiting")
        await until_looked(temporal, missions, run_id, 1)
    async with build_worker(temporal, queue, parts):
        await until_looked(temporal, missions, run_id, 4)
        run, progress = await missions.run(run_id), await missions.workflow_client.runs.progress(tenant, run_id)
        assert len(scripted.requests) == 1
        assert (run.status, run.waiting_for) == (RunStatus.WAITING, "a kill switch to be let go")
        assert run.retry is not None
        assert run.retry.code == "halted"
        assert run.retry.message == f"This tenant is halted: ada pulled its kill switch. Reason: {WHY}"
        assert (told.data["code"], told.data["message"]) == ("halted", run.retry.message)
        assert progress.retry is not None
        assert progress.retry.message == run.retry.message
        await let_go(missions)
        run = await missions.ended(run_id)
    assert (run.status, run.answer, run.retry, run.waiting_for) == (RunStatus.COMPLETED, "Done.", None, None)
    assert len(scripted.requests) == 2
    assert not [event for event in await missions.events(run_id) if event.type == "model.retrying"]


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("tool", ["echo", "echo_slowly"])
async def test_a_reply_under_way_is_kept_and_its_tools_run_when_the_switch_is_let_go(
    missions: Missions, scripted: ScriptedLLM, temporal: Client, tool: str
) -> None:
    replied = asyncio.Event()
    scripted.requests.clear()
    scripted.script([held(tool_calls([(tool, {"text": "one"}), (tool, {"text": "two"})]), replied), text("Done.")])
    run_id = await missions.start()
    await scripted.until(lambda llm: len(llm.requests) == 1)
    await pull(missions)
    replied.set()
    await until_looked(temporal, missions, run_id, 2)
    assert (EFFECTS[f"{run_id}/1/1"], EFFECTS[f"{run_id}/1/2"]) == (0, 0)
    assert await missions.observations(run_id) == []
    await let_go(missions)
    assert (await missions.ended(run_id)).status is RunStatus.COMPLETED
    assert (EFFECTS[f"{run_id}/1/1"], EFFECTS[f"{run_id}/1/2"], len(scripted.requests)) == (1, 1, 2)


@pytest.mark.usefixtures("worker")
async def test_a_cancellation_ends_a_halted_run(missions: Missions, scripted: ScriptedLLM, temporal: Client) -> None:
    run_id, request_id = await asked(missions, scripted)
    await missions.person("bob", "admin")
    await pull(missions)
    await missions.workflow_client.approvals.decide(missions.tenant_id, request_id, yes())
    await until_looked(temporal, missions, run_id, 1)
    await missions.workflow_client.runs.cancel(missions.tenant_id, run_id)
    run = await missions.ended(run_id)
    assert (run.status, run.waiting_for, run.retry) == (RunStatus.CANCELLED, None, None)
    assert EFFECTS[f"{run_id}/1/1"] == 0


@pytest.mark.usefixtures("worker")
async def test_a_paused_run_stays_paused_when_the_switch_is_let_go(
    missions: Missions, scripted: ScriptedLLM, temporal: Client
) -> None:
    replied = asyncio.Event()
    scripted.requests.clear()
    scripted.script([held(tool_calls([("echo_slowly", {"text": "one"})]), replied), text("Done.")])
    run_id = await missions.start()
    await scripted.until(lambda llm: len(llm.requests) == 1)
    await pull(missions)
    replied.set()
    await until_looked(temporal, missions, run_id, 1)
    await missions.workflow_client.runs.signal(missions.tenant_id, run_id, "pause")
    await let_go(missions)
    await missions.event(run_id, "run.paused")
    assert EFFECTS[f"{run_id}/1/1"] == 0
    await missions.workflow_client.runs.signal(missions.tenant_id, run_id, "resume")
    assert (await missions.ended(run_id)).status is RunStatus.COMPLETED


@pytest.mark.usefixtures("worker")
async def test_other_tenants_and_other_agents_go_on(missions: Missions, scripted: ScriptedLLM) -> None:
    scripted.reply = lambda _: text("Done.")
    other = Missions(missions.database, missions.workflow_client, f"{missions.tenant_id}-b")
    await missions.person("ada")
    another = SwitchTarget(missions.tenant_id, SwitchScope.AGENT, "another")
    async with pulled(missions, another):
        assert (await missions.finish()).status is RunStatus.COMPLETED
    for target in (of_tenant(missions), SwitchTarget(missions.tenant_id, SwitchScope.AGENT, AGENT.agent_id)):
        async with pulled(missions, target):
            assert (await other.finish()).status is RunStatus.COMPLETED
            with pytest.raises(Unavailable) as refused:
                await missions.start()
            assert refused.value.code == "halted"
    assert (await missions.finish()).status is RunStatus.COMPLETED


@pytest.mark.usefixtures("worker")
async def test_the_switch_of_the_installation_halts_every_tenant(
    missions: Missions, scripted: ScriptedLLM, temporal: Client, installation: SwitchTarget
) -> None:
    scripted.requests.clear()
    scripted.script([text("Done.")])
    run_id = await missions.accepted()
    async with pulled(missions, installation):
        await missions.workflow_client.runs.start(await missions.spec(run_id))
        await until_looked(temporal, missions, run_id, 2)
        run = await missions.run(run_id)
        assert run.retry is not None
        assert run.retry.message.startswith("The whole installation is halted: the platform's operator ada")
        assert scripted.requests == []
        with pytest.raises(Unavailable, match="whole installation"):
            await missions.start()
    run = await missions.ended(run_id)
    assert (run.status, run.answer) == (RunStatus.COMPLETED, "Done.")
