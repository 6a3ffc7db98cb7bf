"""The rows of messages say which of them answers a question; what is signalled past the gateway answers nothing."""

from datetime import timedelta

from taskforce.application.runs.answers import answer_to
from taskforce.application.runs.tool_calls import CallRef
from taskforce.core.domain.ids import new_id
from taskforce.core.domain.runs.questions import question_id
from tests.taskforce.application.scenario import Stage


async def question(stage: Stage) -> CallRef:
    return stage.ref(await stage.asked(("echo", {"text": "Really?"})))


async def message(stage: Stage, ref: CallRef, names: CallRef | None = None) -> str:
    """A stored message; it names the question of a call, or none, as those of gateways before 2026-12."""
    word_id = new_id()
    answers = None if names is None else question_id(names.step, names.call)
    async with stage.database.tenant(stage.tenant_id) as records:
        await records.messages.add(ref.run_id, word_id, "alice", "Yes.", stage.now, question=answers)
    return word_id


async def answer(stage: Stage, ref: CallRef, *sent: str, by_row: bool = True, minutes_ago: int = 0) -> tuple[str, ...]:
    asked_at = stage.now - timedelta(minutes=minutes_ago)
    async with stage.database.reading(stage.tenant_id) as records:
        return await answer_to(records, ref, sent, asked_at, by_row=by_row)


async def test_the_message_that_names_the_question_answers_it_whatever_was_signalled(stage: Stage) -> None:
    ref = await question(stage)
    named, other = await message(stage, ref, names=ref), await message(stage, ref)
    assert await answer(stage, ref) == (named,)
    assert await answer(stage, ref, other) == (named,)


async def test_nothing_answers_where_nobody_has_said_anything(stage: Stage) -> None:
    ref = await question(stage)
    assert await answer(stage, ref) == ()
    assert await answer(stage, ref, new_id()) == ()


async def test_a_message_without_a_question_answers_only_when_it_came_after_the_question(stage: Stage) -> None:
    ref = await question(stage)
    before = await message(stage, ref)
    stage.now += timedelta(minutes=2)
    assert await answer(stage, ref, before, minutes_ago=1) == ()
    after = await message(stage, ref)
    assert await answer(stage, ref, before, after, minutes_ago=1) == (after,)


async def test_a_message_that_names_another_question_does_not_answer_this_one(stage: Stage) -> None:
    ref = await question(stage)
    elsewhere = await message(stage, ref, names=CallRef(ref.tenant_id, ref.run_id, ref.step, ref.call + 1))
    assert await answer(stage, ref, elsewhere) == ()


async def test_runs_from_before_take_all_that_was_signalled(stage: Stage) -> None:
    ref = await question(stage)
    sent = [await message(stage, ref) for _ in range(2)]
    stage.now += timedelta(minutes=2)
    assert set(await answer(stage, ref, *sent, by_row=False)) == set(sent)
