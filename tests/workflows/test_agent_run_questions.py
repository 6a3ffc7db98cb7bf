"""A run's questions to people: what answers them, and what stays a message."""

import asyncio
import json

import pytest

from taskforce.core.domain.errors import Conflict, Missing
from taskforce.core.domain.runs.questions import Question
from taskforce.core.domain.runs.run import RunStatus
from tests.fixtures.missions import Missions
from tests.fixtures.scripted_llm import Reply, ScriptedLLM, held, text, tool_calls

pytestmark = pytest.mark.usefixtures("worker")


def asks(*questions: str) -> Reply:
    return tool_calls([("ask_user", {"question": question}) for question in questions])


async def test_what_was_said_before_a_question_does_not_answer_it_and_is_heard_as_a_message(
    missions: Missions, scripted: ScriptedLLM
) -> None:
    asked = asyncio.Event()
    scripted.requests.clear()
    scripted.script([held(asks("Delete the production database?"), asked), text("Kept.")])
    run_id = await missions.start()
    await scripted.until(lambda llm: len(llm.requests) == 1, timeout=60)
    early = await missions.say(run_id, "Yes, and please hurry.")
    asked.set()
    await missions.event(run_id, "question.asked")
    assert early.question is None
    assert (await missions.run(run_id)).status is RunStatus.WAITING
    await missions.say(run_id, "No.")
    run = await missions.ended(run_id)
    [answer] = await missions.observations(run_id)
    assert (answer.text, run.answer) == ("No.", "Kept.")
    assert "Yes, and please hurry." in json.dumps(scripted.requests[-1]["messages"])


async def test_of_two_answers_at_once_the_first_answers_the_first_question(
    missions: Missions, scripted: ScriptedLLM
) -> None:
    for _ in range(6):
        scripted.script([asks("Which colour?", "Which size?"), text("Thanks.")])
        run_id = await missions.start()
        await missions.event(run_id, "question.asked", 2)
        first, second = await asyncio.gather(missions.say(run_id, "One."), missions.say(run_id, "Two."))
        run = await missions.ended(run_id)
        answers = {entry.call: entry.text for entry in await missions.observations(run_id)}
        said = {first.question: "One.", second.question: "Two."}
        assert said == {"1.1": answers[1], "1.2": answers[2]}
        assert run.status is RunStatus.COMPLETED


async def test_an_answer_that_names_its_question_goes_there(missions: Missions, scripted: ScriptedLLM) -> None:
    scripted.script([asks("Which colour?", "Which size?"), text("Thanks.")])
    run_id = await missions.start()
    event = await missions.event(run_id, "question.asked", 2)
    assert event.data == {"question_id": "1.2", "step": 1, "call": 2, "text": "Which size?"}
    colour, size = Question("1.1", "Which colour?"), Question("1.2", "Which size?")
    assert (await missions.run(run_id)).questions == (colour, size)
    progress = await missions.workflow_client.runs.progress(missions.tenant_id, run_id)
    assert progress.questions == ("1.1", "1.2")
    await missions.say(run_id, "Large.", "1.2")
    await missions.event(run_id, "tool.finished")
    with pytest.raises(Conflict) as answered:
        await missions.say(run_id, "Small.", "1.2")
    with pytest.raises(Missing) as unknown:
        await missions.say(run_id, "Small.", "1.3")
    assert (answered.value.code, unknown.value.code) == ("question_answered", "question_not_found")
    await missions.say(run_id, "Blue.")
    run = await missions.ended(run_id)
    answers = {entry.call: entry.text for entry in await missions.observations(run_id)}
    assert answers == {1: "Blue.", 2: "Large."}
    assert (run.questions, run.waiting_for) == ((), None)


async def test_a_message_answers_one_question_however_often_the_run_is_told(
    missions: Missions, scripted: ScriptedLLM
) -> None:
    scripted.script([asks("Which colour?"), asks("Which size?"), text("Thanks.")])
    run_id = await missions.start()
    await missions.event(run_id, "question.asked")
    blue = await missions.say(run_id, "Blue.")
    await missions.event(run_id, "question.asked", 2)
    again = (blue.message_id, "1.1")
    await missions.workflow_client.runs.signal(missions.tenant_id, run_id, "add_word", *again)
    await missions.tell(run_id, blue.message_id)
    await missions.say(run_id, "Large.")
    await missions.ended(run_id)
    assert [entry.text for entry in await missions.observations(run_id)] == ["Blue.", "Large."]


async def test_an_older_gateway_does_not_say_which_question_is_answered(
    missions: Missions, scripted: ScriptedLLM
) -> None:
    scripted.script([asks("Which colour?"), text("Thanks.")])
    run_id = await missions.start()
    await missions.event(run_id, "question.asked")
    await missions.tell(run_id, await missions.word(run_id, "Blue."))
    await missions.ended(run_id)
    assert [entry.text for entry in await missions.observations(run_id)] == ["Blue."]
