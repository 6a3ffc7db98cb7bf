"""The model's first turn begins a run and its last one ends it, each in a transaction that there is anyway."""

import asyncio
from collections.abc import Callable

import pytest
import structlog

from taskforce.application.runs.control import MessageDraft, send_message
from taskforce.application.runs.log_context import COMPLETED, STARTED
from taskforce.application.runs.model_step import ModelStep
from taskforce.application.runs.model_turn import ModelStepInput, ModelStepResult
from taskforce.core.domain.errors import Conflict, Forbidden
from taskforce.core.domain.ids import new_id
from taskforce.core.domain.runs.run import Ending, RunStatus, StopReason
from taskforce.core.interfaces.llm import ChatModel, ModelFailure, ModelReply, ModelRequest
from taskforce.infrastructure.llm.litellm_model import LiteLLMModel
from tests.fixtures.scripted_llm import ScriptedLLM, hang, status, text, tool_calls
from tests.taskforce.application.scenario import Stage


async def test_a_run_begins_with_the_first_turn_and_ends_with_the_last(
    stage: Stage, model_step: ModelStep, scripted: ScriptedLLM
) -> None:
    run_id = (await stage.accepted()).run_id
    scripted.script([tool_calls([("echo", {"text": "x"})]), text("Done.")])
    first = await model_step.run(ModelStepInput(stage.tenant_id, run_id, step=1, attempt=1, told=0))
    assert (first.ended, (await stage.run(run_id)).status) == (False, RunStatus.RUNNING)
    last = await model_step.run(ModelStepInput(stage.tenant_id, run_id, step=2, attempt=1, told=0))
    run = await stage.run(run_id)
    assert (last, run.status, run.answer) == (ModelStepResult(0, 25, ended=True), RunStatus.COMPLETED, "Done.")
    assert (run.totals.steps, run.totals.input_tokens, run.totals.output_tokens) == (2, 40, 10)
    assert (run.started_at, run.finished_at) == (stage.now, stage.now)
    milestones = ["run.queued", "run.started", "step.replied", "step.replied", "run.finished"]
    assert [event.type for event in await stage.events(run_id)] == milestones
    assert [outcome for _, outcome, _ in await stage.audited("run.end")] == ["completed"]


async def test_an_attempt_that_died_after_it_had_ended_the_run_ended_it(
    stage: Stage, model_step: ModelStep, scripted: ScriptedLLM
) -> None:
    run_id = (await stage.accepted()).run_id
    scripted.script([text("Done.")])
    turns = [ModelStepInput(stage.tenant_id, run_id, step=1, attempt=attempt, told=0) for attempt in (1, 2)]
    assert [await model_step.run(turn) for turn in turns] == [ModelStepResult(0, 25, ended=True)] * 2
    assert [event.type for event in await stage.events(run_id)].count("run.finished") == 1


async def test_a_word_that_comes_while_the_model_answers_keeps_the_run_open(
    stage: Stage, model_step: ModelStep, scripted: ScriptedLLM
) -> None:
    run_id = (await stage.accepted()).run_id
    scripted.script([hang("Let me think"), text("Done."), text("Yes, both.")])
    call = asyncio.create_task(model_step.run(ModelStepInput(stage.tenant_id, run_id, step=1, attempt=1, told=0)))
    await scripted.until(lambda it: len(it.requests) == 1)
    call.cancel()
    await asyncio.wait([call])
    word = await send_message(stage.database, stage.acting(), await stage.run(run_id), MessageDraft("Both?"))
    again = await model_step.run(ModelStepInput(stage.tenant_id, run_id, step=1, attempt=2, told=0))
    assert (again.ended, (await stage.run(run_id)).status) == (False, RunStatus.RUNNING)
    heard = ModelStepInput(stage.tenant_id, run_id, step=2, attempt=1, words=(word.message_id,), told=1)
    assert (await model_step.run(heard)).ended
    assert (await stage.run(run_id)).answer == "Yes, both."
    with pytest.raises(Conflict) as refused:
        await send_message(stage.database, stage.acting(), await stage.run(run_id), MessageDraft("And?"))
    assert refused.value.code == "run_finished"


