"""The ReAct loop, on a real Temporal, a real PostgreSQL and, through LiteLLM, a scripted model server."""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowHandle

from models.messages.runs import RunInput, RunPlan
from taskforce.core.domain.runs.run import Limits, RunStatus, StopReason, workflow_id
from taskforce.core.domain.runs.transcript import CallStatus
from taskforce.infrastructure.config.settings import driver_arguments
from tests.fixtures.isolated_sweeps import Alone, sweeps
from tests.fixtures.missions import Missions, now
from tests.fixtures.scripted_llm import Reply, ScriptedLLM, broken_json, empty, hang, status, text, tool_calls
from tests.fixtures.stack import DatabaseUrls
from worker import WorkerParts

pytestmark = pytest.mark.usefixtures("worker")


async def test_an_answer_without_tools_completes_the_run(missions: Missions, scripted: ScriptedLLM) -> None:
    scripted.script([text("It is ", "42.")])
    run = await missions.finish("What is it?")
    assert (run.status, run.answer) == (RunStatus.COMPLETED, "It is 42.")
    assert (run.totals.steps, run.totals.input_tokens, run.totals.output_tokens) == (1, 20, 5)


@pytest.mark.parametrize(
    ("limits", "status"), [(Limits(), RunStatus.COMPLETED), (Limits(max_steps=1), RunStatus.INCOMPLETE)]
)
async def test_the_history_of_a_run_ends_with_what_it_has_used(
    missions: Missions, scripted: ScriptedLLM, temporal: Client, limits: Limits, status: RunStatus
) -> None:
    scripted.script([tool_calls([("echo", {"text": "x"})]), text("Done.")])
    run = await missions.finish(limits=limits)
    assert run.status is status
    handle = temporal.get_workflow_handle(workflow_id(missions.tenant_id, run.spec.run_id))
    await handle.result()
    markers = [event.marker_recorded_event_attributes for event in (await handle.fetch_history()).events]
    (used,) = [
        json.loads(marker.details["result"].payloads[0].data)
        for marker in markers
        if b"record_usage" in marker.SerializeToString() and marker.marker_name == "core_local_activity"
    ]
    totals = run.totals
    assert (used["steps"], used["tool_calls"]) == (totals.steps, totals.tool_calls)
    assert (used["input_tokens"], used["output_tokens"]) == (totals.input_tokens, totals.output_tokens)


async def test_several_tools_run_in_one_step_and_the_model_sees_each_result(
    missions: Missions, scripted: ScriptedLLM
) -> None:
    calls = [("echo", {"text": "one"}), ("echo_slowly", {"text": "two"}), ("calculator", {"expression": "6*7"})]
    scripted.requests.clear()
    scripted.script([tool_calls(calls, says="Let me see."), text("Done.")])
    run = await missions.finish()
    assert [entry.text for entry in await missions.observations(run.spec.run_id)] == ["one", "two", "42"]
    shown = scripted.requests[-1]["messages"]
    assert isinstance(shown, list)
    assert [message["content"] for message in shown if message["role"] == "tool"] == ["one", "two", "42"]
    assert run.totals.tool_calls == 3


async def test_the_plan_that_the_agent_writes_is_kept_by_the_workflow(
    missions: Missions, scripted: ScriptedLLM
) -> None:
    plan = {"items": [{"text": "count", "status": "done"}, {"text": "tell", "status": "pending"}]}
    scripted.script([tool_calls([("todo_write", plan)]), text("Done.")])
    run = await missions.finish()
    progress = await missions.workflow_client.runs.progress(missions.tenant_id, run.spec.run_id)
    assert progress.todo == (("count", "done"), ("tell", "pending"))


@pytest.mark.parametrize(
    ("call", "says", "outcome"),
    [
        (("no_such_tool", "{}"), "There is no tool named 'no_such_tool'", CallStatus.REFUSED),
        (("echo", '{"text": 3}'), "The arguments do not fit: ", CallStatus.REFUSED),
        (("echo", '{"text": '), "The arguments are not valid JSON", CallStatus.REFUSED),
        (("echo", "[]"), "The arguments must be one JSON object", CallStatus.REFUSED),
        (("stumble", '{"text": "ouch"}'), "The tool failed: RuntimeError: ouch", CallStatus.FAILED),
        (("dawdle", "{}"), "The tool", CallStatus.FAILED),
    ],
)
async def test_what_goes_wrong_with_a_tool_is_told_to_the_model(
    missions: Missions, scripted: ScriptedLLM, call: tuple[str, str], says: str, outcome: CallStatus
) -> None:
    scripted.script([tool_calls([call]), text("I see.")])
    run = await missions.finish()
    [observation] = await missions.observations(run.spec.run_id)
    assert observation.text.startswith(says)
    assert observation.status is outcome
    assert run.answer == "I see."


