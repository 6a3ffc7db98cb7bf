"""A reply of any size, or of any kind, leaves the run whole: what is beyond a bound is said, and what is cut too."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from taskforce.application.runs.closing_turn import CLOSING, NO_ANSWER, NO_TOOLS
from taskforce.application.runs.model_step import ModelStep
from taskforce.application.runs.model_turn import ModelStepInput, ModelStepResult
from taskforce.core.domain.runs.loop_limits import LoopLimits
from taskforce.core.domain.runs.reply import TEXT_KEPT
from taskforce.core.domain.runs.run import AgentDefinition, RunStatus, StopReason
from taskforce.core.domain.runs.transcript import CallStatus
from taskforce.core.interfaces.llm import ChatModel, Finish, ModelReply, ModelRequest, RequestedCall
from taskforce.infrastructure.llm.litellm_model import LiteLLMModel
from tests.fixtures.scripted_llm import Reply, ScriptedLLM, status, text, tool_calls
from tests.taskforce.application.runs.conversations import last_messages
from tests.taskforce.application.scenario import AGENT, Stage

LOOKS = tool_calls([("echo", {"text": "still pending"})])


def bounded(**bounds: int) -> AgentDefinition:
    return replace(AGENT, loop=LoopLimits(**bounds))


async def take(stage: Stage, model_step: ModelStep, run_id: str, step: int = 1, **more: Any) -> ModelStepResult:
    return await model_step.run(ModelStepInput(stage.tenant_id, run_id, step, attempt=1, told=0, **more))


class Asking:
    """A model that asks for these calls, however many, as the model's own door would not let pass."""

    def __init__(self, model: ChatModel, *calls: tuple[str, object]) -> None:
        self._model = model
        self._calls = tuple(
            RequestedCall(f"c{number}", name, json.dumps(arguments)) for number, (name, arguments) in enumerate(calls)
        )

    async def complete(self, request: ModelRequest, on_text: Callable[[str], None]) -> ModelReply:
        return replace(await self._model.complete(request, on_text), tool_calls=self._calls)


@pytest.mark.parametrize("name", ["echo", "no.such tool" * 50, "<|tool|>\u2028"])
async def test_a_reply_of_thousands_of_calls_runs_as_many_as_may_and_tells_of_the_others_once(
    stage: Stage, model: LiteLLMModel, scripted: ScriptedLLM, name: str
) -> None:
    run_id = (await stage.accepted(agent=bounded(max_calls_per_reply=3))).run_id
    scripted.script([LOOKS])
    model_step = stage.model_step(Asking(model, *((name, {"text": str(number)}) for number in range(2_000))))
    result = await take(stage, model_step, run_id)
    assert [one.call for one in result.allowed or ()] == ([1, 2, 3] if name == "echo" else [])
    assert result.calls == 4
    reply = await stage.observed(run_id, call=0)
    assert reply is not None
    assert (len(reply.tool_calls), reply.dropped) == (4, 1_996)
    beyond = await stage.observed(run_id, call=4)
    assert beyond is not None
    assert beyond.status is CallStatus.REFUSED
    assert beyond.text.startswith("Refused: you asked for 2000 tool calls at once, of which at most 3 run.")
    assert len(await stage.audited("tool.call")) == (1 if name == "echo" else 4)


async def test_arguments_that_are_too_large_are_refused_without_being_kept(
    stage: Stage, model: LiteLLMModel, scripted: ScriptedLLM
) -> None:
    run_id = (await stage.accepted()).run_id
    scripted.script([LOOKS])
    model_step = stage.model_step(Asking(model, ("echo", {"text": "x" * 1_100_000}), ("echo", {"text": "y"})))
    result = await take(stage, model_step, run_id)
    assert [one.call for one in result.allowed or ()] == [2]
    assert (await stage.told(run_id)).startswith("Refused: the arguments of all calls")
    assert await stage.rows("transcript WHERE step = 1", "max(length(data::text)) < 1000") == [(True,)]


