"""One turn of the model, through LiteLLM, against a scripted endpoint."""

import asyncio
import json
from collections.abc import Callable, Sequence

import pytest

from taskforce.application.metering.budget_ledgers import Reservation
from taskforce.application.runs.closing_turn import CLOSING
from taskforce.application.runs.model_step import ModelStep
from taskforce.application.runs.model_turn import ModelStepInput, ModelStepResult
from taskforce.core.domain.errors import Conflict, Unavailable
from taskforce.core.domain.ids import new_id
from taskforce.core.domain.metering.tokens import TokenCounts
from taskforce.core.domain.runs.run import Ending, Limits, RunSpec, RunStatus, StopReason
from taskforce.core.domain.runs.transcript import Entry
from taskforce.core.interfaces.llm import ModelCall, ModelFailure, ModelReply, ModelRequest, RequestedCall
from taskforce.infrastructure.llm.litellm_model import LiteLLMModel
from tests.fixtures.scripted_llm import Reply, ScriptedLLM, empty, hang, status, text, tool_calls
from tests.taskforce.application.runs.conversations import last_messages
from tests.taskforce.application.scenario import Stage


async def test_a_reply_and_its_usage_are_kept_once(stage: Stage, model_step: ModelStep, scripted: ScriptedLLM) -> None:
    run_id = (await stage.accepted()).run_id
    scripted.script([tool_calls([("echo", {"text": "x"}), ("echo", {"text": "y"})], says="Let me see.")])
    first = await model_step.run(ModelStepInput(stage.tenant_id, run_id, step=1, attempt=1))
    again = await model_step.run(ModelStepInput(stage.tenant_id, run_id, step=1, attempt=2))
    assert (first.calls, first.tokens) == (2, 25)
    assert (again.calls, again.tokens) == (2, 25)
    assert len(scripted.requests) == 1
    assert await stage.rows("usage_records", "step, attempt, input_tokens, error_code") == [(1, 1, 20, None)]
    assert [event.type for event in await stage.events(run_id)] == ["run.queued", "step.replied"]
    assert (await stage.run(run_id)).totals.steps == 1


async def test_words_are_heard_in_order_before_the_reply(
    stage: Stage, model_step: ModelStep, scripted: ScriptedLLM
) -> None:
    run_id = (await stage.accepted()).run_id
    ids = [new_id(), new_id()]
    async with stage.database.tenant(stage.tenant_id) as records:
        for word_id, said in zip(ids, ["Hurry.", "Please."], strict=True):
            await records.messages.add(run_id, word_id, "alice", said, stage.now)
    scripted.script([text("Yes.")])
    await model_step.run(ModelStepInput(stage.tenant_id, run_id, step=1, attempt=1, words=tuple(ids)))
    assert [message["content"] for message in last_messages(scripted)][1:] == ["Count.", "Hurry.", "Please."]
    async with stage.database.tenant(stage.tenant_id) as records:
        entries = await records.transcripts.range(run_id, 0, 1)
    assert [(entry.call, entry.text) for entry in entries] == [(-2, "Hurry."), (-1, "Please."), (0, "Yes.")]


