"""Ninety days of a request that continues as new on the way: its time goes on where it was."""

from datetime import timedelta
from uuid import uuid4

import pytest
from temporalio.worker import UnsandboxedWorkflowRunner

from taskforce.core.domain.approvals.approval import ApprovalStatus, Verdict, workflow_id
from taskforce.core.domain.approvals.submissions import SubmittedDecision
from taskforce.core.domain.approvals.terms import ActionKind, TimedAction
from taskforce.infrastructure.persistence.database import Database
from tests.fixtures.missions import Missions
from tests.time_skipping.conftest import Skipping
from tests.time_skipping.server_time import SkippedClient
from worker import build_worker
from workflows.approval import ApprovalWorkflow

pytestmark = pytest.mark.time_skipping

DAY = 24 * 3_600
NINETY_DAYS = timedelta(days=90)


def has_just_been_decided(request: ApprovalWorkflow) -> bool:
    """In the place of the length of its history, of which this server does not tell."""
    return request._start.carried is None and bool(request._current().decisions)


async def test_ninety_days_go_on_over_the_parts_of_a_request(
    database: Database, skipping: Skipping, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ApprovalWorkflow, "_is_long", has_just_been_decided)
    queue = f"continued-{uuid4().hex[:8]}"
    missions = Missions(database, SkippedClient(skipping.env.client, queue, skipping.clock), tenant)
    for who in ("bob", "carol"):
        await missions.person(who, "admin")
    runner = UnsandboxedWorkflowRunner()
    async with build_worker(skipping.env.client, queue, skipping.parts, workflow_runner=runner):
        reminds = (TimedAction(ActionKind.REMIND, DAY), TimedAction(ActionKind.REMIND, 80 * DAY))
        opened_at = await skipping.env.get_current_time()
        request_id = await missions.ask(at=opened_at, required_approvers=2, expire_seconds=90 * DAY, actions=reminds)
        first = await run_of(skipping, missions, request_id)
        await skipping.env.sleep(timedelta(days=2))
        said = SubmittedDecision(approver_id="bob", verdict=Verdict.APPROVE)
        assert (await missions.workflow_client.approvals.decide(tenant, request_id, said)).code is None
        await skipping.env.sleep(NINETY_DAYS - timedelta(days=2, minutes=5))
        assert await run_of(skipping, missions, request_id) != first
        principal = await missions.request(request_id)
        assert (principal.status, principal.approval.acted) == (ApprovalStatus.PENDING, 2)
        await skipping.env.sleep(timedelta(minutes=10))
        ended = await missions.closed(request_id)
    assert ended.status is ApprovalStatus.EXPIRED
    assert ended.closed_at is not None
    assert NINETY_DAYS <= ended.closed_at - opened_at < NINETY_DAYS + timedelta(minutes=10)
    assert (await missions.history(request_id)).count("reminded") == 2


async def run_of(skipping: Skipping, missions: Missions, request_id: str) -> str:
    """The execution that stands for a request at the moment."""
    handle = skipping.env.client.get_workflow_handle(workflow_id(missions.tenant_id, request_id))
    return str((await handle.describe()).run_id)