async def test_an_answer_that_is_too_long_is_kept_in_part_and_whole_as_a_result(
    stage: Stage, model_step: ModelStep, scripted: ScriptedLLM
) -> None:
    run_id = (await stage.accepted()).run_id
    whole = "0123456789" * (TEXT_KEPT // 10) + "the end"
    scripted.script([text(whole)])
    assert (await take(stage, model_step, run_id)).ended
    run = await stage.run(run_id)
    assert run.answer is not None
    assert run.answer.startswith(whole[:TEXT_KEPT] + "\n[... cut: ")
    assert await stage.rows("run_results", "step, call, content") == [(1, 0, whole)]


class Finishing:
    """A model whose replies end for another reason."""

    def __init__(self, model: ChatModel, finish: Finish) -> None:
        self._model = model
        self._finish: Finish = finish

    async def complete(self, request: ModelRequest, on_text: Callable[[str], None]) -> ModelReply:
        return replace(await self._model.complete(request, on_text), finish=self._finish)


@pytest.mark.parametrize(
    ("finish", "reason"), [("length", StopReason.REPLY_CUT), ("content_filter", StopReason.CONTENT_FILTER)]
)
async def test_an_answer_that_was_cut_does_not_complete_the_run(
    stage: Stage, model: LiteLLMModel, scripted: ScriptedLLM, finish: Finish, reason: StopReason
) -> None:
    run_id = (await stage.accepted()).run_id
    model_step = stage.model_step(Finishing(model, finish))
    scripted.script([tool_calls([("echo", {"text": "x"})], says="First I"), text("The answer is f")])
    first = await take(stage, model_step, run_id)
    assert (first.calls, first.stop_reason) == (1, None)
    results = [await take(stage, model_step, run_id, step=2) for _ in range(2)]
    assert results == [ModelStepResult(0, 25, ended=True, stop_reason=reason)] * 2
    run = await stage.run(run_id)
    assert (run.status, run.stop_reason, run.answer) == (RunStatus.INCOMPLETE, reason, "The answer is f")


@pytest.mark.parametrize(
    ("second", "answer", "wasted"),
    [
        (text("As far as I got."), "As far as I got.", 25),
        (LOOKS, NO_ANSWER[StopReason.MAX_STEPS], 25),
        (status(503), NO_ANSWER[StopReason.MAX_STEPS], 25),
    ],
    ids=["words", "calls again", "no reply"],
)
async def test_a_closing_turn_whose_reply_has_no_words_is_asked_once_more(
    stage: Stage, model_step: ModelStep, scripted: ScriptedLLM, second: Reply, answer: str, wasted: int
) -> None:
    run_id = (await stage.accepted()).run_id
    scripted.script([LOOKS, second])
    assert (await take(stage, model_step, run_id, closing=True)).ended
    run = await stage.run(run_id)
    assert (run.status, run.stop_reason, run.answer) == (RunStatus.INCOMPLETE, StopReason.MAX_STEPS, answer)
    assert run.totals.wasted_tokens == wasted
    assert last_messages(scripted)[-1]["content"] == NO_TOOLS
    assert len(scripted.requests) == 2


async def act(stage: Stage, run_id: str, step: int) -> None:
    assert (await stage.tool_step.run(stage.ref(run_id, 1, step), 1, (), None)).status is CallStatus.SUCCEEDED


async def test_a_model_that_repeats_itself_is_told_and_then_asked_to_answer(
    stage: Stage, model_step: ModelStep, scripted: ScriptedLLM
) -> None:
    run_id = (await stage.accepted(agent=bounded(max_repeated_steps=4))).run_id
    scripted.script([*[LOOKS] * 4, text("It stays pending.")])
    told = []
    for step in range(1, 5):
        assert (await take(stage, model_step, run_id, step)).stop_reason is None
        told.append("times in a row" in json.dumps(last_messages(scripted)[-1]))
        await act(stage, run_id, step)
    assert told == [False, False, True, True]
    last = await take(stage, model_step, run_id, 5)
    assert last == ModelStepResult(0, 25, ended=True, stop_reason=StopReason.REPEATED_CALLS)
    assert last_messages(scripted)[-1]["content"] == CLOSING[StopReason.REPEATED_CALLS]
    assert "tools" not in scripted.requests[-1]
    run = await stage.run(run_id)
    ended = (run.status, run.stop_reason, run.answer)
    assert ended == (RunStatus.INCOMPLETE, StopReason.REPEATED_CALLS, "It stays pending.")
    again = await model_step.run(ModelStepInput(stage.tenant_id, run_id, 5, attempt=2, told=0))
    assert again == last


async def test_polling_whose_result_changes_goes_on(stage: Stage, model_step: ModelStep, scripted: ScriptedLLM) -> None:
    run_id = (await stage.accepted(agent=bounded(max_repeated_steps=2))).run_id
    scripted.script([*[tool_calls([("current_time", {})])] * 4, text("Done.")])
    for step in range(1, 5):
        await take(stage, model_step, run_id, step)
        await act(stage, run_id, step)
        stage.now += timedelta(seconds=1)
    assert (await take(stage, model_step, run_id, 5)).ended
    assert (await stage.run(run_id)).status is RunStatus.COMPLETED
