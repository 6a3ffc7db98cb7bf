"""What counts as the work of a run: what its model and its tools take, and no time in which it waits."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import uuid4

import pytest
from temporalio.client import Client

from activities.tenant_shares import CallLimits
from taskforce.core.domain.runs.run import Limits, RunStatus, StopReason, workflow_id
from taskforce.infrastructure.llm.litellm_model import LiteLLMModel
from tests.fixtures.missions import Missions
from tests.fixtures.probe_tools import DALLY_SECONDS, EFFECTS, TRANSFERS
from tests.fixtures.scripted_llm import ScriptedLLM, hang, held, status, text, tool_calls
from tests.workflows.approvals import asked, yes
from worker import WorkerParts, build_worker
from workflows.client.client import WorkflowClient
from workflows.runtime.activity_calls import MARGIN

SECONDS = 5
"""The work that a run may do here, less than what it waits."""
BRIEF = Limits(max_seconds=SECONDS)


@dataclass(frozen=True, slots=True)
class Site:
    """A task queue of the test's own, with workers that come and go."""

    temporal: Client
    parts: WorkerParts
    queue: str
    missions: Missions

    async def age(self, run_id: str) -> float:
        """The seconds since the run's workflow was started."""
        found = await self.temporal.get_workflow_handle(workflow_id(self.missions.tenant_id, run_id)).describe()
        assert found.start_time is not None
        return (self.parts.clock() - found.start_time).total_seconds()

    async def until_older(self, run_id: str, seconds: float) -> None:
        await until(lambda: self._is_older(run_id, seconds))

    async def _is_older(self, run_id: str, seconds: float) -> bool:
        return await self.age(run_id) > seconds


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await condition():  # noqa: ASYNC110 - time passes by itself
            await asyncio.sleep(0.1)


async def began(run_id: str) -> bool:
    return EFFECTS[f"{run_id}/1/1"] == 1


@pytest.fixture(autouse=True)
async def prepared(parts: WorkerParts) -> None:
    """The import of LiteLLM takes longer than a run may work here."""
    assert isinstance(parts.model, LiteLLMModel)
    await parts.model.prepare()


@pytest.fixture
def site(temporal: Client, parts: WorkerParts, tenant: str) -> Site:
    queue = f"work-{uuid4()}"
    return Site(temporal, parts, queue, Missions(parts.database, WorkflowClient(temporal, queue), tenant))


async def test_time_without_a_worker_before_the_first_step_is_no_work(site: Site, scripted: ScriptedLLM) -> None:
    scripted.script([tool_calls([("echo_slowly", {"text": "a"})]), text("Done.")])
    run_id = await site.missions.start(limits=BRIEF)
    await site.until_older(run_id, 2 * SECONDS)
    async with build_worker(site.temporal, site.queue, site.parts):
        run = await site.missions.ended(run_id)
    assert (run.status, run.stop_reason, run.answer) == (RunStatus.COMPLETED, None, "Done.")


async def test_nor_is_that_of_a_model_call_that_waits_for_a_worker(site: Site, scripted: ScriptedLLM) -> None:
    scripted.script([tool_calls([("echo_slowly", {"text": "a"})]), text("Done.")])
    async with build_worker(site.temporal, site.queue, site.parts, no_remote_activities=True):
        run_id = await site.missions.start(limits=BRIEF)
        await site.until_older(run_id, 2 * SECONDS)
    async with build_worker(site.temporal, site.queue, site.parts):
        run = await site.missions.ended(run_id)
    assert (run.status, run.stop_reason, run.answer) == (RunStatus.COMPLETED, None, "Done.")


async def test_nor_is_that_of_a_tool_whose_worker_has_gone(site: Site, scripted: ScriptedLLM) -> None:
    scripted.script([tool_calls([("transfer", {"name": str(uuid4())})]), text("Unknown.")])
    async with build_worker(site.temporal, site.queue, site.parts, graceful_shutdown_timeout=timedelta()):
        run_id = await site.missions.start(limits=BRIEF)
        await until(lambda: began(run_id))
    await site.until_older(run_id, 2 * SECONDS)
    async with build_worker(site.temporal, site.queue, site.parts):
        run = await site.missions.ended(run_id)
    assert (run.status, run.stop_reason, run.answer) == (RunStatus.COMPLETED, None, "Unknown.")


@pytest.mark.usefixtures("worker")
async def test_nor_are_pauses_between_the_attempts_of_a_model_call(missions: Missions, scripted: ScriptedLLM) -> None:
    scripted.script([status(429, {"retry-after": str(2 * SECONDS)}), text("Back again.")])
    run = await missions.finish(limits=BRIEF)
    assert (run.status, run.stop_reason, run.answer) == (RunStatus.COMPLETED, None, "Back again.")


@pytest.mark.usefixtures("worker")
async def test_nor_is_the_time_until_a_person_decides(missions: Missions, scripted: ScriptedLLM, site: Site) -> None:
    run_id, request_id = await asked(missions, scripted, limits=BRIEF)
    await missions.person("bob", "admin")
    await Site(site.temporal, site.parts, "", missions).until_older(run_id, 2 * SECONDS)
    await missions.workflow_client.approvals.decide(missions.tenant_id, request_id, yes())
    assert (await missions.ended(run_id)).stop_reason is None