async def test_a_large_result_is_stored_whole_and_shown_cut_with_a_reference(
    missions: Missions, scripted: ScriptedLLM
) -> None:
    reads = ("read_result", {"step": 1, "call": 1, "offset": 2_999_990})
    scripted.script([tool_calls([("recite", {"size": 3_000_000})]), tool_calls([reads]), text("Read.")])
    run = await missions.finish()
    shown, part = await missions.observations(run.spec.run_id)
    assert shown.whole_size == 3_000_000
    assert len(shown.text) < 9_000
    assert "read_result(step=1, call=1" in shown.text
    assert "0123456789" in part.text


async def test_the_limit_of_steps_ends_with_a_best_answer(missions: Missions, scripted: ScriptedLLM) -> None:
    scripted.requests.clear()
    scripted.script([tool_calls([("echo", {"text": "a"})])] * 2 + [text("As far as I got.")])
    run = await missions.finish(limits=Limits(max_steps=2))
    assert (run.status, run.stop_reason) == (RunStatus.INCOMPLETE, StopReason.MAX_STEPS)
    assert run.answer == "As far as I got."
    assert "tools" not in scripted.requests[-1]


async def test_the_limit_of_tokens_ends_the_run_with_its_last_thought(
    missions: Missions, scripted: ScriptedLLM
) -> None:
    scripted.script([tool_calls([("echo", {"text": "a"})], says="Thinking.")])
    run = await missions.finish(limits=Limits(max_tokens=25))
    assert (run.status, run.stop_reason, run.answer) == (RunStatus.INCOMPLETE, StopReason.MAX_TOKENS, "Thinking.")


async def test_an_outage_of_the_provider_is_retried(missions: Missions, scripted: ScriptedLLM) -> None:
    scripted.requests.clear()
    scripted.script([status(500), status(429, {"retry-after": "1"}), text("Back again.")])
    run = await missions.finish()
    assert run.answer == "Back again."
    failed = [event.data["code"] for event in await missions.events(run.spec.run_id) if event.type == "model.failed"]
    assert len(failed) == 2
    assert len(scripted.requests) == 3


@pytest.mark.parametrize("code", [400, 401])
async def test_a_refusal_of_the_provider_fails_the_run_at_once(
    missions: Missions, scripted: ScriptedLLM, code: int
) -> None:
    scripted.requests.clear()
    scripted.reply = lambda _: status(code)
    run = await missions.finish()
    assert run.status is RunStatus.FAILED
    assert run.error_code == {400: "model_request_invalid", 401: "model_key_invalid"}[code]
    assert len(scripted.requests) == 1


async def test_an_empty_reply_is_asked_for_once_more_then_the_run_fails(
    missions: Missions, scripted: ScriptedLLM
) -> None:
    scripted.requests.clear()
    scripted.script([empty(), empty()])
    run = await missions.finish()
    assert (run.status, run.error_code) == (RunStatus.FAILED, "model_reply_invalid")
    assert len(scripted.requests) == 2
    assert run.totals.wasted_tokens == run.totals.input_tokens + run.totals.output_tokens == 50


async def test_a_paused_run_waits_and_a_word_is_heard_before_it_goes_on(
    missions: Missions, scripted: ScriptedLLM
) -> None:
    scripted.script([tool_calls([("echo", {"text": "a"})]), text("Heard.")])
    run_id = await missions.accepted()
    spec = await missions.spec(run_id)
    await missions.workflow_client.runs.start(spec)
    await missions.workflow_client.runs.signal(missions.tenant_id, run_id, "pause")
    await missions.event(run_id, "run.paused")
    await missions.say(run_id, "Mind the gap.")
    await missions.workflow_client.runs.signal(missions.tenant_id, run_id, "resume")
    run = await missions.ended(run_id)
    assert run.answer == "Heard."
    assert "Mind the gap." in json.dumps(scripted.requests[-1]["messages"])


async def test_a_tool_that_asks_the_user_waits_for_the_answer(missions: Missions, scripted: ScriptedLLM) -> None:
    scripted.script([tool_calls([("ask_user", {"question": "Which colour?"})]), text("Blue it is.")])
    run_id = await missions.start()
    waiting = await missions.event(run_id, "run.waiting")
    assert waiting.data["waiting_for"] == "an answer from a person"
    await missions.say(run_id, "Blue.")
    run = await missions.ended(run_id)
    [answer] = await missions.observations(run_id)
    assert answer.text == "Blue."
    assert run.answer == "Blue it is."


async def test_a_cancelled_run_ends_and_its_model_call_with_it(missions: Missions, scripted: ScriptedLLM) -> None:
    hangups = scripted.hangups
    scripted.requests.clear()
    scripted.script([hang("Thinking")])
    run_id = await missions.start()
    await scripted.until(lambda server: len(server.requests) > 0)
    await missions.workflow_client.runs.cancel(missions.tenant_id, run_id)
    run = await missions.ended(run_id)
    assert run.status is RunStatus.CANCELLED
    await scripted.until(lambda server: server.hangups > hangups)