async def test_tokens_of_a_cancelled_call_are_wasted_and_recorded(
    stage: Stage, model_step: ModelStep, scripted: ScriptedLLM
) -> None:
    run_id = (await stage.accepted()).run_id
    scripted.script([hang("Let me think about")])
    call = asyncio.create_task(model_step.run(ModelStepInput(stage.tenant_id, run_id, step=1, attempt=1)))
    await scripted.until(lambda it: len(it.requests) == 1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    ((code, tokens),) = await stage.rows("usage_records", "error_code, input_tokens")
    assert (code, int(str(tokens)) > 0) == ("cancelled", True)


async def test_tokens_of_a_failed_attempt_are_wasted_and_recorded(
    stage: Stage, model_step: ModelStep, scripted: ScriptedLLM
) -> None:
    run_id = (await stage.accepted()).run_id
    scripted.script([empty(), empty(), status(401), text("Yes.")])
    with pytest.raises(ModelFailure) as failed:
        await model_step.run(ModelStepInput(stage.tenant_id, run_id, step=1, attempt=1))
    assert failed.value.code == "model_reply_invalid"
    with pytest.raises(ModelFailure):
        await model_step.run(ModelStepInput(stage.tenant_id, run_id, step=1, attempt=2))
    await model_step.run(ModelStepInput(stage.tenant_id, run_id, step=1, attempt=3))
    await stage.lifecycle.total(stage.tenant_id, run_id)
    totals = (await stage.run(run_id)).totals
    assert (totals.wasted_tokens, totals.input_tokens, totals.output_tokens) == (50, 60, 15)
    codes = [event.data["code"] for event in await stage.events(run_id) if event.type == "model.failed"]
    assert codes[0] == "model_reply_invalid"
    assert len(codes) == 2


async def test_failed_attempts_may_use_what_the_runs_row_says_by_now(
    stage: Stage, model_step: ModelStep, scripted: ScriptedLLM
) -> None:
    """The specification that this process has cached is from before somebody was allowed more."""
    run_id = (await stage.accepted(limits=Limits(max_tokens=20))).run_id
    scripted.script([empty(), empty(), text("At last.")])
    with pytest.raises(ModelFailure):
        await model_step.run(ModelStepInput(stage.tenant_id, run_id, step=1, attempt=1))
    with pytest.raises(Conflict, match="used up"):
        await model_step.run(ModelStepInput(stage.tenant_id, run_id, step=1, attempt=2))
    async with stage.database.tenant(stage.tenant_id) as records:
        await records.runs.set_limits(run_id, Limits(max_tokens=1_000))
    assert (await model_step.run(ModelStepInput(stage.tenant_id, run_id, step=1, attempt=3))).calls == 0
    assert scripted.requests[2:]


async def test_the_closing_turn_has_no_tools_and_ends_in_words(
    stage: Stage, model_step: ModelStep, scripted: ScriptedLLM
) -> None:
    run_id = (await stage.accepted()).run_id
    scripted.script([tool_calls([("echo", {"text": "x"})], says="As far as I came.")])
    thought = await model_step.run(ModelStepInput(stage.tenant_id, run_id, step=2, attempt=1, closing=True))
    assert thought.calls == 0
    assert "tools" not in scripted.requests[-1]
    assert last_messages(scripted)[-1]["content"] == CLOSING[StopReason.MAX_STEPS]
    reply = await stage.observed(run_id, 0, 2)
    assert reply is not None
    assert (reply.text, reply.tool_calls) == ("As far as I came.", ())


async def test_whatever_a_model_says_can_be_kept(stage: Stage, model_step: ModelStep, scripted: ScriptedLLM) -> None:
    run_id = (await stage.accepted()).run_id
    scripted.script([tool_calls([("ec\x00ho\ud800", "{\x00")], says="NUL \x00 and half a pair \ud83d.")])
    assert (await model_step.run(ModelStepInput(stage.tenant_id, run_id, step=1, attempt=1))).calls == 1
    reply = await stage.observed(run_id, 0)
    assert reply is not None
    assert "\x00" not in reply.text + reply.tool_calls[0].name + reply.tool_calls[0].arguments
    assert await stage.tool_step.authorize(stage.tenant_id, run_id, 1) == ()


async def test_reasoning_goes_back_to_the_model_with_its_reply(
    stage: Stage, model_step: ModelStep, model: LiteLLMModel, scripted: ScriptedLLM
) -> None:
    run_id = (await stage.accepted()).run_id
    called = {"index": 0, "id": "c1", "function": {"name": "echo", "arguments": '{"text": "x"}'}}
    deltas = [{"reasoning_content": "I "}, {"reasoning_content": "echo."}, {"tool_calls": [called]}]
    chunks = [{"choices": [{"delta": delta}]} for delta in deltas]
    frames = tuple(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks)
    scripted.script([Reply(frames=(*frames, "data: [DONE]\n\n")), text("Done."), text("Done.")])
    await model_step.run(ModelStepInput(stage.tenant_id, run_id, step=1, attempt=1))
    # One process has the step in its memory, another reads it from the table.
    elsewhere = stage.model_step(model)
    for process, step in ((model_step, 2), (elsewhere, 3)):
        await process.run(ModelStepInput(stage.tenant_id, run_id, step=step, attempt=1))
        (asked,) = [message for message in last_messages(scripted) if message.get("tool_calls")]
        assert asked["reasoning_content"] == "I echo."


async def test_words_reach_those_who_watch_with_their_attempt(
    stage: Stage, model_step: ModelStep, scripted: ScriptedLLM
) -> None:
    run_id = (await stage.accepted()).run_id
    scripted.script([text("It is ", "42.")])
    await model_step.run(ModelStepInput(stage.tenant_id, run_id, step=1, attempt=3))
    assert {word[:4] for word in stage.live.words} == {(stage.tenant_id, run_id, 1, 3)}
    assert "".join(word[4] for word in stage.live.words) == "It is 42."


async def test_the_session_so_far_is_told(stage: Stage, model_step: ModelStep, scripted: ScriptedLLM) -> None:
    first = await stage.accepted(mission="One?")
    scripted.script([text("One."), text("Two.")])
    await model_step.run(ModelStepInput(stage.tenant_id, first.run_id, step=1, attempt=1))
    await stage.lifecycle.end(stage.tenant_id, first.run_id, Ending(RunStatus.COMPLETED))
    stage.now = stage.now.replace(minute=1)
    second = await stage.accepted(mission="Two?", session_id=first.session_id)
    await model_step.run(ModelStepInput(stage.tenant_id, second.run_id, step=1, attempt=1))
    assert [message["content"] for message in last_messages(scripted)][1:] == ["One?", "One.", "Two?"]


class Prepared:
    """A model that answers with what it is given, at once, and counts."""

    def __init__(self, *calls: RequestedCall) -> None:
        self.asked = 0
        self.reply = ModelReply("Done.", calls, (ModelCall("some/model", TokenCounts(20, 5), 3),))

    async def complete(self, request: ModelRequest, on_text: Callable[[str], None]) -> ModelReply:
        self.asked += 1
        return self.reply


async def test_a_reply_whose_calls_cannot_be_checked_is_kept_and_checked_apart(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = (await stage.accepted()).run_id
    model = Prepared(RequestedCall("c1", "echo", '{"text": "x"}'))

    def broken(*_: object) -> str | None:
        raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr(stage.tool_call_policy, "_objection", broken)
        thought = await stage.model_step(model).run(ModelStepInput(stage.tenant_id, run_id, step=1, attempt=1))
    assert (thought.calls, thought.allowed) == (1, None)
    assert await stage.rows("usage_records", "attempt, input_tokens, error_code") == [(1, 20, None)]
    assert [one.call for one in await stage.tool_step.authorize(stage.tenant_id, run_id, 1)] == [1]


async def test_what_a_reply_cost_is_recorded_though_the_reply_cannot_be_stored(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = (await stage.accepted()).run_id
    model_step = stage.model_step(Prepared())

    async def fails(*_: object, **__: object) -> ModelStepResult:
        raise Unavailable("database_unavailable", "Gone.")

    monkeypatch.setattr(model_step._replies, "_store_reply", fails)
    with pytest.raises(Unavailable):
        await model_step.run(ModelStepInput(stage.tenant_id, run_id, step=1, attempt=1))
    assert await stage.rows("usage_records", "input_tokens, error_code") == [(20, "reply_not_stored")]
    assert (await stage.run(run_id)).totals.wasted_tokens == 25


async def test_a_cancellation_after_the_reply_loses_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = (await stage.accepted()).run_id
    model_step = stage.model_step(Prepared())
    store = model_step._replies._store_reply

    async def cancelled_meanwhile(
        spec: RunSpec, turn: ModelStepInput, heard: Sequence[Entry], reply: ModelReply, *, held: Reservation
    ) -> ModelStepResult:
        call.cancel()
        return await store(spec, turn, heard, reply, held=held)

    monkeypatch.setattr(model_step._replies, "_store_reply", cancelled_meanwhile)
    call = asyncio.create_task(model_step.run(ModelStepInput(stage.tenant_id, run_id, step=1, attempt=1)))
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await stage.rows("usage_records", "input_tokens, error_code") == [(20, None)]
    assert (await stage.observed(run_id, 0)) is not None


async def test_a_cancellation_stays_one_though_its_cost_cannot_be_recorded(
    stage: Stage, model_step: ModelStep, scripted: ScriptedLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = (await stage.accepted()).run_id
    scripted.script([hang("Let me")])
    call = asyncio.create_task(model_step.run(ModelStepInput(stage.tenant_id, run_id, step=1, attempt=1)))
    await scripted.until(lambda it: len(it.requests) == 1)

    async def fails(*_: object, **__: object) -> None:
        raise Unavailable("database_unavailable", "Gone.")

    monkeypatch.setattr(model_step._replies, "_record_waste", fails)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert call.cancelled()


async def test_a_call_that_was_refused_is_not_permitted_by_a_retry(stage: Stage) -> None:
    run_id = (await stage.accepted()).run_id
    model = Prepared(RequestedCall("c1", "echo", '{"text": "x"}'), RequestedCall("c2", "no_such_tool", "{}"))
    model_step = stage.model_step(model)
    first = await model_step.run(ModelStepInput(stage.tenant_id, run_id, step=1, attempt=1))
    again = await model_step.run(ModelStepInput(stage.tenant_id, run_id, step=1, attempt=2))
    assert [[one.call for one in thought.allowed or ()] for thought in (first, again)] == [[1], [1]]
    assert (model.asked, len(await stage.audited("tool.call"))) == (1, 1)
