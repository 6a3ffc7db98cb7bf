"""Whoever cancels has cancelled, at whatever moment: no model call, tool or decision begins after it."""

import asyncio
import json
import random
from dataclasses import replace
from uuid import uuid4

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from taskforce.core.domain.approvals.approval import ApprovalStatus
from taskforce.core.domain.approvals.approval import workflow_id as approval_id
from taskforce.core.domain.audit.events import AuditFilter, AuditRecord
from taskforce.core.domain.paging import Page
from taskforce.core.domain.runs.run import Limits, Run, RunStatus, workflow_id
from taskforce.core.domain.runs.transcript import CallStatus
from tests.fixtures.missions import Missions, now
from tests.fixtures.probe_tools import EFFECTS, TRANSFERS
from tests.fixtures.scripted_llm import Body, Reply, ScriptedLLM, held, status, text, tool_calls
from tests.workflows.approvals import asked, yes

pytestmark = pytest.mark.usefixtures("worker")

RUNS = 40
STEPS = 4
THOUGHT = 0.4
"""Seconds that a reply of the model takes at most."""
LATEST = 1.5
"""Seconds after which the last of the runs is cancelled: longer than what each of them would take."""


async def until_requested(temporal: Client, missions: Missions, run_id: str, kind: "EventType.ValueType") -> None:
    """Waits until the workflow has worked on its cancellation, so that what it waits for is asked to stop."""
    handle = temporal.get_workflow_handle(workflow_id(missions.tenant_id, run_id))
    async with asyncio.timeout(60):
        while True:
            history = await handle.fetch_history()
            if any(event.event_type == kind for event in history.events):
                return
            await asyncio.sleep(0.02)


async def until_halted(temporal: Client, missions: Missions, run_id: str) -> None:
    """Waits until the workflow has met the mark of its cancellation in the row; it must not end before."""
    handle = temporal.get_workflow_handle(workflow_id(missions.tenant_id, run_id))
    async with asyncio.timeout(60):
        while "run_cancelled" not in (await handle.fetch_history()).to_json():
            assert not (await missions.run(run_id)).status.is_final
            await asyncio.sleep(0.1)


async def audited(missions: Missions, run_id: str, action: str) -> list[AuditRecord]:
    async with missions.database.tenant(missions.tenant_id) as records:
        found = await records.audit.page(AuditFilter(action=action), Page(limit=100))
    return [one for one in found if one.details and one.details.get("run_id") == run_id]


async def test_a_model_that_replies_in_the_moment_of_the_cancellation_is_not_asked_again(
    missions: Missions, scripted: ScriptedLLM, temporal: Client
) -> None:
    scripted.requests.clear()
    replied = asyncio.Event()
    scripted.script([held(tool_calls([("echo", {"text": "one"})]), replied), text("Done.")])
    run_id = await missions.start()
    await scripted.until(lambda server: len(server.requests) == 1)
    await missions.workflow_client.runs.cancel(missions.tenant_id, run_id)
    await until_requested(temporal, missions, run_id, EventType.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED)
    replied.set()
    assert (await missions.ended(run_id)).status is RunStatus.CANCELLED
    assert len(scripted.requests) == 1
    assert await missions.observations(run_id) == []


async def test_a_paused_run_is_cancelled_though_its_model_replied_in_that_moment(
    missions: Missions, scripted: ScriptedLLM, temporal: Client
) -> None:
    scripted.requests.clear()
    replied = asyncio.Event()
    scripted.script([held(tool_calls([("echo", {"text": "one"})]), replied), text("Done.")])
    run_id = await missions.start()
    await scripted.until(lambda server: len(server.requests) == 1)
    await missions.workflow_client.runs.signal(missions.tenant_id, run_id, "pause")
    await missions.workflow_client.runs.cancel(missions.tenant_id, run_id)
    await until_requested(temporal, missions, run_id, EventType.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED)
    replied.set()
    assert (await missions.ended(run_id)).status is RunStatus.CANCELLED
    assert await missions.observations(run_id) == []


async def test_a_model_call_that_fails_in_the_moment_of_the_cancellation_is_not_tried_again(
    missions: Missions, scripted: ScriptedLLM, temporal: Client
) -> None:
    scripted.requests.clear()
    failed = asyncio.Event()
    scripted.script([held(status(503), failed), text("Done.")])
    run_id = await missions.start()
    await scripted.until(lambda server: len(server.requests) == 1)
    await missions.workflow_client.runs.cancel(missions.tenant_id, run_id)
    await until_requested(temporal, missions, run_id, EventType.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED)
    failed.set()
    assert (await missions.ended(run_id)).status is RunStatus.CANCELLED
    assert [one.type for one in await missions.events(run_id) if one.type == "model.retrying"] == []


