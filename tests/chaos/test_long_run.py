"""A run of hundreds of steps: its history grows by a small constant a step, and it continues as new."""

import os

import pytest
from temporalio.client import Client

from taskforce.core.domain.runs.run import Limits, RunStatus
from taskforce.core.domain.runs.run import workflow_id as run_workflow_id
from tests.chaos.invariants import ended
from tests.fixtures.missions import Missions
from tests.fixtures.scripted_llm import Body, Reply, ScriptedLLM, text, tool_calls
from tests.replay.history_files import chain

STEPS = int(os.environ.get("TASKFORCE_TEST_STEPS", "150"))


class Counting:
    """Calls a tool so many times, then answers; a conversation is cut, so that it does not tell how long it was."""

    def __init__(self, tool: str, steps: int) -> None:
        self._tool = tool
        self._left = steps

    def __call__(self, _: Body) -> Reply:
        self._left -= 1
        return tool_calls([(self._tool, {"text": f"a{self._left % 10}"})]) if self._left >= 0 else text("There.")


async def bytes_of(temporal: Client, workflow_id: str) -> list[int]:
    """Bytes of history of each part of a run."""
    sizes = []
    async for part in chain(temporal, workflow_id):
        handle = temporal.get_workflow_handle(workflow_id, run_id=part.run_id)
        sizes.append((await handle.describe()).raw_description.workflow_execution_info.history_size_bytes)
    return sizes


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(("tool", "steps", "most"), [("echo", STEPS, 2_000), ("echo_slowly", STEPS // 3, 3_000)])
async def test_a_step_costs_few_bytes_of_history(
    missions: Missions, scripted: ScriptedLLM, temporal: Client, tool: str, steps: int, most: int
) -> None:
    scripted.keep_requests = False
    try:
        scripted.reply = Counting(tool, steps)
        run_id = await missions.start(limits=Limits(max_steps=steps + 1))
        run = await ended(missions, run_id, seconds=60.0 + steps)
    finally:
        scripted.keep_requests = True
    assert (run.status, run.totals.steps, run.totals.tool_calls) == (RunStatus.COMPLETED, steps + 1, steps)
    sizes = await bytes_of(temporal, run_workflow_id(missions.tenant_id, run.spec.run_id))
    assert len(sizes) > 1
    assert sum(sizes) / steps < most