async def test_ids_of_messages_that_are_made_up_or_were_heard_before_do_not_count(
    stage: Stage, model_step: ModelStep, scripted: ScriptedLLM
) -> None:
    run_id = (await stage.accepted()).run_id
    scripted.script([tool_calls([("echo", {"text": "x"})]), text("Not yet."), text("Both.")])
    first, second = [
        (await send_message(stage.database, stage.acting(), await stage.run(run_id), MessageDraft(said))).message_id
        for said in ("One.", "Two.")
    ]
    made_up = new_id()
    turns = [
        # The one that is made up is told of, and of the two that are stored only one is.
        ModelStepInput(stage.tenant_id, run_id, 1, attempt=1, words=(first, first, made_up, made_up), told=2),
        # The run has forgotten the first one and counts it again; the second is still not among them.
        ModelStepInput(stage.tenant_id, run_id, 2, attempt=1, words=(first,), told=2),
        ModelStepInput(stage.tenant_id, run_id, 3, attempt=1, words=(second, first), told=3),
    ]
    results = [await model_step.run(turn) for turn in turns]
    assert [(one.unknown, one.ended) for one in results] == [(1, False), (1, False), (1, True)]
    assert (await stage.run(run_id)).answer == "Both."


async def test_the_closing_turn_ends_the_run_as_incomplete(
    stage: Stage, model_step: ModelStep, scripted: ScriptedLLM
) -> None:
    run_id = (await stage.accepted()).run_id
    scripted.script([tool_calls([("echo", {"text": "x"})], says="As far as I got.")])
    assert (
        await model_step.run(ModelStepInput(stage.tenant_id, run_id, step=1, attempt=1, closing=True, told=0))
    ).ended
    run = await stage.run(run_id)
    ended = (run.status, run.stop_reason, run.answer)
    assert ended == (RunStatus.INCOMPLETE, StopReason.MAX_STEPS, "As far as I got.")


class Meeting:
    """A model whose replies reach their callers together."""

    def __init__(self, model: ChatModel, callers: int) -> None:
        self._model = model
        self._meeting = asyncio.Barrier(callers)

    async def complete(self, request: ModelRequest, on_text: Callable[[str], None]) -> ModelReply:
        reply = await self._model.complete(request, on_text)
        await self._meeting.wait()
        return reply


async def test_what_a_second_attempt_cost_while_another_ended_the_run_is_in_the_totals(
    stage: Stage, model: LiteLLMModel, scripted: ScriptedLLM
) -> None:
    run_id = (await stage.accepted()).run_id
    scripted.script([text("Done.")] * 2)
    together = Meeting(model, 2)
    model_step = stage.model_step(together)
    turns = [ModelStepInput(stage.tenant_id, run_id, step=1, attempt=attempt, told=0) for attempt in (1, 2)]
    thoughts = await asyncio.gather(*(model_step.run(turn) for turn in turns))
    assert [thought.ended for thought in thoughts] == [True, True]
    totals = (await stage.run(run_id)).totals
    assert (totals.input_tokens, totals.output_tokens) == (40, 10)


async def test_the_first_attempt_tells_once_that_the_run_works_whatever_follows(
    stage: Stage, model_step: ModelStep, scripted: ScriptedLLM
) -> None:
    run_id = (await stage.accepted()).run_id
    scripted.script([status(401), text("Done.")])
    with structlog.testing.capture_logs() as lines:
        with pytest.raises(ModelFailure):
            await model_step.run(ModelStepInput(stage.tenant_id, run_id, step=1, attempt=1, told=0))
        await model_step.run(ModelStepInput(stage.tenant_id, run_id, step=1, attempt=2, told=0))
    assert [line["event"] for line in lines if line["event"] in {STARTED, COMPLETED}] == [STARTED, COMPLETED]


async def test_who_watches_hears_that_the_run_works_before_the_model_has_answered(
    stage: Stage, model_step: ModelStep, scripted: ScriptedLLM
) -> None:
    run_id = (await stage.accepted()).run_id
    scripted.script([hang("Let me think")])
    call = asyncio.create_task(model_step.run(ModelStepInput(stage.tenant_id, run_id, step=1, attempt=1, told=0)))
    await scripted.until(lambda it: len(it.requests) == 1)
    assert stage.live.told == {(stage.tenant_id, run_id)}
    call.cancel()
    await asyncio.wait([call])


async def test_a_run_for_whose_user_nothing_may_happen_has_not_begun_and_nobody_is_told_so(
    stage: Stage, model_step: ModelStep
) -> None:
    run_id = (await stage.accepted()).run_id
    await stage.deactivate("alice")
    with structlog.testing.capture_logs() as lines, pytest.raises(Forbidden):
        await model_step.run(ModelStepInput(stage.tenant_id, run_id, step=1, attempt=1, told=0))
    assert [line for line in lines if line["event"] == STARTED] == []
    assert (await stage.run(run_id)).started_at is None
    await stage.lifecycle.end(stage.tenant_id, run_id, Ending(RunStatus.FAILED, error_code="user_deactivated"))
    assert [event.type for event in await stage.events(run_id)] == ["run.queued", "run.finished"]
