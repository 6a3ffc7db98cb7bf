"""Somebody who reaches Temporal and not the gateway tells a run of messages: the messages' rows decide."""

import asyncio
import json

import pytest
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from models.messages.runs import Carried, RunInput, RunPlan
from taskforce.core.domain.ids import new_id
from taskforce.core.domain.runs.run import RunStatus, workflow_id
from taskforce.core.domain.runs.transcript import Entry, EntryKind
from tests.fixtures.missions import Missions
from tests.fixtures.scripted_llm import ScriptedLLM, held, text, tool_calls
from tests.replay.scene_runner import echoes
from workflows.agent_run import AgentRun
from workflows.client.connection import TemporalAddress
from workflows.run_messages import LATE_MESSAGE

pytestmark = pytest.mark.usefixtures("worker")

ASKS = tool_calls([("ask_user", {"question": "Delete the database?"})])


async def forge(missions: Missions, run_id: str, *said: str) -> None:
    await missions.workflow_client.runs.signal(missions.tenant_id, run_id, "add_word", *said)


async def history(temporal: Client, missions: Missions, run_id: str) -> list[HistoryEvent]:
    handle = temporal.get_workflow_handle(workflow_id(missions.tenant_id, run_id))
    return list((await handle.fetch_history()).events)


async def refused(temporal: Client, missions: Missions, run_id: str) -> None:
    """Waits until the run has found no row of what was sent as its question's answer."""
    async with asyncio.timeout(30):
        while True:
            if any(b"unanswered" in event.SerializeToString() for event in await history(temporal, missions, run_id)):
                return
            await asyncio.sleep(0.05)


async def waited_for_late_words(temporal: Client, missions: Missions, run_id: str) -> bool:
    timers = [event.timer_started_event_attributes for event in await history(temporal, missions, run_id)]
    return any(timer.start_to_fire_timeout.ToTimedelta() == LATE_MESSAGE for timer in timers)


async def continued(
    temporal: Client,
    address: TemporalAddress,
    missions: Missions,
    run_id: str,
    *heard: str,
    step: int = 0,
    told: int = 1,
) -> None:
    """Starts a run as one that continues as new after its model has heard messages, and taken so many steps."""
    carried = Carried(part=2, step=step, told=told, told_of=heard)
    plan = RunPlan.of(await missions.spec(run_id))
    start = RunInput(tenant_id=missions.tenant_id, run_id=run_id, carried=carried, plan=plan)
    name = workflow_id(missions.tenant_id, run_id)
    await temporal.start_workflow(AgentRun.run, start, id=name, task_queue=address.task_queue)


async def test_an_id_that_nobody_has_stored_leaves_the_question_open(
    missions: Missions, scripted: ScriptedLLM, temporal: Client
) -> None:
    scripted.script([ASKS, text("Kept.")])
    run_id = await missions.start()
    await missions.event(run_id, "question.asked")
    await forge(missions, run_id, new_id(), "1.1")
    await refused(temporal, missions, run_id)
    run = await missions.run(run_id)
    assert (run.status, [one.question_id for one in run.questions]) == (RunStatus.WAITING, ["1.1"])
    assert (await missions.say(run_id, "No.")).question == "1.1"
    run = await missions.ended(run_id)
    assert ([one.text for one in await missions.observations(run_id)], run.answer) == (["No."], "Kept.")
    assert [one.type for one in await missions.events(run_id)].count("question.asked") == 1
    assert not await waited_for_late_words(temporal, missions, run_id)


async def test_the_answer_of_another_question_answers_its_own_only(
    missions: Missions, scripted: ScriptedLLM, temporal: Client
) -> None:
    asks = [("ask_user", {"question": question}) for question in ("Delete it?", "Which colour?")]
    scripted.script([tool_calls(asks), text("Thanks.")])
    run_id = await missions.start()
    await missions.event(run_id, "question.asked", 2)
    blue = await missions.say(run_id, "Blue.", "1.2")
    await forge(missions, run_id, blue.message_id, "1.1")
    await refused(temporal, missions, run_id)
    await missions.say(run_id, "No.")
    await missions.ended(run_id)
    assert {one.call: one.text for one in await missions.observations(run_id)} == {1: "No.", 2: "Blue."}
    assert not await waited_for_late_words(temporal, missions, run_id)


