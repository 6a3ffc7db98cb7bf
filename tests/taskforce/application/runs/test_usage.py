"""The usage records of a run's effects."""

import asyncio
from dataclasses import replace

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from taskforce.application.runs.model_step import ModelStep
from taskforce.application.runs.model_turn import ModelStepInput
from taskforce.core.domain.ids import new_id
from taskforce.core.domain.metering.attribution import Attribution
from tests.fixtures.scripted_llm import ScriptedLLM, hang, text, tool_calls
from tests.taskforce.application.scenario import AGENT, Stage

TAGS = {"project": "x"}
CHARGED = replace(AGENT, attribution=Attribution("sales", "S-1"))
PINNED = {"version_id": new_id(), "version_number": "1.4.0", "config_hash": "x", "slug": "writer"}
ORDER = "usage_records ORDER BY step, call, attempt, part"


async def begun(stage: Stage) -> str:
    """A run of an agent of the catalog."""
    run_id = (await stage.accepted(agent=CHARGED, tags=TAGS)).run_id
    async with stage.database.tenant(stage.tenant_id) as records:
        pinned = sa.text("UPDATE runs SET agent = agent || jsonb_build_object('pinned', CAST(:pinned AS jsonb))")
        await records.users._connection.change(pinned.bindparams(sa.bindparam("pinned", PINNED, type_=JSONB())))
    return run_id


async def test_each_effect_tells_for_whom_it_was(stage: Stage, model_step: ModelStep, scripted: ScriptedLLM) -> None:
    run_id = await begun(stage)
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "prompt_tokens_details": {"cached_tokens": 60, "audio_tokens": 10},
        "completion_tokens_details": {"reasoning_tokens": 7, "audio_tokens": 5},
    }
    scripted.script([replace(tool_calls([("echo", {"text": "x"})]), usage=usage)])
    await model_step.run(ModelStepInput(stage.tenant_id, run_id, step=1, attempt=1, told=0))
    await stage.tool_step.run(stage.ref(run_id), 1, (), None)
    known = await stage.rows(ORDER, "step, call, kind, model, provider, tool, estimated")
    assert known == [
        (0, 0, "run", None, None, None, None),
        (1, 0, "model", "openai/scripted", "openai", None, None),
        (1, 1, "tool", None, None, "echo", None),
    ]
    session = (await stage.run(run_id)).spec.session_id
    charged = await stage.rows(ORDER, "session_id, agent_version, department, cost_center, tags, rolled_up")
    assert charged == [(session, "1.4.0", "sales", "S-1", TAGS, False)] * 3
    columns = "input_tokens, output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens, audio_input_tokens"
    assert await stage.rows("usage_records WHERE kind = 'model'", f"{columns}, audio_output_tokens") == [
        (100, 20, 60, 0, 7, 10, 5)
    ]


async def test_a_run_counts_once_however_often_its_first_step_is_begun(
    stage: Stage, model_step: ModelStep, scripted: ScriptedLLM
) -> None:
    run_id = await begun(stage)
    scripted.script([text("Yes.")])
    await stage.lifecycle.begin(stage.tenant_id, run_id)
    for attempt in (1, 2):
        await model_step.run(ModelStepInput(stage.tenant_id, run_id, step=1, attempt=attempt, told=0))
    assert await stage.rows("usage_records WHERE kind = 'run'", "run_id::text") == [(run_id,)]
    assert (await stage.run(run_id)).totals.tool_calls == 0


async def test_a_failed_tool_call_says_so_and_wastes_no_tokens(stage: Stage) -> None:
    run_id = await stage.asked(("read_file", {"path": "none.md"}))
    await stage.tool_step.run(stage.ref(run_id), 1, (), None)
    await stage.lifecycle.total(stage.tenant_id, run_id)
    assert await stage.rows(ORDER, "kind, tool, error_code") == [("tool", "read_file", "tool_failed")]
    totals = (await stage.run(run_id)).totals
    assert (totals.tool_calls, totals.wasted_tokens) == (1, 0)


@pytest.mark.parametrize("said", ["", "Let me think about"])
async def test_a_call_that_was_cancelled_is_estimated(
    stage: Stage, model_step: ModelStep, scripted: ScriptedLLM, said: str
) -> None:
    run_id = await begun(stage)
    scripted.script([hang(said)])
    call = asyncio.create_task(model_step.run(ModelStepInput(stage.tenant_id, run_id, step=1, attempt=1)))
    await scripted.until(lambda it: len(it.requests) == 1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await stage.rows(ORDER, "estimated, error_code") == [("cut_off", "cancelled")]
    totals = (await stage.run(run_id)).totals
    assert totals.estimated_tokens == totals.wasted_tokens == totals.tokens > 0


async def test_a_provider_that_counts_nothing_is_counted_for(
    stage: Stage, model_step: ModelStep, scripted: ScriptedLLM
) -> None:
    run_id = await begun(stage)
    scripted.script([text("Yes, of course.", usage=None)])
    await model_step.run(ModelStepInput(stage.tenant_id, run_id, step=1, attempt=1))
    assert await stage.rows(ORDER, "estimated, error_code") == [("tokenizer", None)]
    await stage.lifecycle.total(stage.tenant_id, run_id)
    totals = (await stage.run(run_id)).totals
    assert totals.estimated_tokens == totals.tokens > 0
    assert totals.wasted_tokens == 0
