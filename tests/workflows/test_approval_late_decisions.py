"""Words that came in time and were still being written when time was up, and words that came after the end."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from activities.errors import FailureInterceptor
from models.messages.approvals import DecisionInput, DecisionOutcome
from taskforce.core.domain.approvals.approval import ApprovalStatus, Verdict, workflow_id
from taskforce.core.domain.approvals.submissions import SubmittedDecision
from taskforce.core.domain.audit.events import AuditFilter
from taskforce.core.domain.paging import Page
from taskforce.infrastructure.composition import use_cases
from taskforce.infrastructure.persistence.database import Database
from tests.fixtures.missions import HELD, RELEASED, Missions
from tests.fixtures.stack import PROOF_KEY
from worker import WorkerParts, build_activities, build_worker
from workflows.approval import ApprovalWorkflow
from workflows.client.client import WorkflowClient

WRITING, EXPIRED = "record_decision", "the timer has fired"


async def happens(client: Client, name: str, what: str) -> None:
    """Waits until something is history: that an activity is to be done, or that time is up."""
    async with asyncio.timeout(60):
        while True:
            events = (await client.get_workflow_handle(name).fetch_history()).events
            scheduled = {event.activity_task_scheduled_event_attributes.activity_type.name for event in events}
            fired = any(event.HasField("timer_fired_event_attributes") for event in events)
            if (what == EXPIRED and fired) or what in scheduled:
                return
            await asyncio.sleep(0.05)


async def is_open(handle: WorkflowHandle[Any, Any]) -> None:
    async with asyncio.timeout(60):
        while (await handle.query(ApprovalWorkflow.state)).status != "pending":  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.05)


async def test_it_counts_also_when_other_news_comes_with_the_end_of_the_time(
    temporal: Client, parts: WorkerParts, database: Database, tenant: str
) -> None:
    queue = f"late-{uuid4().hex[:8]}"
    workflow_client = WorkflowClient(temporal, queue, PROOF_KEY)
    missions = Missions(database, workflow_client, tenant)
    only_decides: dict[str, Any] = {"no_remote_activities": True, "max_cached_workflows": 0}
    await missions.person("bob", "admin")
    activities = build_activities(parts, use_cases(parts.foundation), workflow_client)
    async with Worker(temporal, task_queue=queue, activities=activities, interceptors=[FailureInterceptor()]):
        async with database.tenant(tenant) as records:
            async with build_worker(temporal, queue, parts, **only_decides):
                request_id = await missions.ask(expire_seconds=4)
                name = workflow_id(tenant, request_id)
                handle = temporal.get_workflow_handle(name)
                await is_open(handle)
                await records.requests.locked(request_id)
                said = DecisionInput(approver_id="bob", verdict="approve")
                deciding = asyncio.create_task(handle.execute_update("decide", said, result_type=DecisionOutcome))
                await happens(temporal, name, WRITING)
            # While nobody decides, time is up, and somebody else says something.
            await happens(temporal, name, EXPIRED)
            await handle.signal("approve", "nonsense")
        async with build_worker(temporal, queue, parts, **only_decides):
            outcome = await deciding
            closed = await missions.closed(request_id)
    assert (outcome.status, outcome.code) == ("approved", None)
    assert (closed.status, closed.reason) == (ApprovalStatus.APPROVED, "bob")


@pytest.mark.usefixtures("worker")
async def test_a_signal_after_the_end_is_refused_and_audited_while_what_follows_is_still_being_done(
    temporal: Client, missions: Missions
) -> None:
    await missions.person("bob", "admin")
    request_id = await missions.ask(HELD, carries_out=True)
    name = workflow_id(missions.tenant_id, request_id)
    handle = temporal.get_workflow_handle(name)
    await missions.workflow_client.approvals.decide(
        missions.tenant_id, request_id, SubmittedDecision("bob", Verdict.APPROVE)
    )
    await happens(temporal, name, "carry_out_request")
    await handle.signal("approve", {"approver": "carol"})
    await handle.signal("reject", "nonsense")
    RELEASED[request_id].set()
    assert await handle.result() == {"status": "approved"}
    assert await refused(missions) == [("carol", "request_closed", "signal"), ("unknown", "signal_malformed", "signal")]


async def refused(missions: Missions) -> list[tuple[str, str | None, str | None]]:
    """Who was refused what, as the log tells it."""
    async with missions.database.tenant(missions.tenant_id) as records:
        page = await records.audit.page(AuditFilter(action="approval.decide", outcome="denied"), Page(100))
    return sorted((one.actor_id, one.reason, one.channel) for one in page)