async def test_an_answer_that_is_stored_counts_whatever_is_signalled_for_it(
    missions: Missions, scripted: ScriptedLLM, temporal: Client
) -> None:
    scripted.script([ASKS, text("Kept.")])
    run_id = await missions.start()
    await missions.event(run_id, "question.asked")
    answer = new_id()
    async with missions.database.tenant(missions.tenant_id) as records:
        await records.messages.add(
            run_id, answer, "alice", "No.", (await missions.spec(run_id)).created_at, question="1.1"
        )
    await forge(missions, run_id, new_id(), "1.1")
    await missions.ended(run_id)
    assert [one.text for one in await missions.observations(run_id)] == ["No."]
    assert not await waited_for_late_words(temporal, missions, run_id)


@pytest.mark.parametrize("named", [("1.1",), ()], ids=["named", "unnamed"])
async def test_what_was_said_before_a_run_continued_as_new_answers_no_later_question(
    missions: Missions,
    scripted: ScriptedLLM,
    temporal: Client,
    temporal_address: TemporalAddress,
    named: tuple[str, ...],
) -> None:
    scripted.script([ASKS, text("Kept.")])
    run_id = await missions.accepted()
    early = await missions.word(run_id, "Yes, and please hurry.")
    await continued(temporal, temporal_address, missions, run_id, early)
    await missions.event(run_id, "question.asked")
    await forge(missions, run_id, early, *named)
    await missions.say(run_id, "No.")
    await missions.ended(run_id)
    assert [one.text for one in await missions.observations(run_id)] == ["No."]


async def test_a_message_of_an_older_gateway_that_is_older_than_the_question_is_heard_and_does_not_answer(
    missions: Missions, scripted: ScriptedLLM, temporal: Client
) -> None:
    asked = asyncio.Event()
    scripted.requests.clear()
    scripted.script([held(ASKS, asked), text("Kept.")])
    run_id = await missions.start()
    await scripted.until(lambda llm: len(llm.requests) == 1, timeout=60)
    early = await missions.word(run_id, "Yes, and please hurry.")
    asked.set()
    await missions.event(run_id, "question.asked")
    await missions.tell(run_id, early)
    await refused(temporal, missions, run_id)
    await missions.say(run_id, "No.")
    await missions.ended(run_id)
    assert [one.text for one in await missions.observations(run_id)] == ["No."]
    assert "Yes, and please hurry." in json.dumps(scripted.requests[-1]["messages"])
    assert not await waited_for_late_words(temporal, missions, run_id)


@pytest.mark.parametrize("replayed", [False, True], ids=["made up", "heard before"])
async def test_a_message_that_is_stored_is_heard_whatever_else_the_run_is_told(
    missions: Missions, scripted: ScriptedLLM, temporal: Client, temporal_address: TemporalAddress, *, replayed: bool
) -> None:
    first, last = asyncio.Event(), asyncio.Event()
    scripted.requests.clear()
    scripted.script([held(echoes("a"), first), held(text("Done."), last), text("Heard.")])
    run_id = await missions.accepted()
    early = await missions.word(run_id, "Hello.")
    await continued(temporal, temporal_address, missions, run_id, early)
    await scripted.until(lambda llm: len(llm.requests) == 1, timeout=60)
    await forge(missions, run_id, early if replayed else new_id(), "")
    first.set()
    await scripted.until(lambda llm: len(llm.requests) == 2, timeout=60)
    stored = await missions.word(run_id, "Stop!")
    last.set()
    await missions.event(run_id, "step.replied", 2)
    await missions.tell(run_id, stored)
    run = await missions.ended(run_id)
    assert run.answer == "Heard."
    assert "Stop!" in json.dumps(scripted.requests[-1]["messages"])


async def test_an_id_that_nobody_has_stored_does_not_delay_the_end(
    missions: Missions, scripted: ScriptedLLM, temporal: Client
) -> None:
    first = asyncio.Event()
    scripted.requests.clear()
    scripted.script([held(echoes("a"), first), text("Done.")])
    run_id = await missions.start()
    await scripted.until(lambda llm: len(llm.requests) == 1, timeout=60)
    await forge(missions, run_id, new_id(), "")
    first.set()
    await missions.ended(run_id)
    assert not await waited_for_late_words(temporal, missions, run_id)