async def test_a_long_run_continues_as_new_and_keeps_its_plan(missions: Missions, scripted: ScriptedLLM) -> None:
    plan = {"items": [{"text": "go on", "status": "in_progress"}]}
    steps = [tool_calls([("echo", {"text": str(number)})]) for number in range(40)]
    scripted.script([tool_calls([("todo_write", plan)]), *steps, text("There.")])
    run = await missions.finish(limits=Limits(max_steps=60))
    assert (run.status, run.totals.steps, run.totals.tool_calls) == (RunStatus.COMPLETED, 42, 41)
    progress = await missions.workflow_client.runs.progress(missions.tenant_id, run.spec.run_id)
    assert progress.todo == (("go on", "in_progress"),)


async def test_starting_a_run_twice_starts_one(missions: Missions, scripted: ScriptedLLM) -> None:
    scripted.script([text("Once.")])
    run_id = await missions.start()
    await missions.workflow_client.runs.start(await missions.spec(run_id))
    run = await missions.ended(run_id)
    await missions.workflow_client.runs.start(await missions.spec(run_id))
    assert run.answer == "Once."
    assert [event.type for event in await missions.events(run_id)].count("run.started") == 1


async def test_a_run_that_an_operator_terminates_ends_as_failed(
    missions: Missions, scripted: ScriptedLLM, temporal: Client, worker: WorkerParts
) -> None:
    scripted.reply = lambda _: hang("Thinking")
    run_id = await missions.start()
    await missions.event(run_id, "run.started")
    async with sweeps(Alone(missions.database, missions.tenant_id), missions.workflow_client, worker.live):
        await temporal.get_workflow_handle(workflow_id(missions.tenant_id, run_id)).terminate("enough")
        run = await missions.ended(run_id)
    assert (run.status, run.error_code) == (RunStatus.FAILED, "run_terminated")


async def test_a_run_that_was_committed_but_never_started_is_started_by_the_sweeper(
    missions: Missions, scripted: ScriptedLLM, worker: WorkerParts
) -> None:
    scripted.reply = lambda _: text("Late, but here.")
    run_id = await missions.accepted()
    mine = Alone(missions.database, missions.tenant_id)
    async with sweeps(mine, missions.workflow_client, worker.live, clock=lambda: now() + timedelta(minutes=1)):
        run = await missions.ended(run_id)
    assert run.answer == "Late, but here."


async def test_a_word_of_which_the_run_is_told_late_is_heard_before_it_ends(
    missions: Missions, scripted: ScriptedLLM
) -> None:
    scripted.script([text("Done."), text("Both done.")])
    run_id = await missions.accepted()
    word_id = await missions.word(run_id, "Both?")
    await missions.workflow_client.runs.start(await missions.spec(run_id))
    await missions.event(run_id, "step.replied")
    await missions.tell(run_id, word_id)
    assert (await missions.ended(run_id)).answer == "Both done."


async def start_paused(missions: Missions, temporal: Client) -> tuple[str, WorkflowHandle[Any, Any]]:
    """A run whose first task finds it paused."""
    run_id = await missions.accepted()
    spec = await missions.spec(run_id)
    start = RunInput(tenant_id=missions.tenant_id, run_id=run_id, plan=RunPlan.of(spec))
    known = workflow_id(missions.tenant_id, run_id)
    queue = missions.workflow_client.task_queue
    handle = await temporal.start_workflow("AgentRun", start, id=known, task_queue=queue, start_signal="pause")
    await missions.event(run_id, "run.paused")
    return run_id, handle


async def test_a_run_that_is_paused_before_its_first_turn_begins_when_it_goes_on(
    missions: Missions, scripted: ScriptedLLM, temporal: Client
) -> None:
    scripted.script([text("Rested.")])
    run_id, handle = await start_paused(missions, temporal)
    assert (await missions.run(run_id)).started_at is None
    await handle.signal("resume")
    run = await missions.ended(run_id)
    assert (run.status, run.answer, run.started_at is None) == (RunStatus.COMPLETED, "Rested.", False)
    told = [event.type for event in await missions.events(run_id)]
    assert told == ["run.queued", "run.paused", "run.running", "run.started", "step.replied", "run.finished"]


async def test_a_run_that_is_cancelled_before_its_first_turn_has_never_begun(
    missions: Missions, temporal: Client
) -> None:
    run_id, handle = await start_paused(missions, temporal)
    await handle.cancel()
    run = await missions.ended(run_id)
    assert (run.status, run.started_at) == (RunStatus.CANCELLED, None)


