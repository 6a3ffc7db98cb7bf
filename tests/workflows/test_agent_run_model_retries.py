"""A model call that fails: what may pass is tried again, where people see it, and not for ever."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest
from temporalio.client import Client

from taskforce.core.domain.runs.run import RunStatus
from tests.fixtures.missions import Missions
from tests.fixtures.scripted_llm import Reply, ScriptedLLM, hang, status, text, tool_calls
from worker import WorkerParts, build_worker
from workflows.client.client import WorkflowClient


@pytest.mark.usefixtures("worker")
async def test_a_run_says_what_it_waits_for_and_when_it_tries_again(missions: Missions, scripted: ScriptedLLM) -> None:
    scripted.reply = lambda _: status(429, {"retry-after": "300"})
    run_id = await missions.start()
    told = await missions.event(run_id, "model.retrying")
    run = await missions.run(run_id)
    assert run.retry is not None
    assert (run.status, run.waiting_for, run.retry.attempt) == (RunStatus.RUNNING, "the model", 2)
    assert run.retry.code == "model_rate_limited"
    assert "limits our rate" in run.retry.message
    assert (run.retry.at - told.at).total_seconds() > 200
    assert told.data == {
        "attempt": 2,
        "next_at": run.retry.at.isoformat(),
        "code": run.retry.code,
        "message": run.retry.message,
    }
    progress = await missions.workflow_client.runs.progress(missions.tenant_id, run_id)
    assert progress.retry is not None
    assert (progress.waiting_for, progress.retry.attempt, progress.retry.at) == ("the model", 2, run.retry.at)
    await missions.workflow_client.runs.cancel(missions.tenant_id, run_id)
    run = await missions.ended(run_id)
    assert (run.status, run.retry, run.waiting_for) == (RunStatus.CANCELLED, None, None)


@pytest.mark.usefixtures("worker")
async def test_once_the_model_replies_the_run_waits_no_more(missions: Missions, scripted: ScriptedLLM) -> None:
    scripted.script([status(500), status(503), tool_calls([("ask_user", {"question": "Well?"})]), text("Good.")])
    run_id = await missions.start()
    await missions.event(run_id, "question.asked")
    run = await missions.run(run_id)
    assert (run.retry, run.waiting_for) == (None, "an answer from a person")
    failed = [event.data["attempt"] for event in await missions.events(run_id) if event.type == "model.failed"]
    tried = [event.data["attempt"] for event in await missions.events(run_id) if event.type == "model.retrying"]
    assert (failed, tried) == ([1, 2], [2, 3])
    await missions.say(run_id, "Yes.")
    assert (await missions.ended(run_id)).answer == "Good."


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("patience", "reply"),
    [(0, status(503)), (60, status(429, {"retry-after": "3600"}))],
    ids=["no patience", "asked to wait for longer"],
)
async def test_a_run_whose_patience_is_over_fails_with_what_was_the_matter(
    missions: Missions, scripted: ScriptedLLM, patience: int, reply: Reply
) -> None:
    scripted.requests.clear()
    scripted.reply = lambda _: reply
    run = await missions.within(model_patience_seconds=patience).finish()
    assert (run.status, len(scripted.requests)) == (RunStatus.FAILED, 1)
    assert run.error_code in {"model_unavailable", "model_rate_limited"}
    assert str(run.error_message).endswith("(tried once)")


PATIENCE = 5
"""Seconds; less than the time for which no worker lives here."""


@pytest.fixture
def queue() -> str:
    return f"retries-{uuid4()}"


@pytest.fixture
def of_queue(temporal: Client, parts: WorkerParts, tenant: str, queue: str) -> Missions:
    """Missions of a task queue of the test's own, with workers that come and go."""
    return Missions(parts.database, WorkflowClient(temporal, queue), tenant)


async def test_patience_is_not_for_time_in_which_no_worker_lived(
    of_queue: Missions, queue: str, temporal: Client, parts: WorkerParts, scripted: ScriptedLLM
) -> None:
    missions = of_queue.within(model_patience_seconds=PATIENCE)
    scripted.script([status(503, {"retry-after": "2"}), status(503), text("Back again.")])
    async with build_worker(temporal, queue, parts):
        run_id = await missions.start()
        failed = await missions.event(run_id, "model.retrying")
    async with asyncio.timeout(60):
        while (parts.clock() - failed.at).total_seconds() < 2 * PATIENCE:  # noqa: ASYNC110 - time passes by itself
            await asyncio.sleep(0.1)
    async with build_worker(temporal, queue, parts):
        run = await missions.ended(run_id)
    assert (run.status, run.answer) == (RunStatus.COMPLETED, "Back again.")


async def test_a_worker_that_stops_is_no_failure_of_the_model(
    of_queue: Missions, queue: str, temporal: Client, parts: WorkerParts, scripted: ScriptedLLM
) -> None:
    missions = of_queue.within(model_patience_seconds=0)
    scripted.requests.clear()
    scripted.script([hang("Well, "), text("As I said.")])
    async with build_worker(temporal, queue, parts, graceful_shutdown_timeout=timedelta()):
        run_id = await missions.start()
        await scripted.until(lambda llm: len(llm.requests) == 1)
    async with build_worker(temporal, queue, parts):
        run = await missions.ended(run_id)
    assert (run.status, run.answer) == (RunStatus.COMPLETED, "As I said.")
