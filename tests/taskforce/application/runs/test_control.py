"""Words for a run that is under way."""

import pytest

from taskforce.application.runs.control import MessageDraft, send_message
from taskforce.core.domain.errors import Conflict, Forbidden, Invalid
from taskforce.core.domain.runs.run import Ending, RunStatus
from tests.taskforce.application.scenario import Stage


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
