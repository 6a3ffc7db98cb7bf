"""What waits for days, in seconds: the server's time is skipped, everything else is real."""

from datetime import timedelta

import pytest
from temporalio.client import WorkflowHandle

from taskforce.core.domain.approvals.approval import ApprovalStatus, workflow_id
from taskforce.core.domain.approvals.terms import ActionKind, Deciders, TimedAction
from taskforce.core.domain.runs.run import Limits, RunStatus
from taskforce.core.domain.runs.transcript import CallStatus
from tests.fixtures.missions import Missions
from tests.fixtures.scripted_llm import ScriptedLLM, text, tool_calls
from tests.time_skipping.conftest import Skipping
from workflows.run_messages import LATE_MESSAGE

pytestmark = pytest.mark.time_skipping

NINETY_DAYS = timedelta(days=90)
A_SECOND = timedelta(seconds=1)
A_MINUTE = timedelta(minutes=1)
"""What a workflow task may take on a slow machine."""


async def alarm_of(handle: "WorkflowHandle[object, object]") -> tuple[float, bool]:
    """When the first timer of an execution is due, in Unix seconds of the server's time, and whether it fired."""
    due, fired, now = 0.0, False, 0.0
    for event in (await handle.fetch_history()).events:
        if event.HasField("workflow_task_started_event_attributes"):
            now = event.event_time.ToDatetime().timestamp()
        if event.HasField("timer_started_event_attributes"):
            due = now + event.timer_started_event_attributes.start_to_fire_timeout.ToTimedelta().total_seconds()
        fired = fired or event.HasField("timer_fired_event_attributes")
    return due, fired


async def test_an_approval_that_nobody_decides_in_ninety_days_expires_to_the_second(
    missions: Missions, skipping: Skipping, scripted: ScriptedLLM
) -> None:
    patient = missions.under(expire_seconds=int(NINETY_DAYS.total_seconds()))
    scripted.script([tool_calls([("pay", {"amount": 7})]), text("So be it.")])
    run_id = await patient.start()
    request_id = str((await missions.event(run_id, "approval.requested")).data["request_id"])
    await skipping.env.sleep(NINETY_DAYS - timedelta(minutes=5))
    assert (await missions.request(request_id)).status is ApprovalStatus.PENDING
    await skipping.env.sleep(timedelta(minutes=10))
    run = await missions.ended(run_id)

    request = await missions.request(request_id)
    assert request.status is ApprovalStatus.EXPIRED
    assert request.closed_at is not None
    assert request.closed_at >= request.approval.opened_at + NINETY_DAYS
    due, fired = await alarm_of(skipping.env.client.get_workflow_handle(workflow_id(missions.tenant_id, request_id)))
    assert fired
    assert abs(due - request.approval.expires_at.timestamp()) < A_MINUTE.total_seconds()

    [denied] = await missions.observations(run_id)
    assert denied.status is CallStatus.DENIED
    assert "expired" in denied.text
    assert (run.status, run.answer) == (RunStatus.COMPLETED, "So be it.")


DAY = 24 * 3_600
CHAIN = (
    TimedAction(ActionKind.REMIND, 1 * DAY),
    TimedAction(ActionKind.REMIND, 2 * DAY),
    TimedAction(ActionKind.WIDEN, 5 * DAY, Deciders(("operator",))),
    TimedAction(ActionKind.REASSIGN, 10 * DAY, Deciders(people=("erin",))),
)


async def test_an_escalation_over_two_weeks_does_each_thing_when_it_is_due(
    missions: Missions, skipping: Skipping, scripted: ScriptedLLM
) -> None:
    scripted.script([tool_calls([("pay", {"amount": 7})]), text("So be it.")])
    run_id = await missions.under(actions=CHAIN, expire_seconds=14 * DAY).start()
    request_id = str((await missions.event(run_id, "approval.requested")).data["request_id"])
    opened = (await missions.request(request_id)).approval.opened_at
    await skipping.env.sleep(timedelta(days=10, hours=1))
    await missions.event(run_id, "approval.escalated", 2)
    assert (await missions.request(request_id)).approval.who == Deciders(people=("erin",))
    await skipping.env.sleep(timedelta(days=4))
    await missions.ended(run_id)
    async with missions.database.tenant(missions.tenant_id) as records:
        happened = [(one.kind, one.at - opened) for one in await records.requests.history(request_id)]
    assert happened[:-1] == [
        ("created", timedelta()),
        ("reminded", timedelta(days=1)),
        ("reminded", timedelta(days=2)),
        ("widened", timedelta(days=5)),
        ("reassigned", timedelta(days=10)),
    ]
    (end, after) = happened[-1]
    assert end == "expired"
    assert timedelta(days=14) <= after < timedelta(days=14, minutes=5)


async def test_sixty_days_of_pause_do_not_count_as_work(
    missions: Missions, skipping: Skipping, scripted: ScriptedLLM
) -> None:
    scripted.script([tool_calls([("todo_write", {"items": []})]), text("Rested.")])
    run_id = await missions.accepted(limits=Limits(max_seconds=600))
    await missions.workflow_client.runs.start(await missions.spec(run_id))
    await missions.workflow_client.runs.signal(missions.tenant_id, run_id, "pause")
    await missions.event(run_id, "run.paused")
    await skipping.env.sleep(timedelta(days=60))
    await missions.workflow_client.runs.signal(missions.tenant_id, run_id, "resume")
    run = await missions.ended(run_id)
    assert (run.status, run.stop_reason, run.answer) == (RunStatus.COMPLETED, None, "Rested.")


async def test_a_question_that_nobody_answers_is_given_up_after_three_days_and_the_model_is_told(
    missions: Missions, skipping: Skipping, scripted: ScriptedLLM
) -> None:
    scripted.script([tool_calls([("ask_user", {"question": "Which colour?"})]), text("I chose blue.")])
    run_id = await missions.start(limits=Limits(max_seconds=600))
    await missions.event(run_id, "run.waiting")
    await skipping.env.sleep(timedelta(hours=71))
    assert (await missions.run(run_id)).status is RunStatus.WAITING
    await skipping.env.sleep(timedelta(hours=2))
    run = await missions.ended(run_id)
    [unanswered] = await missions.observations(run_id)
    assert unanswered.status is CallStatus.FAILED
    assert unanswered.text == "The tool failed: Nobody has answered."
    assert (run.status, run.answer) == (RunStatus.COMPLETED, "I chose blue.")


async def test_a_message_of_which_a_run_is_never_told_is_heard_before_it_ends(
    missions: Missions, skipping: Skipping, scripted: ScriptedLLM
) -> None:
    scripted.script([text("Done."), text("Found.")])
    run_id = await missions.accepted()
    await missions.word(run_id, "Lost.")
    await missions.workflow_client.runs.start(await missions.spec(run_id))
    await missions.event(run_id, "step.replied")
    assert not (await missions.run(run_id)).status.is_final
    await skipping.env.sleep(LATE_MESSAGE + A_SECOND)
    run = await missions.ended(run_id)
    assert (run.status, run.answer) == (RunStatus.COMPLETED, "Found.")