@pytest.mark.usefixtures("worker")
async def test_but_a_tool_that_works_meanwhile_does(missions: Missions, scripted: ScriptedLLM, site: Site) -> None:
    name = str(uuid4())
    scripted.script([tool_calls([("transfer", {"name": name}), ("pay", {"amount": 1})]), text("Done.")])
    run_id = await missions.start(limits=BRIEF)
    await missions.event(run_id, "approval.requested")
    await until(lambda: began(run_id))
    await missions.person("bob", "admin")
    await site.until_older(run_id, 2 * SECONDS)
    [request] = await missions.pending()
    await missions.workflow_client.approvals.decide(missions.tenant_id, request.approval.request_id, yes())
    TRANSFERS[name].set()
    run = await missions.ended(run_id)
    assert (run.status, run.stop_reason) == (RunStatus.INCOMPLETE, StopReason.MAX_SECONDS)


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("attempts", [1, 2], ids=["one attempt", "failed attempts as well"])
async def test_the_work_of_the_model_ends_a_run(missions: Missions, scripted: ScriptedLLM, attempts: int) -> None:
    scripted.requests.clear()
    scripted.script([*[status(503)] * (attempts - 1), hang("Well, ")])
    run = await missions.finish(limits=BRIEF)
    assert (run.status, run.stop_reason) == (RunStatus.INCOMPLETE, StopReason.MAX_SECONDS)
    assert len(scripted.requests) == attempts

    async def wasted() -> bool:
        # The activity learns by its next heartbeat that its time is over.
        return (await missions.run(run.spec.run_id)).totals.wasted_tokens > 0

    await until(wasted)


@pytest.mark.usefixtures("worker")
async def test_the_work_of_tools_ends_a_run_and_side_by_side_it_counts_once(
    missions: Missions, scripted: ScriptedLLM
) -> None:
    """`dawdle` takes 0.2 s: one after the other these calls would take 12."""
    rounds = [tool_calls([("dawdle", {})] * 20)] * 3
    scripted.script([*rounds, text("Done.")])
    run = await missions.finish(limits=Limits(max_seconds=8))
    assert (run.status, run.answer) == (RunStatus.COMPLETED, "Done.")
    scripted.script([tool_calls([("dawdle", {})], says=str(number)) for number in range(30)])
    run = await missions.within(max_repeated_steps=100).finish(limits=Limits(max_seconds=1, max_steps=30))
    assert (run.status, run.stop_reason) == (RunStatus.INCOMPLETE, StopReason.MAX_SECONDS)


async def test_nor_is_that_of_a_model_call_that_waits_for_its_tenants_turn(site: Site, scripted: ScriptedLLM) -> None:
    answers = asyncio.Event()
    scripted.reply = lambda body: text("Done.") if "work" in str(body["messages"]) else held(text("Done."), answers)
    parts = replace(site.parts, limits=CallLimits(model_calls=3, retry_seconds=0.2))
    async with build_worker(site.temporal, site.queue, parts):
        # Alone it has one place, which this call holds.
        holding = await site.missions.start("hold")
        await until(lambda: _asked(scripted))
        run_id = await site.missions.start("work", limits=BRIEF)
        await site.until_older(run_id, 2 * SECONDS)
        answers.set()
        run = await site.missions.ended(run_id)
        await site.missions.ended(holding)
    assert (run.status, run.stop_reason, run.answer) == (RunStatus.COMPLETED, None, "Done.")


async def _asked(scripted: ScriptedLLM) -> bool:
    return bool(scripted.requests)


async def test_a_call_that_got_its_turn_late_has_all_the_time_of_its_run(site: Site, scripted: ScriptedLLM) -> None:
    answers, replies = asyncio.Event(), asyncio.Event()
    scripted.reply = lambda body: held(text("Done."), replies if "work" in str(body["messages"]) else answers)
    scripted.requests.clear()
    async with build_worker(site.temporal, site.queue, replace(site.parts, limits=CallLimits(model_calls=3))):
        holding = await site.missions.start("hold")
        await scripted.until(lambda llm: len(llm.requests) == 1)
        run_id = await site.missions.start("work", limits=BRIEF)
        await site.until_older(run_id, SECONDS - 1)
        answers.set()
        await scripted.until(lambda llm: len(llm.requests) == 2)
        # Of what the call may take, most would be gone by now if its wait were part of it.
        asked_at = await site.age(run_id)
        await site.until_older(run_id, asked_at + SECONDS - 2)
        replies.set()
        run = await site.missions.ended(run_id)
        await site.missions.ended(holding)
    assert (run.status, run.stop_reason, run.answer) == (RunStatus.COMPLETED, None, "Done.")


async def test_a_quick_tool_that_is_slow_has_its_own_timeout_and_all_its_work_counts(
    site: Site, scripted: ScriptedLLM
) -> None:
    name = str(uuid4())
    scripted.script([tool_calls([("dally", {"name": name})]), text("Done.")])
    async with build_worker(site.temporal, site.queue, site.parts):
        run_id = await site.missions.start(limits=BRIEF)

        async def began_again() -> bool:
            return EFFECTS[f"{run_id}/1/1"] == 2

        # The local activity was given up after five seconds, all that the run may work.
        await until(began_again)
        TRANSFERS[name].set()
        run = await site.missions.ended(run_id)
    assert (run.status, run.stop_reason) == (RunStatus.INCOMPLETE, StopReason.MAX_SECONDS)
    handle = site.temporal.get_workflow_handle(workflow_id(site.missions.tenant_id, run_id))
    scheduled = [
        event.activity_task_scheduled_event_attributes
        for event in (await handle.fetch_history()).events
        if event.activity_task_scheduled_event_attributes.activity_type.name == "run_tool"
    ]
    timeout = DALLY_SECONDS + MARGIN.total_seconds()
    assert [one.start_to_close_timeout.ToTimedelta().total_seconds() for one in scheduled] == [timeout]
