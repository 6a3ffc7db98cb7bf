"""Words for a run that is under way, and its cancellation."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from taskforce.application.runs.control import ControlPorts, MessageDraft, mark, request_cancellation, send_message
from taskforce.application.runs.lifecycle import settle
from taskforce.application.runs.model_turn import ModelStepInput
from taskforce.core.domain.errors import Conflict, Forbidden, Invalid
from taskforce.core.domain.metering.tokens import TokenCounts
from taskforce.core.domain.runs.run import Ending, RunStatus, StopReason
from taskforce.core.interfaces.due_rows import DueKind
from taskforce.core.interfaces.llm import ModelCall, ModelReply, ModelRequest
from tests.fixtures.missions import NoWorkflows
from tests.taskforce.application.scenario import Stage


class Cancelling:
    """A model that answers in the moment in which somebody cancels the run."""

    def __init__(self, stage: Stage, run_id: str) -> None:
        self._stage, self._run_id = stage, run_id

    async def complete(self, request: ModelRequest, on_text: Callable[[str], None]) -> ModelReply:
        await cancelled(self._stage, self._run_id)
        return ModelReply("Done.", (), (ModelCall("some/model", TokenCounts(20, 5), 3),))


async def cancelled(stage: Stage, run_id: str) -> None:
    ports = ControlPorts(stage.database, NoWorkflows(), stage.lifecycle)
    await request_cancellation(ports, stage.acting(), await stage.run(run_id))


async def test_words_are_their_runs_owners_alone(stage: Stage) -> None:
    run = await stage.run((await stage.accepted()).run_id)
    await stage.person("bob", "admin")
    with pytest.raises(Forbidden) as refused:
        await send_message(stage.database, stage.acting("bob"), run, MessageDraft("Pay me.", "k"))
    assert refused.value.code == "not_your_run"
    assert await stage.audited("run.message") == []
    assert (await send_message(stage.database, stage.acting(), run, MessageDraft("Go on.", "k"))).is_unsignalled


async def test_a_word_with_a_key_is_kept_once(stage: Stage) -> None:
    run = await stage.run((await stage.accepted()).run_id)
    first = await send_message(stage.database, stage.acting(), run, MessageDraft("Go on.", "k"))
    again = await send_message(stage.database, stage.acting(), run, MessageDraft("Go on.", "k"))
    assert (again.message_id, again.replayed, again.is_unsignalled) == (first.message_id, True, True)
    assert len(await stage.audited("run.message")) == 1
    with pytest.raises(Invalid) as reused:
        await send_message(stage.database, stage.acting(), run, MessageDraft("Stop.", "k"))
    assert reused.value.code == "idempotency_key_reused"


async def test_a_key_belongs_to_what_it_was_used_for(stage: Stage) -> None:
    run = await stage.run((await stage.accepted(idempotency_key="k")).run_id)
    other = await stage.run((await stage.accepted()).run_id)
    words = [
        await send_message(stage.database, stage.acting(), one, MessageDraft("Go on.", "k")) for one in (run, other)
    ]
    assert [word.replayed for word in words] == [False, False]


async def test_words_without_a_key_are_all_kept(stage: Stage) -> None:
    run = await stage.run((await stage.accepted()).run_id)
    words = [await send_message(stage.database, stage.acting(), run, MessageDraft("Go on.")) for _ in range(2)]
    assert words[0].message_id != words[1].message_id


async def test_a_run_that_has_ended_since_it_was_looked_at_takes_no_word(stage: Stage) -> None:
    run = await stage.run((await stage.accepted()).run_id)
    await stage.lifecycle.end(stage.tenant_id, run.spec.run_id, Ending(RunStatus.COMPLETED))
    with pytest.raises(Conflict) as refused:
        await send_message(stage.database, stage.acting(), run, MessageDraft("Wait."))
    assert refused.value.code == "run_finished"
    assert await stage.rows("run_words", "text") == []


async def test_a_run_that_is_to_be_cancelled_takes_no_message_and_is_not_paused(stage: Stage) -> None:
    run = await stage.run((await stage.accepted()).run_id)
    said = await send_message(stage.database, stage.acting(), run, MessageDraft("Go on.", "k"))
    await cancelled(stage, run.spec.run_id)
    with pytest.raises(Conflict) as message:
        await send_message(stage.database, stage.acting(), run, MessageDraft("Wait."))
    with pytest.raises(Conflict) as pause:
        await mark(stage.database, stage.acting(), await stage.run(run.spec.run_id), "run.pause")
    assert (message.value.code, pause.value.code) == ("run_cancelled", "run_cancelled")
    repeated = await send_message(stage.database, stage.acting(), run, MessageDraft("Go on.", "k"))
    assert (repeated.message_id, repeated.replayed) == (said.message_id, True)
    assert await stage.rows("run_words", "text") == [("Go on.",)]
    assert await stage.audited("run.pause") == []


async def test_a_cancellation_is_kept_for_the_sweeper_where_temporal_does_not_answer(stage: Stage) -> None:
    run_id = (await stage.accepted()).run_id
    await cancelled(stage, run_id)
    stage.now += timedelta(minutes=1)
    await cancelled(stage, run_id)
    late = await stage.database.due_among(DueKind.RUN_CANCELLATION, stage.now, [stage.tenant_id])
    assert late == [stage.tenant_id]
    assert len(await stage.audited("run.cancel")) == 2


async def test_no_step_of_a_cancelled_run_begins_whatever_the_workflow_knows(stage: Stage) -> None:
    run_id = await stage.asked(("echo_slowly", {"text": "x"}))
    await cancelled(stage, run_id)
    with pytest.raises(Conflict) as tool:
        await stage.tool_step.run(stage.ref(run_id), 1, (), None)
    with pytest.raises(Conflict) as model:
        await stage.model_step(Cancelling(stage, run_id)).run(
            ModelStepInput(stage.tenant_id, run_id, step=2, attempt=1)
        )
    assert (tool.value.code, model.value.code) == ("run_cancelled", "run_cancelled")
    assert await stage.observed(run_id) is None


async def test_an_answer_that_comes_after_the_cancellation_does_not_complete_the_run(stage: Stage) -> None:
    run_id = (await stage.accepted()).run_id
    step = stage.model_step(Cancelling(stage, run_id))
    replied = await step.run(ModelStepInput(stage.tenant_id, run_id, step=1, attempt=1, told=0))
    assert not replied.ended
    assert not (await stage.run(run_id)).status.is_final


@pytest.mark.parametrize(
    "ending",
    [
        Ending(RunStatus.INCOMPLETE, StopReason.MAX_TOKENS),
        Ending(RunStatus.FAILED, error_code="user_deactivated", error_message="This user is deactivated."),
        Ending(RunStatus.COMPLETED),
    ],
    ids=str,
)
async def test_whatever_ends_a_run_that_was_promised_to_be_cancelled_it_ends_cancelled(
    stage: Stage, ending: Ending
) -> None:
    run_id = await stage.asked(("echo", {"text": "x"}))
    await cancelled(stage, run_id)
    assert await stage.lifecycle.end(stage.tenant_id, run_id, ending) is RunStatus.CANCELLED
    # As a retry whose first result was lost asks for it.
    assert await stage.lifecycle.end(stage.tenant_id, run_id, ending) is RunStatus.CANCELLED
    run = await stage.run(run_id)
    assert (run.status, run.stop_reason, run.error_code, run.error_message, run.answer) == (
        RunStatus.CANCELLED,
        None,
        None,
        None,
        None,
    )
    [finished] = [event.data for event in await stage.events(run_id) if event.type == "run.finished"]
    assert (finished["status"], finished["error_code"]) == ("cancelled", None)
    assert [row[1:] for row in await stage.audited("run.end")] == [("cancelled", None)]


async def test_a_closing_reply_that_comes_after_the_cancellation_does_not_end_the_run(stage: Stage) -> None:
    run_id = (await stage.accepted()).run_id
    step = stage.model_step(Cancelling(stage, run_id))
    turn = ModelStepInput(stage.tenant_id, run_id, step=1, attempt=1, told=0, closing=True)
    assert not (await step.run(turn)).ended
    assert not (await stage.run(run_id)).status.is_final
    await stage.lifecycle.end(stage.tenant_id, run_id, Ending(RunStatus.INCOMPLETE, StopReason.MAX_STEPS))
    assert (await stage.run(run_id)).status is RunStatus.CANCELLED


async def test_a_run_that_has_ended_since_it_was_looked_at_stays_so_and_is_not_promised_to_be_cancelled(
    stage: Stage,
) -> None:
    run_id = (await stage.accepted()).run_id
    run = await stage.run(run_id)
    await stage.lifecycle.end(stage.tenant_id, run_id, Ending(RunStatus.COMPLETED))
    with pytest.raises(Conflict) as refused:
        await request_cancellation(ControlPorts(stage.database, NoWorkflows(), stage.lifecycle), stage.acting(), run)
    assert refused.value.code == "run_finished"
    assert (await stage.run(run_id)).status is RunStatus.COMPLETED
    assert await stage.audited("run.cancel") == []


async def test_a_run_to_be_cancelled_whose_workflow_is_gone_is_settled_as_cancelled(stage: Stage) -> None:
    marked, other = (await stage.accepted()).run_id, (await stage.accepted()).run_id
    await cancelled(stage, marked)
    for run_id in (marked, other):
        await settle(stage.lifecycle, stage.tenant_id, run_id)
    ended = [await stage.run(run_id) for run_id in (marked, other)]
    assert [(run.status, run.error_code) for run in ended] == [
        (RunStatus.CANCELLED, None),
        (RunStatus.FAILED, "run_terminated"),
    ]
