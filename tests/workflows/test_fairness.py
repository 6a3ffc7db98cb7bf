"""No tenant stands in another's way: not in the server's queues, not in a worker's places."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from uuid import uuid4

import pytest
from temporalio.client import Client

from activities.tenant_shares import CallLimits
from taskforce.core.domain.approvals.approval import workflow_id as approval_workflow_id
from taskforce.core.domain.runs.run import Limits, RunStatus, workflow_id
from tests.fixtures import probe_tools
from tests.fixtures.missions import Missions
from tests.fixtures.scripted_llm import Body, Reply, ScriptedLLM, held, text, tool_calls
from worker import WorkerParts, build_worker
from workflows.client.client import WorkflowClient
from workflows.run_waits import TURN

Calls = Sequence[tuple[str, Mapping[str, object]]]
FEW = CallLimits(model_calls=9, tool_calls=9, quick_calls=3, turn_seconds=3, retry_seconds=0.2)
FLOOD = 60


class Neighbours:
    """Two tenants of one worker that has few places."""

    def __init__(self, busy: Missions, quiet: Missions) -> None:
        self.busy = busy
        self.quiet = quiet


@pytest.fixture
async def neighbours(temporal: Client, parts: WorkerParts, tenant: str) -> AsyncIterator[Neighbours]:
    queue = f"fair-{uuid4().hex[:8]}"
    client = WorkflowClient(temporal, queue)
    async with build_worker(temporal, queue, replace(parts, limits=FEW)):
        yield Neighbours(
            Missions(parts.database, client, tenant), Missions(parts.database, client, f"quiet-{uuid4().hex[:8]}")
        )


async def test_a_tenant_whose_every_tool_hangs_delays_nobody(neighbours: Neighbours, scripted: ScriptedLLM) -> None:
    name = uuid4().hex

    def reply(body: Body) -> Reply:
        said = str(body["messages"])
        if "hang" in said:
            return tool_calls([("transfer", {"name": name})] * 4)
        return text("Done.") if "'tool'" in said else tool_calls([("echo_slowly", {"text": "hello"})])

    scripted.reply = reply
    hanging = [await neighbours.busy.start("hang") for _ in range(3)]
    for run_id in hanging:
        await neighbours.busy.event(run_id, "step.replied")
    assert (await neighbours.quiet.finish("work")).status is RunStatus.COMPLETED
    assert {(await neighbours.busy.run(run_id)).status for run_id in hanging} <= {RunStatus.RUNNING, RunStatus.WAITING}
    # Whoever had to wait gets its turn, and nothing is done twice.
    probe_tools.TRANSFERS[name].set()
    scripted.reply = lambda _: text("Done.")
    for run_id in hanging:
        assert (await neighbours.busy.ended(run_id)).status is RunStatus.COMPLETED
        assert [probe_tools.EFFECTS[f"{run_id}/1/{call}"] for call in range(1, 5)] == [1] * 4


async def test_a_tenant_whose_model_does_not_answer_delays_nobody(
    neighbours: Neighbours, scripted: ScriptedLLM
) -> None:
    answers = asyncio.Event()
    scripted.reply = lambda body: text("Done.") if "work" in str(body["messages"]) else held(text("At last."), answers)
    hanging = [await neighbours.busy.start("hang") for _ in range(30)]
    assert (await neighbours.quiet.finish("work")).status is RunStatus.COMPLETED
    assert {(await neighbours.busy.run(run_id)).status for run_id in hanging} <= {
        RunStatus.QUEUED,
        RunStatus.RUNNING,
        RunStatus.WAITING,
    }
    answers.set()
    for run_id in hanging:
        run = await neighbours.busy.ended(run_id)
        assert (run.status, run.answer) == (RunStatus.COMPLETED, "At last.")


async def test_a_wait_for_a_turn_is_no_work_of_a_run_that_may_work_for_less(
    neighbours: Neighbours, scripted: ScriptedLLM
) -> None:
    answers = asyncio.Event()
    scripted.reply = lambda body: text("Done.") if "brief" in str(body["messages"]) else held(text("At last."), answers)
    hanging = [await neighbours.busy.start("hang") for _ in range(FEW.model_calls // 3)]
    for run_id in hanging:
        await neighbours.busy.event(run_id, "run.started")
    brief = await neighbours.busy.start("brief", limits=Limits(max_seconds=5))
    # Twice it has waited for as long as it could, which together is more than it may work.
    await neighbours.busy.event(brief, "run.waiting", times=2)
    answers.set()
    run = await neighbours.busy.ended(brief)
    assert (run.status, run.answer) == (RunStatus.COMPLETED, "Done.")
    for run_id in hanging:
        await neighbours.busy.ended(run_id)


async def test_a_tool_waits_for_its_turn_visibly_and_uses_up_no_attempt_and_no_work(
    neighbours: Neighbours, scripted: ScriptedLLM
) -> None:
    name = uuid4().hex

    scripted.reply = calling("brief", [("echo_slowly", {"text": "hello"})], [("transfer", {"name": name})])
    hanging = [await neighbours.busy.start("hang") for _ in range(FEW.tool_calls // 3)]
    for run_id in hanging:
        await until_begun(f"{run_id}/1/1")
    brief = await neighbours.busy.start("brief", limits=Limits(max_seconds=8))
    await neighbours.busy.event(brief, "run.waiting", times=2)
    waiting = await neighbours.busy.run(brief)
    assert waiting.retry is None
    probe_tools.TRANSFERS[name].set()
    for run_id in (brief, *hanging):
        assert (await neighbours.busy.ended(run_id)).status is RunStatus.COMPLETED
    told = [event for event in await neighbours.busy.events(brief) if event.type == "run.waiting"]
    assert {event.data["waiting_for"] for event in told} == {TURN}
    assert probe_tools.EFFECTS[f"{brief}/1/1"] == 1


async def test_quick_tools_that_are_slow_hold_a_share_of_the_worker_only(
    neighbours: Neighbours, scripted: ScriptedLLM, temporal: Client
) -> None:
    name = uuid4().hex

    scripted.reply = calling("work", [("echo", {"text": "hi"})], [("dally", {"name": name})] * 3)
    hanging = await neighbours.busy.start("hang")
    # One of them has the tenant's only place for quick tools, so that the others run as slow ones at once.
    for call in range(1, 4):
        await until_begun(f"{hanging}/1/{call}")
    quiet = await neighbours.quiet.finish("work")
    probe_tools.TRANSFERS[name].set()
    assert quiet.status is RunStatus.COMPLETED
    assert (await neighbours.busy.ended(hanging)).status is RunStatus.COMPLETED
    assert await slow_tools(temporal, workflow_id(neighbours.quiet.tenant_id, quiet.spec.run_id)) == 0
    assert await slow_tools(temporal, workflow_id(neighbours.busy.tenant_id, hanging)) >= 2


def calling(mission: str, its: Calls, others: Calls) -> Callable[[Body], Reply]:
    """Replies of a model that has a mission call its own tools, and all others theirs, and is done then."""

    def reply(body: Body) -> Reply:
        said = str(body["messages"])
        return text("Done.") if "'tool'" in said else tool_calls(its if mission in said else others)

    return reply


async def until_begun(effect: str) -> None:
    async with asyncio.timeout(60):
        while not probe_tools.EFFECTS[effect]:  # noqa: ASYNC110 - a tool tells nobody
            await asyncio.sleep(0.02)


async def slow_tools(temporal: Client, name: str) -> int:
    """How many tools a workflow has run as regular activities."""
    events = (await temporal.get_workflow_handle(name).fetch_history()).events
    asked = [event.activity_task_scheduled_event_attributes.activity_type.name for event in events]
    return asked.count("run_tool")


async def test_a_thousandth_run_of_one_tenant_is_not_before_the_first_of_another(
    neighbours: Neighbours, scripted: ScriptedLLM
) -> None:
    began: list[str] = []

    def reply(body: Body) -> Reply:
        mission = "work" if "work" in str(body["messages"]) else "flood"
        began.append(mission)
        return text("Done.")

    scripted.reply = reply
    flood = [await neighbours.busy.accepted("flood") for _ in range(FLOOD)]
    for run_id in flood:
        await neighbours.busy.workflow_client.runs.start(await neighbours.busy.spec(run_id))
    done_before = began.count("flood")
    assert (await neighbours.quiet.finish("work")).status is RunStatus.COMPLETED
    for run_id in flood:
        assert (await neighbours.busy.ended(run_id)).status is RunStatus.COMPLETED
    waited_for = began.index("work") - done_before
    # The server lets tenants take turns, and the worker has a few places more than calls in progress.
    assert waited_for < (FLOOD - done_before) / 2 or done_before > FLOOD / 2


async def test_workflows_and_their_children_have_the_tenants_key(
    neighbours: Neighbours, temporal: Client, scripted: ScriptedLLM
) -> None:
    scripted.script([tool_calls([("pay", {"amount": 1})])])
    run_id = await neighbours.busy.start("pay")
    await neighbours.busy.event(run_id, "approval.requested")
    [request] = await neighbours.busy.pending()
    tenant = neighbours.busy.tenant_id
    child = approval_workflow_id(tenant, request.approval.request_id)
    for name in (workflow_id(tenant, run_id), child):
        described = await temporal.get_workflow_handle(name).describe()
        assert described.raw_description.workflow_execution_info.priority.fairness_key == tenant
    await neighbours.busy.workflow_client.runs.cancel(tenant, run_id)
    await neighbours.busy.ended(run_id)
