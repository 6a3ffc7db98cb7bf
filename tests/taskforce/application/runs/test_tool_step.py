"""Tool calls. Whatever the model asks for is checked as if an attacker wrote it."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
import structlog

from taskforce.core.domain.approvals.approval import ApprovalStatus
from taskforce.core.domain.errors import Missing
from taskforce.core.domain.ids import effect_id, new_id
from taskforce.core.domain.runs.run import Ending, RunStatus
from taskforce.core.domain.runs.todo import TodoList
from taskforce.core.domain.runs.transcript import CallStatus
from tests.fixtures.probe_tools import EFFECTS
from tests.taskforce.application.scenario import AGENT, CLAIMS_AGE, Call, Stage

PAY: Call = ("pay", {"amount": 3})


async def allowed(stage: Stage, run_id: str) -> list[int]:
    return [one.call for one in await stage.tool_step.authorize(stage.tenant_id, run_id, 1)]


async def approved(stage: Stage, run_id: str, status: ApprovalStatus = ApprovalStatus.APPROVED, call: int = 1) -> str:
    """Opens the request for a call and ends it."""
    request_id = new_id()
    await stage.decisions.open_call(stage.ref(run_id, call), request_id)
    if status is ApprovalStatus.APPROVED:
        await stage.approve(request_id)
    elif status is not ApprovalStatus.PENDING:
        await stage.decisions.close(stage.tenant_id, request_id, status, "said so")
    return request_id


async def test_sound_calls_go_on_each_in_its_own_way(stage: Stage) -> None:
    run_id = await stage.asked(
        ("echo", {"text": "x"}), ("echo_slowly", {"text": "x"}), PAY, agent=replace(AGENT, require_approval=("echo",))
    )
    permits = await stage.tool_step.authorize(stage.tenant_id, run_id, 1)
    assert [(one.call, one.tool_spec.quick, one.approval) for one in permits] == [
        (1, True, True),
        (2, False, False),
        (3, False, True),
    ]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (("no_such_tool", {}), "There is no tool named 'no_such_tool'"),
        (("e\x00cho\ud800", {}), "There is no tool named"),
        (("x" * 100_000, {}), "There is no tool named"),
        (("echo", '{"text": '), "The arguments are not valid JSON"),
        (("echo", "[]"), "The arguments must be one JSON object"),
        (("echo", '{"text": NaN}'), "The arguments are not valid JSON"),
        (("pay", '{"amount": 1e999}'), "The arguments must not be nested"),
        (("echo", '{"text": ' + "[" * 900 + "]" * 900 + "}"), "The arguments must not be nested"),
        (("echo", '{"text": ' + "[" * 90_000), "The arguments are not valid JSON"),
        (("echo", {"text": 3}), "The arguments do not fit"),
        (("echo", {"text": "x", "tenant_id": "other"}), "The arguments do not fit"),
        (("echo", ""), "The arguments do not fit"),
    ],
)
async def test_what_is_wrong_is_told_to_the_model_at_once(stage: Stage, call: Call, says: str) -> None:
    run_id = await stage.asked(call, ("echo", {"text": "fine"}))
    assert await allowed(stage, run_id) == [2]
    observed = await stage.observed(run_id)
    assert observed is not None
    assert observed.status is CallStatus.REFUSED
    assert observed.text.startswith(says)
    assert len(observed.text) < 2_000
    assert [row[1] for row in await stage.audited("tool.call")] == ["denied"]
    assert (stage.tenant_id, run_id) in stage.live.told


async def test_a_refusal_is_told_once(stage: Stage) -> None:
    run_id = await stage.asked(("no_such_tool", {}))
    for _ in range(3):
        assert await allowed(stage, run_id) == []
    assert [event.type for event in await stage.events(run_id)] == ["run.queued", "tool.finished"]
    assert len(await stage.audited("tool.call")) == 1


async def test_a_step_has_at_most_so_many_calls(stage: Stage) -> None:
    most = AGENT.loop.max_calls_per_reply
    run_id = await stage.asked(*[("echo", {"text": "x"})] * (most + 2))
    assert await allowed(stage, run_id) == list(range(1, most + 1))
    assert (await stage.told(run_id, most + 1)).startswith(f"Refused: you asked for {most + 2} tool calls at once")


async def test_a_tool_outside_the_agents_list_does_not_exist_for_it(stage: Stage) -> None:
    run_id = await stage.asked(("pay", {"amount": 3}), agent=replace(AGENT, tools=("echo",)))
    assert await allowed(stage, run_id) == []
    assert await stage.told(run_id) == "There is no tool named 'pay'. Tools: echo."


@pytest.mark.parametrize("call", [PAY, ("no_such_tool", {}), ("echo", '{"text": 3}'), ("echo", "[")])
async def test_a_call_that_was_never_permitted_is_refused_where_it_would_happen(stage: Stage, call: Call) -> None:
    """Whatever the workflow believes: the check stands before the effect."""
    run_id = await stage.asked(call, agent=replace(AGENT, tools=("echo",)))
    outcome = await stage.tool_step.run(stage.ref(run_id), 1, (), None)
    assert outcome.status is CallStatus.REFUSED
    assert EFFECTS[f"{run_id}/1/1"] == 0


async def test_a_user_without_the_right_to_run_tools_lends_none(stage: Stage) -> None:
    run_id = await stage.asked(("echo", {"text": "x"}))
    stage.now += timedelta(seconds=1)
    await stage.person("alice", "viewer")
    assert await allowed(stage, run_id) == []
    assert await stage.told(run_id) == "Refused: This needs the permission tool:execute."


async def test_rights_are_read_anew_at_the_moment_of_the_effect(stage: Stage) -> None:
    run_id = await stage.asked(("echo", {"text": "x"}), ("echo", {"text": "y"}))
    assert await allowed(stage, run_id) == [1, 2]
    stage.now += CLAIMS_AGE + timedelta(seconds=1)
    assert (await stage.tool_step.run(stage.ref(run_id, 1), 1, (), None)).status is CallStatus.REFUSED
    await stage.person("alice", "operator")
    await stage.deactivate("alice")
    assert (await stage.tool_step.run(stage.ref(run_id, 2), 1, (), None)).status is CallStatus.REFUSED
    assert EFFECTS[f"{run_id}/1/1"] + EFFECTS[f"{run_id}/1/2"] == 0


async def test_a_result_its_usage_and_its_milestone_are_kept_once(stage: Stage) -> None:
    run_id = await stage.asked(("echo", {"text": "x"}))
    for attempt in (1, 2, 3):
        assert (await stage.tool_step.run(stage.ref(run_id), attempt, (), None)).status is CallStatus.SUCCEEDED
    assert EFFECTS[f"{run_id}/1/1"] == 1
    assert await stage.told(run_id) == "x"
    assert await stage.rows("usage_records", "tool, attempt") == [("echo", 1)]
    assert [event.type for event in await stage.events(run_id)] == ["run.queued", "tool.finished"]
    assert await stage.audited("tool.call") == [("agent:assistant", "allowed", None)]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (("stumble", {"text": "ouch"}), "The tool failed: RuntimeError: ouch"),
        (("stumble", {"text": "\x00\ud800"}), "The tool failed: RuntimeError: "),
        (("dawdle", {}), "The tool"),
    ],
)
async def test_a_failing_tool_is_an_observation(stage: Stage, call: Call, says: str) -> None:
    run_id = await stage.asked(call)
    assert (await stage.tool_step.run(stage.ref(run_id), 1, (), None)).status is CallStatus.FAILED
    assert (await stage.told(run_id)).startswith(says)


async def test_any_text_goes_through_a_tool(stage: Stage) -> None:
    run_id = await stage.asked(("echo", {"text": "a\x00b\ud800c"}))
    assert await allowed(stage, run_id) == [1]
    await stage.tool_step.run(stage.ref(run_id), 1, (), None)
    assert await stage.told(run_id) == "a\ufffdb?c"


async def test_a_large_result_is_kept_whole(stage: Stage) -> None:
    run_id = await stage.asked(("recite", {"size": 3_000_000}))
    await stage.tool_step.run(stage.ref(run_id), 1, (), None)
    observed = await stage.observed(run_id)
    assert observed is not None
    assert observed.whole_size == 3_000_000
    assert await stage.rows("run_results", "length(content)") == [(3_000_000,)]


@pytest.mark.parametrize("item", [{"text": "count", "status": "done"}, {"text": "count"}])
async def test_a_retry_finds_the_plan_that_was_written(stage: Stage, item: dict[str, str]) -> None:
    run_id = await stage.asked(("todo_write", {"items": [item]}))
    first = await stage.tool_step.run(stage.ref(run_id), 1, (), None)
    again = await stage.tool_step.run(stage.ref(run_id), 2, (), None)
    assert first == again
    assert again.todo == TodoList.of([("count", item.get("status", "pending"))])


async def test_an_effect_that_may_have_happened_is_not_repeated(stage: Stage) -> None:
    run_id = await stage.asked(PAY)
    request_id = await approved(stage, run_id)
    async with stage.database.tenant(stage.tenant_id) as records:
        await records.effects.begin(run_id, 1, 1, "pay", stage.now)
    assert (await stage.tool_step.run(stage.ref(run_id), 2, (), request_id)).status is CallStatus.UNKNOWN
    assert "may or may not" in await stage.told(run_id)
    assert EFFECTS[f"{run_id}/1/1"] == 0


async def test_an_approved_call_happens(stage: Stage) -> None:
    run_id = await stage.asked(PAY)
    outcome = await stage.tool_step.run(stage.ref(run_id), 1, (), await approved(stage, run_id))
    assert (outcome.status, await stage.told(run_id)) == (CallStatus.SUCCEEDED, "paid 3")


async def refused(stage: Stage, run_id: str, request_id: str | None, call: int = 1) -> bool:
    outcome = await stage.tool_step.run(stage.ref(run_id, call), 1, (), request_id)
    assert EFFECTS[f"{run_id}/1/{call}"] == 0
    expected = "Refused: this call has no approval for exactly these arguments."
    return outcome.status is CallStatus.REFUSED and await stage.told(run_id, call) == expected


async def test_no_approval_no_effect(stage: Stage) -> None:
    assert await refused(stage, await stage.asked(PAY), None)
    assert await refused(stage, await stage.asked(PAY), new_id())


@pytest.mark.parametrize("status", [one for one in ApprovalStatus if one is not ApprovalStatus.APPROVED])
async def test_only_an_approved_request_counts(stage: Stage, status: ApprovalStatus) -> None:
    run_id = await stage.asked(PAY)
    assert await refused(stage, run_id, await approved(stage, run_id, status))


async def test_an_approval_of_other_arguments_is_none(stage: Stage) -> None:
    run_id = await stage.asked(PAY, ("pay", {"amount": 3_000}))
    assert await refused(stage, run_id, await approved(stage, run_id, call=1), call=2)


async def test_one_approval_is_good_for_one_effect(stage: Stage) -> None:
    """The same arguments in another call, or in another run, need a word of their own."""
    run_id = await stage.asked(PAY, PAY)
    request_id = await approved(stage, run_id)
    assert await refused(stage, run_id, request_id, call=2)
    assert await refused(stage, await stage.asked(PAY), request_id)


async def test_an_approval_of_another_tenant_is_none(stage: Stage) -> None:
    other = Stage(stage.database, f"{stage.tenant_id}-b")
    theirs = await other.asked(PAY)
    assert await refused(stage, await stage.asked(PAY), await approved(other, theirs))


async def test_an_approval_whose_content_was_changed_is_none(stage: Stage) -> None:
    run_id = await stage.asked(PAY)
    request_id = await approved(stage, run_id)
    await stage.rows("runs", "run_id")
    async with stage.database.tenant(stage.tenant_id) as records:
        request = await records.requests.get(request_id)
        assert request is not None
        other = replace(request.approval, request_id=effect_id(run_id, 1, 1), content="0" * 64)
        forged = replace(request, approval=other)
        await records.requests.add(forged)
    assert await refused(stage, run_id, forged.approval.request_id)


async def test_a_denial_reaches_the_model_with_its_reason_once(stage: Stage) -> None:
    run_id = await stage.asked(PAY)
    request_id = await approved(stage, run_id, ApprovalStatus.REJECTED)
    for _ in range(2):
        assert (await stage.tool_step.record_denial(stage.ref(run_id), request_id)).status is CallStatus.DENIED
    assert await stage.told(run_id) == (
        "Not allowed: the approval of pay was rejected. Reason: said so. Do not repeat the call unchanged."
    )
    assert len(await stage.audited("tool.call")) == 1
    # Even with a word that comes too late.
    assert (await stage.tool_step.run(stage.ref(run_id), 1, (), request_id)).status is CallStatus.DENIED


async def test_what_is_not_there_is_missing(stage: Stage) -> None:
    run_id = await stage.asked(PAY)
    with pytest.raises(Missing):
        await stage.tool_step.authorize(stage.tenant_id, run_id, 7)
    with pytest.raises(Missing):
        await stage.tool_step.authorize(f"{stage.tenant_id}-b", run_id, 1)


async def test_arguments_that_no_column_takes_can_be_approved(stage: Stage) -> None:
    odd = json.dumps({"text": "\x00\ud800"})
    run_id = await stage.asked(("echo", odd), agent=replace(AGENT, require_approval=("echo",)))
    request_id = await approved(stage, run_id)
    outcome = await stage.tool_step.run(stage.ref(run_id), 1, (), request_id)
    assert outcome.status is CallStatus.SUCCEEDED


async def test_a_runs_lines_have_the_guides_names_and_say_whose_they_are(stage: Stage) -> None:
    run_id = await stage.asked(("echo", {"text": "a secret word"}))
    with structlog.testing.capture_logs() as lines:
        await stage.lifecycle.begin(stage.tenant_id, run_id)
        await stage.tool_step.run(stage.ref(run_id), 1, (), None)
        await stage.lifecycle.end(stage.tenant_id, run_id, Ending(RunStatus.COMPLETED))
    told = {line["event"]: line for line in lines}
    assert set(told) == {"agent.execution.started", "tool.executed", "agent.execution.completed"}
    for line in told.values():
        assert (line["tenant_id"], line["user_id"], line["run_id"]) == (stage.tenant_id, "alice", run_id)
        assert line["session_id"].startswith(f"{stage.tenant_id}:session-")
        assert line["agent_id"] == AGENT.agent_id
    assert told["tool.executed"]["tool_name"] == "echo"
    assert told["agent.execution.completed"]["success"] is True
    assert "secret" not in str(lines)
