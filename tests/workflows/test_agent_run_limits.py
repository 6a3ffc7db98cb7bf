"""A run under way may use more once its row says so, and it is told."""

import pytest

from taskforce.core.domain.runs.run import Limits, RunStatus, StopReason
from tests.fixtures.missions import Missions
from tests.fixtures.scripted_llm import ScriptedLLM, text, tool_calls

pytestmark = pytest.mark.usefixtures("worker")


async def test_a_run_whose_limits_are_raised_goes_on_under_the_new_ones(
    missions: Missions, scripted: ScriptedLLM
) -> None:
    """Also the parts of it that continue as new, which know nothing but what is carried."""
    steps = [tool_calls([("echo", {"text": str(number)})]) for number in range(40)]
    scripted.script([tool_calls([("ask_user", {"question": "How many?"})]), *steps, text("There.")])
    run_id = await missions.start(limits=Limits(max_steps=2))
    await missions.event(run_id, "run.waiting")
    await missions.raise_limits(run_id, max_steps=60)
    await missions.say(run_id, "Forty.")
    run = await missions.ended(run_id)
    assert (run.status, run.answer, run.totals.steps) == (RunStatus.COMPLETED, "There.", 42)


async def test_a_signal_alone_raises_nothing(missions: Missions, scripted: ScriptedLLM) -> None:
    asks = [tool_calls([("ask_user", {"question": "How many?"})])]
    scripted.script([*asks, text("As far as I got."), text("Too far.")])
    run_id = await missions.start(limits=Limits(max_steps=1))
    await missions.event(run_id, "run.waiting")
    await missions.workflow_client.runs.signal(missions.tenant_id, run_id, "limits_raised", "{'max_steps': 60}")
    await missions.say(run_id, "Forty.")
    run = await missions.ended(run_id)
    assert (run.status, run.stop_reason) == (RunStatus.INCOMPLETE, StopReason.MAX_STEPS)