async def test_a_run_that_is_reset_after_its_row_was_closed_says_and_pays_nothing_anew(
    missions: Missions, scripted: ScriptedLLM, temporal: Client
) -> None:
    scripted.requests.clear()
    scripted.script([tool_calls([("echo_slowly", {"text": "a"})]), text("Done.")])
    run = await missions.finish()
    before = await missions.events(run.spec.run_id)
    handle = temporal.get_workflow_handle(workflow_id(missions.tenant_id, run.spec.run_id))
    assert await handle.result() == "completed"
    again = ResetWorkflowExecutionRequest(
        namespace=temporal.namespace,
        workflow_execution=WorkflowExecution(workflow_id=handle.id),
        reason="a test",
        request_id=str(uuid4()),
        workflow_task_finish_event_id=4,
    )
    await temporal.workflow_service.reset_workflow_execution(again)
    assert await temporal.get_workflow_handle(handle.id).result() == "completed"
    assert (await missions.run(run.spec.run_id), await missions.events(run.spec.run_id)) == (run, before)
    assert len(scripted.requests) == 2


@pytest.mark.parametrize("rubbish", [(), ("not-an-id",), (7,), ({"text": "hello"},), ("a", "b")])
async def test_a_malformed_word_breaks_nothing(
    missions: Missions, scripted: ScriptedLLM, temporal: Client, rubbish: tuple[object, ...]
) -> None:
    scripted.script([tool_calls([("ask_user", {"question": "Well?"})]), text("Good.")])
    run_id = await missions.start()
    await missions.event(run_id, "run.waiting")
    await temporal.get_workflow_handle(workflow_id(missions.tenant_id, run_id)).signal("add_word", args=list(rubbish))
    await missions.say(run_id, "Yes.")
    run = await missions.ended(run_id)
    assert (run.status, run.answer) == (RunStatus.COMPLETED, "Good.")


async def test_nothing_more_happens_on_behalf_of_a_user_who_was_deactivated(
    missions: Missions, scripted: ScriptedLLM
) -> None:
    scripted.requests.clear()
    scripted.script([tool_calls([("ask_user", {"question": "Well?"})]), text("Good.")])
    run_id = await missions.start()
    await missions.event(run_id, "run.waiting")
    async with missions.database.tenant(missions.tenant_id) as records:
        alice = await records.users.locked("alice")
        assert alice is not None
        await records.users.save(replace(alice, active=False), now())
    await missions.say(run_id, "Yes.")
    run = await missions.ended(run_id)
    assert (run.status, run.error_code) == (RunStatus.FAILED, "user_deactivated")
    assert len(scripted.requests) == 1


async def test_tokens_of_failed_attempts_count_against_the_limit(missions: Missions, scripted: ScriptedLLM) -> None:
    scripted.requests.clear()
    scripted.reply = lambda _: broken_json("Some words that have a price, whatever becomes of them.")
    run = await missions.finish(limits=Limits(max_tokens=10))
    assert (run.status, run.stop_reason) == (RunStatus.INCOMPLETE, StopReason.MAX_TOKENS)
    assert run.totals.wasted_tokens >= 10


async def until_pending(handle: WorkflowHandle[Any, Any]) -> None:
    """Waits until a regular activity of the workflow is under way."""
    async with asyncio.timeout(60):
        while True:
            if (await handle.describe()).raw_description.pending_activities:
                return
            await asyncio.sleep(0.1)


async def until_blocked(blocker: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Waits until somebody waits for the table that is locked."""
    waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'audit_events'::regclass"
    async with asyncio.timeout(60):
        while not await blocker.fetchval(waits):  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("reply", "ends"), [(text("Done."), RunStatus.COMPLETED), (status(401), RunStatus.FAILED)], ids=["reply", "failure"]
)
async def test_a_run_that_is_cancelled_while_it_ends_has_ended_in_its_row_too(
    missions: Missions, scripted: ScriptedLLM, temporal: Client, postgres: DatabaseUrls, reply: Reply, ends: RunStatus
) -> None:
    scripted.script([reply])
    run_id = await missions.accepted()
    handle = temporal.get_workflow_handle(workflow_id(missions.tenant_id, run_id))
    blocker = await asyncpg.connect(**driver_arguments(postgres.admin))
    async with blocker.transaction():
        # The end of a run is audited; what comes before it is not.
        await blocker.execute("LOCK TABLE audit_events IN EXCLUSIVE MODE")
        await missions.workflow_client.runs.start(await missions.spec(run_id))
        await until_blocked(blocker)
        await missions.workflow_client.runs.cancel(missions.tenant_id, run_id)
        # The last turn of the model waits for the table, or what follows the local attempt to end the run.
        await until_pending(handle)
    await blocker.close()
    run = await missions.ended(run_id)
    assert run.status is ends
