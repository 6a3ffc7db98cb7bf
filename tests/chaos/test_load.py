"""Twenty runs at once while their workers are killed one after the other."""

import asyncio
import json

from taskforce.core.domain.runs.run import RunStatus
from taskforce.core.domain.runs.transcript import CallStatus
from tests.chaos.durable_tools import Effects
from tests.chaos.invariants import assert_sound, ended, eventually
from tests.chaos.worker_process import Crew
from tests.fixtures.missions import Missions
from tests.fixtures.scripted_llm import Body, Reply, ScriptedLLM, text, tool_calls

RUNS, STEPS, KILLS = 20, 3, 3


def reply(body: Body) -> Reply:
    """Three tools of three kinds in each step."""
    done = json.dumps(body["messages"]).count('"role": "tool"') // 3
    if done >= STEPS:
        return text("Done.")
    return tool_calls([("tally", {"text": "a"}), ("file_away", {"text": "b"}), ("wire", {"amount": done + 1})])


async def test_all_runs_end_and_nothing_is_doubled_while_workers_are_killed(
    crew: Crew, endangered: Missions, llm: ScriptedLLM, admin_url: str
) -> None:
    llm.reply = reply
    effects = crew.effects
    for _ in range(2):
        await crew.hire()
    runs = [await endangered.start(f"load {number}") for number in range(RUNS)]
    for killed in range(1, KILLS + 1):

        async def got_on(share: float = killed / (KILLS + 1)) -> bool:
            return sum(effects.seen().values()) >= share * RUNS * STEPS * 3

        await eventually(got_on)
        await crew.kill()
        await crew.hire()
    over = await asyncio.gather(*(ended(endangered, run_id) for run_id in runs))
    assert {(run.status, run.answer, run.totals.steps) for run in over} == {(RunStatus.COMPLETED, "Done.", STEPS + 1)}
    for run_id in runs:
        await assert_sound(endangered, admin_url, run_id)
        await assert_wired_at_most_once_and_told_truly(endangered, effects, run_id)
        assert len(effects.count("file_away", run_id, "done")) == STEPS


async def assert_wired_at_most_once_and_told_truly(missions: Missions, effects: Effects, run_id: str) -> None:
    """A worker may die after it has promised to wire and before it does: then nobody wires, and the model is told."""
    seen = effects.seen()
    wires = [entry for entry in await missions.observations(run_id) if entry.tool == "wire"]
    assert len(wires) == STEPS
    for entry in wires:
        times = seen[("wire", f"{run_id}/{entry.step}/{entry.call}", "begun")]
        assert (entry.status, times) in {(CallStatus.SUCCEEDED, 1), (CallStatus.UNKNOWN, 1), (CallStatus.UNKNOWN, 0)}
