"""What was just said is not read again, and is exactly what would be read."""

from collections.abc import Callable

import pytest

from taskforce.application.runs.model_turn import ModelStepInput
from taskforce.application.runs.step_cache import Conversations
from taskforce.application.runs.tool_step import ToolStep
from taskforce.core.domain.ids import new_id
from taskforce.core.domain.metering.tokens import TokenCounts
from taskforce.core.domain.runs.transcript import CallStatus, Entry, EntryKind
from taskforce.core.interfaces.llm import ChatMessage, ModelCall, ModelReply, ModelRequest, RequestedCall
from taskforce.infrastructure.net.guarded_http import GuardedHttp
from taskforce.infrastructure.persistence.database import Database
from taskforce.infrastructure.persistence.repositories.transcripts import TranscriptRepository
from tests.taskforce.application.scenario import NOW, TOOLS, Stage
from tests.taskforce.infrastructure.persistence.factories import NASTY

SPENT = ModelCall("openai/scripted", TokenCounts(20, 5), 1)
REPLY = Entry(1, 0, EntryKind.REPLY, "Let me see.", NOW, tool_calls=(RequestedCall("c1", "echo", "{}"),))
TOLD = Entry(1, 1, EntryKind.OBSERVATION, "x", NOW, tool="echo", tool_call_id="c1", status=CallStatus.SUCCEEDED)
WORD = Entry(1, -1, EntryKind.WORD, "Hurry.", NOW, author_id="alice")


class Asked:
    """A model that keeps what it is asked, and answers with calls."""

    def __init__(self, *calls: RequestedCall) -> None:
        self.messages: list[tuple[ChatMessage, ...]] = []
        self.calls = calls

    async def complete(self, request: ModelRequest, on_text: Callable[[str], None]) -> ModelReply:
        self.messages.append(request.messages)
        return ModelReply(f"{NASTY} {len(self.messages)}", self.calls, (SPENT,))


class Watched(Conversations):
    """Keeps what it hands out."""

    handed: tuple[Entry, ...] | None = None

    def whole(self, tenant_id: str, run_id: str, step: int) -> tuple[Entry, ...] | None:
        self.handed = super().whole(tenant_id, run_id, step)
        return self.handed


def tool_step(stage: Stage, said: Conversations) -> ToolStep:
    return ToolStep(
        stage.database,
        stage.run_cache,
        stage.tool_call_policy,
        tools=TOOLS,
        http=GuardedHttp(),
        live=stage.live,
        clock=stage.clock,
        prices=stage.prices,
        budgets=stage.budgets,
        conversations=said,
    )


async def test_the_next_step_reads_nothing_and_shows_the_model_what_a_fresh_process_would_read(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, word_id = (await stage.accepted()).run_id, new_id()
    async with stage.database.tenant(stage.tenant_id) as records:
        await records.messages.add(run_id, word_id, "alice", NASTY, stage.now)
    said = Watched(stage.database)
    kept = Asked(RequestedCall("c1", "echo", '{"text": "x"}'), RequestedCall("c2", NASTY, "{}"))
    here = stage.model_step(kept, said)
    await here.run(ModelStepInput(stage.tenant_id, run_id, step=1, attempt=1, words=(word_id,)))
    await tool_step(stage, said).run(stage.ref(run_id), 1, (), None)

    with monkeypatch.context() as patched:
        patched.delattr(TranscriptRepository, "latest")
        await here.run(ModelStepInput(stage.tenant_id, run_id, step=2, attempt=1))

    fresh = Asked()
    await stage.model_step(fresh).run(ModelStepInput(stage.tenant_id, run_id, step=2, attempt=1))
    assert fresh.messages == []
    async with stage.database.tenant(stage.tenant_id) as records:
        read = await records.transcripts.latest(run_id, 0, 100)
    assert [(one.step, one.call) for one in read[:5]] == [(0, 0), (1, -1), (1, 0), (1, 1), (1, 2)]
    assert said.handed == tuple(read[1:5])
    assert [message.role for message in kept.messages[-1]] == ["system", "user", "user", "assistant", "tool", "tool"]


async def test_of_two_attempts_that_both_get_a_reply_the_first_counts_and_both_are_paid_for(stage: Stage) -> None:
    run_id = (await stage.accepted()).run_id
    first = stage.model_step(Asked(RequestedCall("c1", "echo", '{"text": "x"}')))

    class Late(Asked):
        async def complete(self, request: ModelRequest, on_text: Callable[[str], None]) -> ModelReply:
            await first.run(ModelStepInput(stage.tenant_id, run_id, step=1, attempt=1))
            return await super().complete(request, on_text)

    late = await stage.model_step(Late()).run(ModelStepInput(stage.tenant_id, run_id, step=1, attempt=2))
    assert [one.call for one in late.allowed or ()] == [1]
    assert (late.calls, late.tokens) == (1, 50)
    assert await stage.rows("usage_records ORDER BY attempt", "attempt, input_tokens") == [(1, 20), (2, 20)]
    assert [event.type for event in await stage.events(run_id)] == ["run.queued", "step.replied"]


async def test_of_two_outcomes_of_a_call_the_model_is_told_the_first(stage: Stage) -> None:
    run_id = await stage.asked(("echo", {"text": "x"}))
    await stage.tool_step.run(stage.ref(run_id), 1, (), None)
    await tool_step(stage, Conversations(stage.database)).run(stage.ref(run_id), 1, (), None)
    assert len(await stage.audited("tool.call")) == 1
    assert await stage.rows("usage_records", "attempt, tool") == [(1, "echo")]


def test_a_step_is_whole_only_with_its_opening_and_every_observation(database: Database) -> None:
    said = Conversations(database)
    said.observed("t", "r", [TOLD])
    assert said.whole("t", "r", 1) is None
    said.opened("t", "r", [WORD], REPLY)
    assert said.whole("t", "r", 1) is None
    said.observed("t", "r", [TOLD])
    assert said.whole("other", "r", 1) is None
    assert said.whole("t", "r", 1) == (WORD, REPLY, TOLD)


def test_a_step_is_handed_out_once_for_who_comes_to_it_again_must_look_what_follows(database: Database) -> None:
    said = Conversations(database)
    said.opened("t", "r", [WORD], REPLY)
    said.observed("t", "r", [TOLD])
    assert said.whole("t", "r", 1) is not None
    assert said.whole("t", "r", 1) is None


async def test_a_reply_that_was_read_does_not_make_a_step_whole(stage: Stage) -> None:
    run_id = await stage.asked(("echo", {"text": "x"}))
    said = Conversations(stage.database)
    await tool_step(stage, said).run(stage.ref(run_id), 1, (), None)
    assert said.whole(stage.tenant_id, run_id, 1) is None
