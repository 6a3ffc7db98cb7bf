"""Every row that says open and has no workflow is settled in the end, whatever Temporal lists."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from uuid import uuid4

import pytest
import sqlalchemy as sa
from temporalio.client import Client

from taskforce.application.sweeps import AGAIN
from taskforce.core.domain.approvals.approval import ApprovalStatus
from taskforce.core.domain.approvals.approval import workflow_id as approval_id
from taskforce.core.domain.ids import new_id
from taskforce.core.domain.runs.run import RunStatus, workflow_id
from taskforce.core.domain.webhooks.delivery import DeliveryStatus
from taskforce.core.interfaces.due_rows import DueRow
from taskforce.core.interfaces.workflows import Ended, WorkflowState
from tests.chaos.invariants import eventually
from tests.fixtures.isolated_sweeps import Alone, sweeps
from tests.fixtures.missions import Missions, now
from tests.fixtures.scripted_llm import ScriptedLLM, hang
from tests.fixtures.webhooks import Hooks
from worker import WorkerParts
from workflows.client import executions
from workflows.client.approvals import ApprovalClient
from workflows.client.client import WorkflowClient
from workflows.client.executions import WorkflowExecutions
from workflows.client.open_rows import OpenRows
from workflows.client.runs import RunClient


class BlindRuns(RunClient):
    async def ended_from_outside(self, since: datetime) -> Ended:
        del since
        return []


class BlindRequests(ApprovalClient):
    async def ended_from_outside(self, since: datetime) -> Ended:
        del since
        return []


class Blind(WorkflowClient):
    """A client to which Temporal lists nothing that was ended from outside."""

    def __init__(self, client: Client, task_queue: str) -> None:
        super().__init__(client, task_queue)
        self.runs = BlindRuns(WorkflowExecutions(client, task_queue))
        self.approvals = BlindRequests(WorkflowExecutions(client, task_queue))


@pytest.fixture
def nobody(temporal: Client) -> Blind:
    """A client whose queue no worker polls."""
    return Blind(temporal, f"nobody-{uuid4().hex[:8]}")


def much_later() -> datetime:
    """A clock for which the rows of now are to be checked."""
    return now() + AGAIN + timedelta(minutes=1)


async def swept(
    missions: Missions, client: WorkflowClient, worker: WorkerParts, true: Callable[[], Awaitable[bool]]
) -> None:
    async with sweeps(Alone(missions.database, missions.tenant_id), client, worker.live, much_later):
        await eventually(true)


async def test_a_run_whose_termination_nobody_lists_is_settled_by_its_row(
    missions: Missions, scripted: ScriptedLLM, temporal: Client, nobody: Blind, worker: WorkerParts
) -> None:
    scripted.requests.clear()
    scripted.reply = lambda _: hang("Thinking")
    run_id = await missions.start()
    await scripted.until(lambda llm: len(llm.requests) == 1, timeout=60)
    await temporal.get_workflow_handle(workflow_id(missions.tenant_id, run_id)).terminate()

    async def ended() -> bool:
        return (await missions.run(run_id)).status is RunStatus.FAILED

    await swept(missions, nobody, worker, ended)
    assert (await missions.run(run_id)).error_code == "run_terminated"


async def test_a_run_that_was_terminated_before_it_began_is_settled(
    missions: Missions, temporal: Client, nobody: Blind, worker: WorkerParts
) -> None:
    run_id = await missions.accepted()
    await nobody.runs.start(await missions.spec(run_id))
    await temporal.get_workflow_handle(workflow_id(missions.tenant_id, run_id)).terminate()

    async def ended() -> bool:
        return (await missions.run(run_id)).status is RunStatus.FAILED

    await swept(missions, nobody, worker, ended)


async def test_a_run_to_be_cancelled_whose_workflow_was_terminated_is_settled_as_cancelled(
    missions: Missions, temporal: Client, nobody: Blind, worker: WorkerParts
) -> None:
    run_id = await missions.accepted()
    await nobody.runs.start(await missions.spec(run_id))
    await temporal.get_workflow_handle(workflow_id(missions.tenant_id, run_id)).terminate()
    async with missions.database.tenant(missions.tenant_id) as records:
        wish = sa.text(f"UPDATE runs SET cancel_at = created_at WHERE run_id = '{run_id}'")
        await records.users._connection.change(wish)

    async def ended() -> bool:
        return (await missions.run(run_id)).status.is_final

    await swept(missions, nobody, worker, ended)
    run = await missions.run(run_id)
    assert (run.status, run.error_code) == (RunStatus.CANCELLED, None)


async def test_a_request_whose_workflow_is_gone_is_withdrawn(
    missions: Missions, temporal: Client, nobody: Blind, worker: WorkerParts
) -> None:
    await missions.person("bob", "admin")
    request = await missions.filed()
    request_id = request.approval.request_id
    await nobody.approvals.start(missions.tenant_id, request)
    await temporal.get_workflow_handle(approval_id(missions.tenant_id, request_id)).terminate()

    async def closed() -> bool:
        return (await missions.request(request_id)).status is ApprovalStatus.WITHDRAWN

    await swept(missions, nobody, worker, closed)


async def test_a_delivery_that_has_begun_and_has_no_workflow_is_stopped(
    missions: Missions, nobody: Blind, worker: WorkerParts
) -> None:
    hooks = Hooks(missions.database, None, missions.tenant_id)
    webhook, _ = await hooks.make("https://hooks.example.com/")
    await hooks.announce()
    (delivery,) = await hooks.deliveries(webhook)
    async with hooks.database.tenant(hooks.tenant_id) as records:
        await records.deliveries.begin(delivery.delivery_id)

    async def stopped() -> bool:
        return (await hooks.delivery(delivery.delivery_id)).state.status is DeliveryStatus.STOPPED

    await swept(missions, nobody, worker, stopped)


async def test_what_is_open_and_has_its_workflow_is_left_alone(missions: Missions, nobody: Blind) -> None:
    run_id = await missions.accepted()
    await nobody.runs.start(await missions.spec(run_id))
    settled: list[str] = []

    async def never(tenant_id: str, row: DueRow) -> bool:
        raise AssertionError(f"{row} of {tenant_id} has a workflow.")

    async def settle(_: str, row_id: str) -> None:
        settled.append(row_id)

    rows = OpenRows("runs", nobody.runs.state, never, settle)
    assert await rows.start_late(missions.tenant_id, DueRow(run_id))
    assert await rows.check(missions.tenant_id, DueRow(run_id))
    assert settled == []


async def test_the_state_of_a_workflow_is_told(missions: Missions, temporal: Client, nobody: Blind) -> None:
    run_id = await missions.accepted()
    assert await nobody.runs.state(missions.tenant_id, run_id) is WorkflowState.ABSENT
    await nobody.runs.start(await missions.spec(run_id))
    assert await nobody.runs.state(missions.tenant_id, run_id) is WorkflowState.OPEN
    await temporal.get_workflow_handle(workflow_id(missions.tenant_id, run_id)).terminate()
    assert await nobody.runs.state(missions.tenant_id, run_id) is WorkflowState.CLOSED
    assert await nobody.approvals.state(missions.tenant_id, new_id()) is WorkflowState.ABSENT
    assert await nobody.deliveries.state(missions.tenant_id, new_id()) is WorkflowState.ABSENT


async def test_all_pages_of_what_was_terminated_are_read(
    missions: Missions, temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executions, "PAGE", 2)
    client = WorkflowClient(temporal, f"nobody-{uuid4().hex[:8]}")
    since, runs = now() - timedelta(minutes=1), set[tuple[str, str]]()
    for _ in range(5):
        run_id = await missions.accepted()
        await client.runs.start(await missions.spec(run_id))
        await temporal.get_workflow_handle(workflow_id(missions.tenant_id, run_id)).terminate()
        runs.add((missions.tenant_id, run_id))

    async def listed() -> bool:
        return runs <= set(await client.runs.ended_from_outside(since))

    await eventually(listed)