async def test_a_tool_that_is_cancelled_while_it_has_its_effect_leaves_a_trace(
    missions: Missions, scripted: ScriptedLLM
) -> None:
    name = str(uuid4())
    scripted.script([tool_calls([("transfer", {"name": name})]), text("Done.")])
    run_id = await missions.start()
    key = f"{run_id}/1/1"
    async with asyncio.timeout(60):
        while not EFFECTS[key]:  # noqa: ASYNC110 - the tool tells nobody
            await asyncio.sleep(0.02)
    await missions.workflow_client.runs.cancel(missions.tenant_id, run_id)
    run = await missions.ended(run_id)
    [observation] = await missions.observations(run_id)
    assert (run.status, run.totals.tool_calls) == (RunStatus.CANCELLED, 1)
    assert observation.status is CallStatus.UNKNOWN
    assert key in observation.text
    [begun], [outcome] = await audited(missions, run_id, "tool.begin"), await audited(missions, run_id, "tool.call")
    assert (begun.on_behalf_of, outcome.details and outcome.details["status"]) == ("alice", "unknown")
    assert EFFECTS[key] == 1


async def test_a_tool_that_ends_in_the_moment_of_the_cancellation_is_the_last(
    missions: Missions, scripted: ScriptedLLM, temporal: Client
) -> None:
    scripted.requests.clear()
    name = str(uuid4())
    scripted.script([tool_calls([("transfer", {"name": name})]), text("Done.")])
    run_id = await missions.start()
    async with asyncio.timeout(60):
        while not EFFECTS[f"{run_id}/1/1"]:  # noqa: ASYNC110 - the tool tells nobody
            await asyncio.sleep(0.02)
    await missions.workflow_client.runs.cancel(missions.tenant_id, run_id)
    await until_requested(temporal, missions, run_id, EventType.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED)
    TRANSFERS[name].set()
    assert (await missions.ended(run_id)).status is RunStatus.CANCELLED
    assert len(scripted.requests) == 1
    # It told its outcome before it was stopped, or was stopped before it could; in both cases there is one.
    [observation] = await missions.observations(run_id)
    assert observation.status in {CallStatus.SUCCEEDED, CallStatus.UNKNOWN}


async def test_what_was_approved_in_the_moment_of_the_cancellation_is_not_done(
    missions: Missions, scripted: ScriptedLLM
) -> None:
    run_id, request_id = await asked(missions, scripted)
    await missions.person("bob", "admin")
    outcome, _ = await asyncio.gather(
        missions.workflow_client.approvals.decide(missions.tenant_id, request_id, yes()),
        missions.workflow_client.runs.cancel(missions.tenant_id, run_id),
        return_exceptions=True,
    )
    del outcome
    run, request = await missions.ended(run_id), await missions.closed(request_id)
    assert run.status is RunStatus.CANCELLED
    assert request.status.value in {"approved", "withdrawn"}
    assert EFFECTS[f"{run_id}/1/1"] == 0


async def test_cancelled_at_any_moment_a_run_ends_cancelled(missions: Missions, scripted: ScriptedLLM) -> None:
    # Slow and quick by turns, so that cancellations meet regular and local activities.
    def call(step: int) -> Reply:
        return tool_calls([("echo" if step % 2 else "echo_slowly", {"text": str(step)})])

    def reply(body: Body) -> Reply:
        step = json.dumps(body).count('"tool_call_id"')
        return call(step) if step < STEPS else text("Done.")

    scripted.reply = reply
    moments = random.Random(7)

    async def cancelled(moment: float) -> Run:
        run_id = await missions.start()
        await asyncio.sleep(moment)
        await missions.workflow_client.runs.cancel(missions.tenant_id, run_id)
        return await missions.ended(run_id)

    runs = await asyncio.gather(*[cancelled(moments.random() * LATEST) for _ in range(RUNS)])
    # A run may have ended before it was cancelled; whoever was in time has cancelled.
    assert {run.status for run in runs} <= {RunStatus.CANCELLED, RunStatus.COMPLETED}
    late = [run for run in runs if run.status is RunStatus.COMPLETED]
    assert all(run.answer == "Done." and run.totals.steps == STEPS + 1 for run in late)
    assert len(late) < len(runs)


async def test_a_run_whose_row_alone_is_marked_begins_nothing_and_waits_for_the_request(
    missions: Missions, scripted: ScriptedLLM
) -> None:
    scripted.requests.clear()
    replied = asyncio.Event()
    scripted.script([held(tool_calls([("echo_slowly", {"text": "one"})]), replied), text("Done.")])
    run_id = await missions.start()
    await scripted.until(lambda server: len(server.requests) == 1)
    async with missions.database.tenant(missions.tenant_id) as records:
        await records.runs.cancel(run_id, now())
    replied.set()
    await missions.event(run_id, "step.replied")
    await missions.workflow_client.runs.cancel(missions.tenant_id, run_id)
    assert (await missions.ended(run_id)).status is RunStatus.CANCELLED
    assert len(scripted.requests) == 1
    assert await missions.observations(run_id) == []


