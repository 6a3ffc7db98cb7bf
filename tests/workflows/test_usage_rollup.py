"""The rollup as Temporal runs it: started by its schedule, with a small history however many tenants there are."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from temporalio.client import (
    Client,
    ScheduleActionExecutionStartWorkflow,
    ScheduleOverlapPolicy,
    WorkflowFailureError,
)
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import ActivityEnvironment

from activities.metering import MeteringActivities
from models.messages.metering import MeasuredStorage, Rebuild, RollupOrder, RollupResult
from taskforce.application.metering.price_books import PriceBooks
from taskforce.application.reporting import rollup
from taskforce.core.domain.metering.periods import Period
from taskforce.infrastructure.llm.price_map import BundledPrices
from taskforce.infrastructure.persistence.database import Database
from tests.fixtures.usage import total, used
from tests.taskforce.infrastructure.persistence.factories import settled
from worker import WorkerParts, build_worker
from workflows.client.client import WorkflowClient
from workflows.usage_rollup import UsageRollup

START = datetime(2026, 11, 1, tzinfo=UTC)
DAY = Period(START, START + timedelta(days=1))


@dataclass(frozen=True)
class Queue:
    """A queue of its own, with a worker."""

    temporal: Client
    workflow_client: WorkflowClient

    async def run(self, order: RollupOrder) -> RollupResult:
        queue = self.workflow_client.task_queue
        return await self.temporal.execute_workflow(UsageRollup.run, order, id=f"{queue}-{uuid4()}", task_queue=queue)


@pytest.fixture
async def queue(temporal: Client, parts: WorkerParts) -> AsyncIterator[Queue]:
    name = f"rollups-{uuid4().hex[:12]}"
    async with build_worker(temporal, name, parts):
        yield Queue(temporal, WorkflowClient(temporal, name))


async def test_the_schedule_starts_rollups_of_which_one_runs_at_a_time(
    queue: Queue, database: Database, tenant: str
) -> None:
    await settled(database, tenant)
    await used(database, tenant, START)
    schedules = queue.workflow_client.schedules
    assert await schedules.ensure_usage_rollup()
    assert not await schedules.ensure_usage_rollup()
    handle = queue.temporal.get_schedule_handle(schedules.usage_rollup_id)
    try:
        described = await handle.describe()
        assert described.schedule.policy.overlap is ScheduleOverlapPolicy.SKIP
        await handle.trigger()
        async with asyncio.timeout(60):
            while not (started := (await handle.describe()).info.recent_actions):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)
        action = started[0].action
        assert isinstance(action, ScheduleActionExecutionStartWorkflow)
        execution = queue.temporal.get_workflow_handle(action.workflow_id, result_type=RollupResult)
        result = await execution.result()
        history = await execution.fetch_history()
    finally:
        await handle.delete()
    assert (result.status, result.failed) == ("done", 0)
    assert result.records >= 1
    assert len(history.events) < 25
    assert (await total(database, tenant, DAY)).records == 1


async def test_a_rebuild_is_ordered_by_hand(queue: Queue, database: Database, tenant: str) -> None:
    await settled(database, tenant)
    await used(database, tenant, START)
    assert (await queue.run(RollupOrder())).records >= 1
    order = Rebuild(tenant_id=tenant, start=DAY.start, end=DAY.end)
    assert (await queue.run(RollupOrder(rebuild=order))).rebuilt == 1
    with pytest.raises(WorkflowFailureError):
        await queue.run(RollupOrder(rebuild=Rebuild(tenant_id=tenant, start=DAY.end, end=DAY.start)))
    assert (await total(database, tenant, DAY)).records == 1


async def test_a_worker_without_the_right_to_create_schedules_goes_on_and_says_what_to_do(
    temporal: Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client = WorkflowClient(temporal, f"nobody-{uuid4().hex[:8]}")

    async def refuse(*_: object, **__: object) -> None:
        raise RPCError("Request unauthorized.", RPCStatusCode.PERMISSION_DENIED, b"")

    monkeypatch.setattr(type(temporal), "create_schedule", refuse)
    assert not await client.schedules.ensure_usage_rollup()
    said = capsys.readouterr().out
    assert "schedule.missing" in said
    assert f"temporal schedule create --namespace default --schedule-id 'usage-rollup:{client.task_queue}'" in said


async def test_an_attempt_goes_on_where_the_last_heartbeat_was(parts: WorkerParts) -> None:
    """What a heartbeat told is what the next attempt begins with."""

    class Noting(rollup.UsageRollup):
        async def measure_storage(self, progress: rollup.RollupProgress, tell: rollup.Tell) -> rollup.RollupProgress:
            del tell
            return replace(progress, measured=progress.measured + 1)

    environment = ActivityEnvironment()
    told = [1_200, MeasuredStorage(tenants=7, after="globex").model_dump()]
    environment.info = replace(environment.default_info(), heartbeat_details=told)
    activities = MeteringActivities(Noting(parts.database, parts.clock, PriceBooks(BundledPrices(), parts.clock)))
    found = await environment.run(activities.measure_storage, RollupOrder())
    assert found == MeasuredStorage(tenants=8, after="globex")
