"""`kill -9` of a worker in the middle of four runs at once: another takes over, and each ends as if nothing had been"""

import asyncio
import json
from collections.abc import Mapping
from functools import partial

from temporalio.client import Client

from taskforce.core.domain.approvals.approval import Verdict
from taskforce.core.domain.approvals.submissions import SubmittedDecision
from taskforce.core.domain.errors import Unavailable
from taskforce.core.domain.runs.run import Run, RunStatus
from taskforce.core.domain.runs.transcript import CallStatus
from tests.chaos.invariants import assert_sound, ended, eventually
from tests.chaos.worker_process import Crew
from tests.fixtures.missions import Missions
from tests.fixtures.scripted_llm import Body, Reply, ScriptedLLM, hang, text, tool_calls
from worker import WorkerParts, build_worker
from workflows.client.approvals import DECISION_TIME

CALLS: Mapping[str, tuple[str, Mapping[str, object]]] = {
    "file": ("file_away", {"text": "a"}),
    "wire": ("wire", {"amount": 7}),
    "pay": ("pay", {"amount": 7}),
    "think": ("tally", {"text": "b"}),
}


class Script:
    """Calls the mission's tool, then answers; the first answer to the mission `think` never ends."""

    def __init__(self) -> None:
        self.hung = 0

    def __call__(self, body: Body) -> Reply:
        said = json.dumps(body["messages"])
        mission = next(name for name in CALLS if f'"{name}"' in said)
        if '"role": "tool"' not in said:
            return tool_calls([CALLS[mission]])
        if mission == "think" and not self.hung:
            self.hung += 1
            return hang("Well")
        return text("Done.")


async def survivors(crew: Crew, missions: Missions, llm: ScriptedLLM) -> Mapping[str, Run]:
    """Runs one mission of each kind, kills their worker when all are in the middle, and waits for their ends."""
    script = Script()
    llm.reply = script
    crew.effects.hold()
    await crew.hire()
    await missions.person("bob", "admin")
    runs = {name: await missions.start(name) for name in CALLS}

    async def in_the_middle() -> bool:
        begun = {tool for tool, _, stage in crew.effects.seen() if stage == "begun"}
        return begun == {"file_away", "wire"} and script.hung == 1 and len(await missions.pending()) == 1

    await eventually(in_the_middle)
    await crew.kill()
    crew.effects.release()
    await crew.hire()
    [request] = await missions.pending()
    await eventually(partial(approved, missions, request.approval.request_id))
    over = await asyncio.gather(*(ended(missions, run_id) for run_id in runs.values()))
    return dict(zip(runs, over, strict=True))


async def approved(missions: Missions, request_id: str) -> bool:
    """Whether a worker has taken bob's approval, which is the same one however often he is not answered in time."""
    yes = SubmittedDecision(approver_id="bob", verdict=Verdict.APPROVE, comment="fine")
    try:
        await missions.workflow_client.approvals.decide(missions.tenant_id, request_id, yes, update_id="bobs")
    except Unavailable:
        return False
    return True


async def test_runs_whose_worker_is_killed_end_as_if_nothing_had_happened(
    crew: Crew, endangered: Missions, llm: ScriptedLLM, admin_url: str
) -> None:
    runs = await survivors(crew, endangered, llm)
    for run in runs.values():
        assert (run.status, run.answer, run.totals.steps) == (RunStatus.COMPLETED, "Done.", 2)
        await assert_sound(endangered, admin_url, run.spec.run_id)
    await check_that_the_model_was_asked_again(runs["think"], endangered, crew)
    await check_that_the_idempotent_tool_ran_again_under_the_same_key(runs["file"], endangered, crew)
    await check_that_the_other_tool_did_not_run_again_and_the_model_was_told(runs["wire"], endangered, crew)
    await check_that_the_approved_call_ran_once(runs["pay"], endangered, crew)


async def check_that_the_model_was_asked_again(run: Run, missions: Missions, crew: Crew) -> None:
    assert [entry.text for entry in await missions.observations(run.spec.run_id)] == ["b"]
    assert crew.effects.count("tally", run.spec.run_id, "done") == [1]


async def check_that_the_idempotent_tool_ran_again_under_the_same_key(run: Run, missions: Missions, crew: Crew) -> None:
    [observation] = await missions.observations(run.spec.run_id)
    assert (observation.status, observation.text) == (CallStatus.SUCCEEDED, "filed a")
    assert crew.effects.count("file_away", run.spec.run_id, "begun") == [2]
    assert crew.effects.count("file_away", run.spec.run_id, "done") == [1]


async def check_that_the_other_tool_did_not_run_again_and_the_model_was_told(
    run: Run, missions: Missions, crew: Crew
) -> None:
    [observation] = await missions.observations(run.spec.run_id)
    assert observation.status is CallStatus.UNKNOWN
    assert "It may or may not have had its effect" in observation.text
    assert crew.effects.count("wire", run.spec.run_id, "begun") == [1]


async def check_that_the_approved_call_ran_once(run: Run, missions: Missions, crew: Crew) -> None:
    assert [entry.text for entry in await missions.observations(run.spec.run_id)] == ["paid 7"]
    assert crew.effects.count("pay", run.spec.run_id, "done") == [1]


async def test_a_decision_can_wait_for_two_dead_workers_in_turn(temporal: Client, parts: WorkerParts) -> None:
    worker = build_worker(temporal, "nobody-polls", parts)
    assert 2 * worker.config()["sticky_queue_schedule_to_start_timeout"] < DECISION_TIME
