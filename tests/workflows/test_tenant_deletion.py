"""A tenant goes as it was asked for, on the real Temporal: runs, rows, histories, the log, and a report stays."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from taskforce.application.identity.principals import load_principal
from taskforce.application.tenants.deletion import TenantErasure
from taskforce.core.domain.approvals.approval import workflow_id as request_workflow_id
from taskforce.core.domain.errors import Forbidden
from taskforce.core.domain.identity.principals import AccessRules
from taskforce.core.domain.runs.run import RunSpec, RunStatus
from taskforce.core.domain.runs.run import workflow_id as run_workflow_id
from taskforce.core.domain.tenants.deletion import Deletion, DeletionOrder, DeletionStatus, Phase, workflow_id
from taskforce.infrastructure.composition import use_cases
from taskforce.infrastructure.config.settings import driver_arguments
from tests.chaos.invariants import eventually
from tests.fixtures import stack as stacks
from tests.fixtures.every_table import counts
from tests.fixtures.isolated_sweeps import sweeps
from tests.fixtures.missions import Missions, now
from tests.fixtures.scripted_llm import ScriptedLLM, hang, text, tool_calls
from worker import WorkerParts
from workflows.client.client import WorkflowClient
from workflows.client.connection import TemporalAddress
from workflows.client.executions import WorkflowExecutions
from workflows.client.recovery import LATE
from workflows.client.runs import RunClient

HOME = "platform"
pytestmark = pytest.mark.usefixtures("worker")


class Deletions:
    """Deletes the tenant of the missions, as the gateway does."""

    def __init__(self, missions: Missions, temporal: Client) -> None:
        self.missions = missions
        self.temporal = temporal
        self.database = missions.database

    async def order(self, drain: timedelta | None = None) -> None:
        at = now()
        await self.database.register_tenant(HOME, at)
        order = DeletionOrder(self.missions.tenant_id, "pia", at, None, None if drain is None else at + drain)
        async with self.database.tenant(HOME) as records:
            await records.deletions.begin(order)

    async def start(self, drain: timedelta | None = None) -> None:
        await self.order(drain)
        await self.missions.workflow_client.tenants.start_deletion(self.missions.tenant_id)

    async def result(self) -> Deletion:
        handle = self.temporal.get_workflow_handle(workflow_id(self.missions.tenant_id))
        async with asyncio.timeout(60):
            assert await handle.result() == "done"
        return await self.report()

    async def report(self) -> Deletion:
        report = await self.database.deletion(self.missions.tenant_id)
        assert report is not None
        return report

    async def reach(self, phase: Phase) -> Deletion:
        async with asyncio.timeout(60):
            while (await self.report()).facts(phase) is None:  # noqa: ASYNC110 - a row tells nobody
                await asyncio.sleep(0.05)
        return await self.report()


@pytest.fixture
def deletions(missions: Missions, temporal: Client) -> Deletions:
    return Deletions(missions, temporal)


@pytest.fixture
async def catalog(postgres: stacks.DatabaseUrls) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(**driver_arguments(postgres.admin))
    yield connection
    await connection.close()


async def test_runs_are_cancelled_and_everything_goes_but_the_report(
    deletions: Deletions, missions: Missions, scripted: ScriptedLLM, catalog: asyncpg.Connection, temporal: Client
) -> None:
    other = Missions(missions.database, missions.workflow_client, f"{missions.tenant_id}-other")
    scripted.script([text("Yours."), text("Mine."), tool_calls([("pay", {"amount": 7})]), hang("Thinking")])
    await other.finish()
    await missions.finish()
    paying = await missions.start()
    await missions.event(paying, "approval.requested")
    scripted.requests.clear()
    await missions.start()
    await scripted.until(lambda llm: len(llm.requests) == 1, timeout=60)
    await missions.accepted()
    before = await counts(catalog, other.tenant_id)

    await deletions.start()
    report = await deletions.result()

    assert report.status is DeletionStatus.DONE
    assert [one.phase for one in report.passed] == list(Phase)
    assert report.facts(Phase.RUNS_ENDED) == {"runs": {"cancelled": 3}, "requests": {"withdrawn": 1}}
    assert (report.erased["runs"], report.erased["approvals"], report.erased["tenants"]) == (4, 1, 1)
    assert set((await counts(catalog, missions.tenant_id)).values()) == {0}
    assert await counts(catalog, other.tenant_id) == before
    # Three runs that had a workflow, one approval.
    assert report.facts(Phase.HISTORIES_DELETED) == {"deleted": 4, "left": 0}
    assert report.log_end is not None
    assert report.log_end.seq == report.erased["audit_events"]
    handle = temporal.get_workflow_handle(run_workflow_id(missions.tenant_id, paying))
    await eventually(lambda: _is_gone(handle))


async def test_a_run_that_is_stuck_is_ended_with_its_tenant(
    deletions: Deletions, missions: Missions, worker: WorkerParts, temporal: Client
) -> None:
    """As one that waits for a request which makes no progress: no worker takes what the run would do next."""
    unheeding = Missions(missions.database, WorkflowClient(temporal, "nobody-polls"), missions.tenant_id)
    run_id = await unheeding.start()
    await deletions.order()
    erasure = TenantErasure(
        worker.database,
        worker.database,
        runs=unheeding.workflow_client.runs,
        histories=unheeding.workflow_client.tenants,
        lifecycle=use_cases(worker.foundation).lifecycle,
        clock=now,
        patience=timedelta(seconds=1),
    )
    async with asyncio.timeout(60):
        assert await erasure.end_runs(missions.tenant_id) == 1
    assert (await missions.run(run_id)).status is RunStatus.CANCELLED
    handle = temporal.get_workflow_handle(run_workflow_id(missions.tenant_id, run_id))
    assert (await handle.describe()).status is WorkflowExecutionStatus.TERMINATED


async def test_a_request_that_no_run_waits_for_leaves_no_workflow_behind(
    deletions: Deletions, missions: Missions, temporal: Client
) -> None:
    request_id = await missions.ask()
    handle = temporal.get_workflow_handle(request_workflow_id(missions.tenant_id, request_id))
    assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
    await deletions.start()
    report = await deletions.result()
    assert report.erased["approvals"] == 1
    assert report.facts(Phase.HISTORIES_DELETED) == {"deleted": 1, "left": 0}
    await eventually(lambda: _is_gone(handle))


async def _is_gone(handle: WorkflowHandle[Any, Any]) -> bool:
    try:
        await handle.describe()
    except RPCError as error:
        return error.status is RPCStatusCode.NOT_FOUND
    return False


async def test_a_run_that_is_drained_comes_to_its_end_while_nobody_gets_in(
    deletions: Deletions, missions: Missions, scripted: ScriptedLLM
) -> None:
    question = tool_calls([("ask_user", {"question": "Which colour?"})])
    scripted.script([question, tool_calls([("echo", {"text": "blue"})]), text("Blue it is.")])
    run_id = await missions.start()
    await missions.event(run_id, "run.waiting")
    await deletions.start(drain=timedelta(minutes=5))
    await deletions.reach(Phase.BEGUN)
    async with missions.database.tenant(missions.tenant_id) as records:
        with pytest.raises(Forbidden, match="disabled"):
            await load_principal(records, "alice", AccessRules(), now())
    # Nobody can say it over HTTP any more; the word shows that what follows it is still allowed.
    await missions.say(run_id, "Blue.")
    report = await deletions.result()
    assert report.facts(Phase.RUNS_ENDED) == {"runs": {"completed": 1}, "requests": {}}


async def test_what_has_not_ended_when_the_time_is_over_is_cancelled(
    deletions: Deletions, missions: Missions, scripted: ScriptedLLM
) -> None:
    scripted.script([tool_calls([("pay", {"amount": 7})])])
    run_id = await missions.start()
    await missions.event(run_id, "approval.requested")
    await deletions.start(drain=timedelta(seconds=1))
    report = await deletions.result()
    assert report.facts(Phase.RUNS_ENDED) == {"runs": {"cancelled": 1}, "requests": {"withdrawn": 1}}
    ended = next(one.at for one in report.passed if one.phase is Phase.RUNS_ENDED)
    assert report.order.runs_until is not None
    assert ended > report.order.runs_until


async def test_without_a_drain_a_runs_next_effect_is_refused_at_once(
    deletions: Deletions, missions: Missions, scripted: ScriptedLLM
) -> None:
    scripted.script([tool_calls([("ask_user", {"question": "Which colour?"})]), text("Blue it is.")])
    run_id = await missions.start()
    await missions.event(run_id, "run.waiting")
    await deletions.order()
    await missions.say(run_id, "Blue.")
    run = await missions.ended(run_id)
    assert (run.status, run.error_code) == (RunStatus.FAILED, "tenant_disabled")


async def test_the_log_is_kept_for_its_time_and_then_goes(
    deletions: Deletions, missions: Missions, postgres: stacks.DatabaseUrls, temporal: Client
) -> None:
    await missions.person("alice", "operator")
    await missions.accepted()
    await stacks.keep_logs_for(postgres.owner, "3 seconds")
    try:
        await deletions.start()
        report = await deletions.reach(Phase.HISTORIES_DELETED)
        assert (report.status, report.erased_at) == (DeletionStatus.KEEPING_LOG, None)
        assert "audit_events" not in report.erased
        async with missions.database.tenant(missions.tenant_id) as records:
            end, _ = await records.audit.end()
        report = await deletions.result()
    finally:
        await stacks.keep_logs_for(postgres.owner, "0 seconds")
    assert report.log_end == end
    assert report.erased_at is not None
    assert report.erased_at >= report.log_kept_until
    handle = temporal.get_workflow_handle(workflow_id(missions.tenant_id))
    kept = [event async for event in handle.fetch_history_events() if event.HasField("timer_started_event_attributes")]
    assert len(kept) == 1


class NoRuns(RunClient):
    async def start(self, spec: RunSpec) -> bool:
        del spec
        return False


class DeletionsOnly(WorkflowClient):
    """Starts no runs: those that other tests have left would take the replies of later ones."""

    def __init__(self, client: Client, task_queue: str) -> None:
        super().__init__(client, task_queue)
        self.runs = NoRuns(WorkflowExecutions(client, task_queue))


async def test_the_sweeper_starts_what_a_gateway_committed_and_did_not_start(
    deletions: Deletions, temporal: Client, temporal_address: TemporalAddress, worker: WorkerParts
) -> None:
    await deletions.missions.accepted()
    await deletions.order()
    workflow_client = DeletionsOnly(temporal, temporal_address.task_queue)
    async with sweeps(worker.database, workflow_client, worker.live, lambda: now() + LATE + timedelta(seconds=1)):
        await deletions.reach(Phase.VERIFIED)
    assert (await deletions.result()).is_done


async def test_one_that_an_operator_has_ended_goes_on_by_a_sweep(
    deletions: Deletions, missions: Missions, scripted: ScriptedLLM, temporal: Client, worker: WorkerParts
) -> None:
    scripted.script([tool_calls([("ask_user", {"question": "Which colour?"})])])
    await missions.event(await missions.start(), "run.waiting")
    await deletions.start(drain=timedelta(seconds=3))
    await deletions.reach(Phase.BEGUN)
    await temporal.get_workflow_handle(workflow_id(missions.tenant_id)).terminate()
    workflow_client = DeletionsOnly(temporal, missions.workflow_client.task_queue)
    async with sweeps(worker.database, workflow_client, worker.live, lambda: now() + LATE + timedelta(seconds=1)):
        await deletions.reach(Phase.VERIFIED)


async def test_one_that_an_operator_has_ended_goes_on_when_it_is_asked_for_again(
    deletions: Deletions, missions: Missions, scripted: ScriptedLLM, temporal: Client
) -> None:
    scripted.script([tool_calls([("ask_user", {"question": "Which colour?"})])])
    await missions.event(await missions.start(), "run.waiting")
    await deletions.start(drain=timedelta(seconds=3))
    await deletions.reach(Phase.BEGUN)
    handle = temporal.get_workflow_handle(workflow_id(missions.tenant_id))
    await handle.terminate()
    for _ in range(2):
        await missions.workflow_client.tenants.start_deletion(missions.tenant_id)
    assert (await deletions.result()).is_done
    # And once more, as a gateway might that has not seen the end: it finds everything done.
    await missions.workflow_client.tenants.start_deletion(missions.tenant_id)
    assert await deletions.result() == await deletions.report()
    assert (await handle.describe()).status is WorkflowExecutionStatus.COMPLETED
