"""Messages that were stored, and of which nobody told the run: their sender died between the commit and the signal."""

from datetime import datetime, timedelta

from taskforce.application.runs.control import MessageDraft, send_message
from taskforce.core.interfaces.clock import utc_now
from tests.chaos.invariants import eventually
from tests.fixtures.actors import acting
from tests.fixtures.isolated_sweeps import Alone, sweeps
from tests.fixtures.missions import Missions, now
from tests.fixtures.scripted_llm import ScriptedLLM, text, tool_calls
from worker import WorkerParts
from workflows.client.recovery import LATE


def soon() -> datetime:
    """A clock for which what was committed just now is late."""
    return utc_now() + LATE + timedelta(seconds=1)


async def store(missions: Missions, run_id: str, said: str) -> str:
    """Stores a message as a gateway that dies before it signals the run."""
    draft, alice = MessageDraft(said), acting(missions.tenant_id, "alice", now())
    return (await send_message(missions.database, alice, await missions.run(run_id), draft)).message_id


async def is_untold(missions: Missions, message_id: str) -> bool:
    async with missions.database.tenant(missions.tenant_id) as records:
        return await records.messages.untold(message_id) is not None


async def test_a_message_that_nobody_signals_is_heard_before_the_run_ends(
    missions: Missions, scripted: ScriptedLLM, worker: WorkerParts
) -> None:
    del worker
    scripted.script([text("Done."), text("Both done.")])
    run_id = await missions.accepted()
    await missions.word(run_id, "Both?")
    await missions.workflow_client.runs.start(await missions.spec(run_id))
    assert (await missions.ended(run_id)).answer == "Both done."


async def test_an_answer_that_nobody_signals_reaches_its_question_by_a_sweep(
    missions: Missions, scripted: ScriptedLLM, worker: WorkerParts
) -> None:
    scripted.script([tool_calls([("ask_user", {"question": "Which colour?"})]), text("Painted.")])
    run_id = await missions.start()
    await missions.event(run_id, "question.asked")
    message_id = await store(missions, run_id, "Green.")
    mine = Alone(missions.database, missions.tenant_id)
    async with (
        sweeps(mine, missions.workflow_client, worker.live, soon),
        sweeps(mine, missions.workflow_client, worker.live, soon),
    ):
        run = await missions.ended(run_id)
    assert run.answer == "Painted."
    assert [one.text for one in await missions.observations(run_id)] == ["Green."]
    assert not await is_untold(missions, message_id)


async def test_a_message_to_a_run_that_has_ended_is_swept_once(
    missions: Missions, scripted: ScriptedLLM, worker: WorkerParts
) -> None:
    scripted.script([text("Done.")])
    run_id = await missions.start()
    await missions.ended(run_id)
    message_id = await missions.word(run_id, "Too late.")

    async def told() -> bool:
        return not await is_untold(missions, message_id)

    async with sweeps(Alone(missions.database, missions.tenant_id), missions.workflow_client, worker.live, soon):
        await eventually(told)
    assert (await missions.run(run_id)).answer == "Done."