async def test_a_run_whose_row_alone_is_marked_is_not_completed_by_the_reply_that_was_under_way(
    missions: Missions, scripted: ScriptedLLM, temporal: Client
) -> None:
    replied = asyncio.Event()
    scripted.script([held(text("Done."), replied)])
    run_id = await missions.start()
    await missions.event(run_id, "run.started")
    async with missions.database.tenant(missions.tenant_id) as records:
        await records.runs.cancel(run_id, now())
    replied.set()
    # The request comes later than a message whose signal the run waits for.
    await until_halted(temporal, missions, run_id)
    await missions.workflow_client.runs.cancel(missions.tenant_id, run_id)
    assert (await missions.ended(run_id)).status is RunStatus.CANCELLED


async def marked(missions: Missions, run_id: str) -> None:
    """Promises that a run is cancelled; the request to its workflow is still under way."""
    async with missions.database.tenant(missions.tenant_id) as records:
        await records.runs.cancel(run_id, now())


async def test_a_decision_that_comes_before_the_request_reaches_the_workflow_is_refused(
    missions: Missions, scripted: ScriptedLLM, temporal: Client
) -> None:
    run_id, request_id = await asked(missions.under(signal_channel=True), scripted)
    await missions.person("bob", "admin")
    await marked(missions, run_id)
    approval = temporal.get_workflow_handle(approval_id(missions.tenant_id, request_id))
    await approval.signal("approve", {"approver": "bob"})
    async with asyncio.timeout(60):
        while not (refused := [one.reason for one in await decided(missions, request_id)]):  # noqa: ASYNC110 - a row
            await asyncio.sleep(0.02)
    outcome = await missions.workflow_client.approvals.decide(missions.tenant_id, request_id, yes())
    assert (refused, outcome.code) == (["run_cancelled"], "run_cancelled")
    await missions.workflow_client.runs.cancel(missions.tenant_id, run_id)
    run, request = await missions.ended(run_id), await missions.closed(request_id)
    assert (run.status, request.status, request.approval.decisions) == (
        RunStatus.CANCELLED,
        ApprovalStatus.WITHDRAWN,
        (),
    )


async def test_an_approver_is_answered_what_becomes_of_the_request_also_where_its_run_is_cancelled_meanwhile(
    missions: Missions, scripted: ScriptedLLM
) -> None:
    await missions.person("bob", "admin")

    async def cancelled(run_id: str, moment: float) -> None:
        await asyncio.sleep(moment)
        await missions.workflow_client.runs.cancel(missions.tenant_id, run_id)

    for moment in (0, 0.02, 0.04, 0.06, 0.1):
        run_id, request_id = await asked(missions, scripted)
        answer, _ = await asyncio.gather(
            missions.workflow_client.approvals.decide(missions.tenant_id, request_id, yes()), cancelled(run_id, moment)
        )
        assert (await missions.ended(run_id)).status is RunStatus.CANCELLED
        status = (await missions.closed(request_id)).status
        assert (answer.code or answer.status) == ("approved" if status is ApprovalStatus.APPROVED else "request_closed")


async def decided(missions: Missions, request_id: str) -> list[AuditRecord]:
    async with missions.database.tenant(missions.tenant_id) as records:
        found = await records.audit.page(AuditFilter(action="approval.decide"), Page(limit=100))
    return [one for one in found if one.resource_id == request_id]


@pytest.mark.parametrize(
    ("limits", "last"),
    [
        # The closing turn.
        (Limits(max_steps=1), text("As far as I got.")),
        # The step that uses up the tokens; no tool meets the mark.
        (Limits(max_tokens=30), tool_calls([("no_such_tool", {})])),
    ],
    ids=["steps", "tokens"],
)
async def test_a_run_at_its_limit_whose_row_alone_is_marked_ends_cancelled(
    missions: Missions, scripted: ScriptedLLM, temporal: Client, *, limits: Limits, last: Reply
) -> None:
    replied = asyncio.Event()
    scripted.requests.clear()
    scripted.script([tool_calls([("echo", {"text": "one"})]), held(last, replied)])
    run_id = await missions.start(limits=limits)
    await scripted.until(lambda server: len(server.requests) == 2)
    await marked(missions, run_id)
    replied.set()
    run = await missions.ended(run_id)
    assert (run.status, run.stop_reason, run.answer) == (RunStatus.CANCELLED, None, None)
    # The workflow learns from the row how it has ended.
    assert await temporal.get_workflow_handle(workflow_id(missions.tenant_id, run_id)).result() == "cancelled"


async def test_a_run_to_be_cancelled_whose_owner_was_deactivated_ends_cancelled(
    missions: Missions, scripted: ScriptedLLM
) -> None:
    replied = asyncio.Event()
    scripted.requests.clear()
    scripted.script([held(tool_calls([("echo_slowly", {"text": "one"})]), replied), text("Done.")])
    run_id = await missions.start()
    await scripted.until(lambda server: len(server.requests) == 1)
    async with missions.database.tenant(missions.tenant_id) as records:
        alice = await records.users.locked("alice")
        assert alice is not None
        await records.users.save(replace(alice, active=False), now())
    await marked(missions, run_id)
    replied.set()
    run = await missions.ended(run_id)
    assert (run.status, run.error_code) == (RunStatus.CANCELLED, None)
    assert len(scripted.requests) == 1
