"""What a worker counts of a run: its end, its tools, its model calls, its activities, and what the SDK records."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from taskforce.application.reporting.backlog import BacklogWatch
from taskforce.application.reporting.service_statistics import StatisticsLog
from taskforce.core.domain.metering.service_levels import ServiceKind
from taskforce.core.domain.runs.run import RunStatus
from taskforce.core.interfaces.clock import utc_now
from taskforce.core.interfaces.metrics import Observers
from taskforce.infrastructure.metrics.process_metrics import ProcessMetrics
from taskforce.infrastructure.persistence.column_encryption import ColumnSealer
from taskforce.infrastructure.persistence.database import Database
from tests.fixtures.expositions import Samples, samples
from tests.fixtures.missions import Missions
from tests.fixtures.scripted_llm import ScriptedLLM, status, text, tool_calls
from tests.fixtures.stack import MASTER_KEY, PROOF_KEY, DatabaseUrls
from worker import WorkerParts, build_worker
from workflows.client.client import WorkflowClient
from workflows.client.connection import TemporalAddress, connect
from workflows.client.sdk_metrics import recording_sdk


class CountingWorker:
    """A worker that counts, and a tenant's runs in it."""

    def __init__(self, missions: Missions, metrics: ProcessMetrics, statistics: StatisticsLog) -> None:
        self.missions = missions
        self.metrics = metrics
        self.statistics = statistics

    async def samples(self) -> Samples:
        return samples((await self.metrics.exposition()).decode())


@pytest.fixture
async def counting(
    temporal_address: TemporalAddress, postgres: DatabaseUrls, parts: WorkerParts, tenant: str
) -> AsyncIterator[CountingWorker]:
    metrics, statistics = ProcessMetrics(), StatisticsLog(utc_now)
    observer = Observers(metrics.product, statistics)
    database = Database(postgres.app, sealer=ColumnSealer(MASTER_KEY), observer=observer)
    queue = f"metrics-{uuid4().hex[:8]}"
    async with recording_sdk(metrics.sdk.add) as runtime:
        client = await connect(replace(temporal_address, task_queue=queue), runtime)
        workflow_client = WorkflowClient(client, queue, PROOF_KEY)
        async with build_worker(client, queue, replace(parts, database=database, observer=observer)):
            yield CountingWorker(Missions(database, workflow_client, tenant), metrics, statistics)
    await database.close()


def counted(found: Samples, name: str, **labels: str) -> float:
    return sum(value for (its, given), value in found.items() if its == name and labels.items() <= dict(given).items())


async def test_a_run_is_counted_once_with_its_tools_models_and_activities(
    counting: CountingWorker, scripted: ScriptedLLM, tenant: str
) -> None:
    scripted.script(
        [
            status(503),
            tool_calls([("calculator", {"expression": "6*7"}), ("calculator", {"expression": "1/0"})]),
            text("42."),
        ]
    )
    run_id = await counting.missions.start("What is six times seven?")
    run = await counting.missions.ended(run_id)
    assert run.status is RunStatus.COMPLETED
    found = await counting.samples()
    mine = {"tenant_id": tenant}
    assert counted(found, "taskforce_agent_executions_total", status="completed", agent_id="assistant", **mine) == 1
    assert counted(found, "taskforce_agent_steps_total", **mine) == run.totals.steps == 2
    assert counted(found, "taskforce_agent_tokens_total", **mine) == 50
    assert counted(found, "taskforce_agent_execution_duration_seconds_count", **mine) == 1
    assert counted(found, "taskforce_tool_executions_total", tool_name="calculator", status="succeeded", **mine) == 1
    assert counted(found, "taskforce_tool_executions_total", tool_name="calculator", status="failed", **mine) == 1
    model = {"model": "openai/scripted", **mine}
    assert counted(found, "taskforce_llm_calls_total", status="succeeded", **model) == 2
    assert counted(found, "taskforce_llm_calls_total", status="failed", **model) >= 1
    assert counted(found, "taskforce_llm_tokens_total", type="input", **model) == 40
    assert counted(found, "taskforce_llm_tokens_total", type="output", **model) == 10
    assert counted(found, "taskforce_activities_total", activity="run_tool", outcome="succeeded") == 2
    assert counted(found, "taskforce_activities_total", activity="call_model", outcome="succeeded") == 2
    await counting.statistics.flush(counting.missions.database)
    now = datetime.now(UTC)
    async with counting.missions.database.reading(tenant) as records:
        levels = await records.service_statistics.sums(
            [ServiceKind.AGENT, ServiceKind.MODEL], now - timedelta(minutes=5), now + timedelta(minutes=1)
        )
    agent, model_level = levels
    assert (agent.name, agent.statistics.requests, agent.statistics.errors) == ("assistant", 1, 0)
    assert (model_level.name, model_level.statistics.requests) == (
        "openai/scripted",
        counted(found, "taskforce_llm_calls_total", **model),
    )


async def test_what_the_sdk_records_is_in_the_same_exposition(counting: CountingWorker, scripted: ScriptedLLM) -> None:
    scripted.reply = lambda _: text("Done.")
    await counting.missions.finish()
    while not counted(found := await counting.samples(), "temporal_workflow_task_execution_latency_seconds_count"):
        await counting.missions.finish()
    queue = counting.missions.workflow_client.task_queue
    assert counted(found, "temporal_workflow_task_execution_latency_seconds_count", task_queue=queue) >= 1
    assert counted(found, "temporal_request_total", operation="StartWorkflowExecution") >= 1
    used = ("temporal_worker_task_slots_used", "ActivityWorker")
    assert used in {(name, dict(labels).get("worker_type")) for name, labels in found}


async def test_what_waits_is_shown_as_long_as_it_waits(counting: CountingWorker, tenant: str) -> None:
    missions = counting.missions
    await missions.accepted()
    await missions.filed()
    watch = BacklogWatch(
        missions.database,
        missions.database,
        counting.metrics.product,
        clock=lambda: datetime.now(UTC) + timedelta(hours=1),
        late=timedelta(seconds=5),
    )
    await watch.look()
    found = await counting.samples()
    assert counted(found, "taskforce_sweep_late_tenants", kind="runs.start") >= 1
    assert counted(found, "taskforce_sweep_late_seconds", kind="runs.start") > 3_000
    assert counted(found, "taskforce_kill_switches_pulled", scope="installation") == 0
    assert ("taskforce_kill_switches_pulled", (("scope", "installation"),)) in found
    assert counted(found, "taskforce_approvals_pending", tenant_id=tenant) == 1
    assert counted(found, "taskforce_approvals_oldest_pending_seconds", tenant_id=tenant) > 3_000
    assert counted(found, "taskforce_approvals_requested_total", type="carried", tenant_id=tenant) == 1