async def asked(scripted: ScriptedLLM, times: int) -> None:
    await scripted.until(lambda llm: len(llm.requests) == times, timeout=60)


def times_heard(scripted: ScriptedLLM, said: str) -> int:
    return json.dumps(scripted.requests[-1]["messages"]).count(said)


async def test_a_message_that_is_sent_again_is_heard_once(
    missions: Missions, scripted: ScriptedLLM, temporal: Client
) -> None:
    held_up = [asyncio.Event() for _ in range(3)]
    scripted.requests.clear()
    scripted.script([*(held(echoes(what), event) for what, event in zip("abc", held_up, strict=True)), text("Done.")])
    run_id = await missions.start()
    await scripted.until(lambda llm: len(llm.requests) == 1, timeout=60)
    said = await missions.say(run_id, "Hurry up.")
    held_up[0].set()
    for step in (2, 3):
        await asked(scripted, step)
        for named in ("", "1.1"):
            await forge(missions, run_id, said.message_id, named)
        held_up[step - 1].set()
    run = await missions.ended(run_id)
    assert (run.answer, times_heard(scripted, "Hurry up.")) == ("Done.", 1)
    assert not await waited_for_late_words(temporal, missions, run_id)


async def test_a_message_that_is_sent_again_long_after_is_heard_once(
    missions: Missions, scripted: ScriptedLLM, temporal: Client, temporal_address: TemporalAddress
) -> None:
    """A run hands the ids of its latest messages to its next part; the transcript knows all of them."""
    held_up = asyncio.Event()
    scripted.requests.clear()
    scripted.script([held(echoes("a"), held_up), text("Done.")])
    run_id = await missions.accepted()
    early = await missions.word(run_id, "Hurry up.")
    at = (await missions.spec(run_id)).created_at
    async with missions.database.tenant(missions.tenant_id) as records:
        heard = Entry(1, -1, EntryKind.WORD, "Hurry up.", at, author_id="alice", word_id=early)
        for entry in (heard, Entry(1, 0, EntryKind.REPLY, "I do.", at)):
            await records.transcripts.append(run_id, entry)
    await continued(temporal, temporal_address, missions, run_id, step=1, told=1)
    await scripted.until(lambda llm: len(llm.requests) == 1, timeout=60)
    await forge(missions, run_id, early, "")
    held_up.set()
    run = await missions.ended(run_id)
    assert (run.answer, times_heard(scripted, "Hurry up.")) == ("Done.", 1)
    assert not await waited_for_late_words(temporal, missions, run_id)


async def test_an_answer_is_not_heard_as_a_message_too(
    missions: Missions, scripted: ScriptedLLM, temporal: Client
) -> None:
    """Whether it is sent again before it answers, or after."""
    asks = [("ask_user", {"question": question}) for question in ("Delete it?", "Which colour?")]
    held_up = asyncio.Event()
    scripted.requests.clear()
    scripted.script([tool_calls(asks), held(echoes("a"), held_up), text("Kept.")])
    run_id = await missions.start()
    await missions.event(run_id, "question.asked", 2)
    early, at = new_id(), (await missions.spec(run_id)).created_at
    async with missions.database.tenant(missions.tenant_id) as records:
        await records.messages.add(run_id, early, "alice", "Never.", at, question="1.2")
    await forge(missions, run_id, early, "")
    await forge(missions, run_id, early, "1.2")
    late = await missions.say(run_id, "Rather not.", "1.1")
    await scripted.until(lambda llm: len(llm.requests) == 2, timeout=60)
    await forge(missions, run_id, late.message_id, "")
    held_up.set()
    run = await missions.ended(run_id)
    observed = {one.call: one.text for one in await missions.observations(run_id) if one.step == 1}
    assert (run.answer, observed) == ("Kept.", {1: "Rather not.", 2: "Never."})
    assert [times_heard(scripted, said) for said in ("Rather not.", "Never.")] == [1, 1]
    assert not await waited_for_late_words(temporal, missions, run_id)
