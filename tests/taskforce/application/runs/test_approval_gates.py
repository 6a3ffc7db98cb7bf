"""A tenant's administrator requires approvals of tool calls, by a definition alone."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from taskforce.application.approvals.decisions import RecordedDecision
from taskforce.application.approvals.definitions import (
    DefinitionChange,
    change_definition,
    create_definition,
    delete_definition,
)
from taskforce.core.domain.approvals.approval import ApprovalStatus, Channel, Decision, Verdict
from taskforce.core.domain.approvals.definitions import DefinitionRules
from taskforce.core.domain.approvals.terms import Terms
from taskforce.core.domain.ids import new_id
from taskforce.core.domain.runs.transcript import CallStatus
from tests.fixtures.plans import watched
from tests.fixtures.probe_tools import EFFECTS
from tests.taskforce.application.approvals.deputies import actor
from tests.taskforce.application.scenario import AGENT, Call, Stage

WRITE: Call = ("write_file", {"path": "a.txt", "content": "x"})
SLOW: Call = ("echo_slowly", {"text": "x"})
SEND: Call = ("transfer", {"name": "x"})
NONE = DefinitionRules()


async def defined(stage: Stage, definition_id: str = "gate", **keys: Any) -> None:
    document = {"workflow_id": definition_id, "name": "Gate", "request_type": "tool_call", **keys}
    await create_definition(stage.database, await actor(stage), NONE, document)


async def gated(stage: Stage, run_id: str, step: int = 1) -> list[bool]:
    return [one.approval for one in await stage.tool_step.authorize(stage.tenant_id, run_id, step)]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"tools": ["write_file"]}, [True, False, False]),
        ({"tool_tags": ["write"]}, [True, False, False]),
        ({"tool_kinds": ["outside"]}, [False, True, True]),
        ({"tool_kinds": ["effect"]}, [False, False, True]),
        ({"tools": ["write_file"], "agents": ["assistant"]}, [True, False, False]),
        ({"tools": ["write_file"], "agents": ["another"]}, [False, False, False]),
        ({"tools": ["write_file"], "enabled": False}, [False, False, False]),
        ({"requires_approval": True}, [True, True, True]),
        ({"agents": ["assistant"]}, [False, False, False]),
    ],
)
async def test_calls_that_a_definition_selects_need_an_approval(
    stage: Stage, keys: dict[str, Any], expected: Sequence[bool]
) -> None:
    await defined(stage, **keys)
    assert await gated(stage, await stage.asked(WRITE, SLOW, SEND)) == expected


async def test_who_decides_is_who_the_definition_names_by_tag_and_kind_too(stage: Stage) -> None:
    await defined(stage, "files", tool_tags=["files"], allowed_approver_roles=["librarian"])
    await defined(stage, "effects", tool_kinds=["effect"], allowed_approver_roles=["cfo"])
    run_id = await stage.asked(WRITE, SEND)
    opened = [await stage.decisions.open_call(stage.ref(run_id, call), new_id()) for call in (1, 2)]
    assert [(one.definition_id, one.approval.terms.allowed_roles) for one in opened] == [
        ("files", ("librarian",)),
        ("effects", ("cfo",)),
    ]


async def test_a_gated_call_runs_once_it_is_approved_and_not_before(stage: Stage) -> None:
    await defined(stage, tools=["write_file"])
    run_id = await stage.asked(WRITE)
    assert await gated(stage, run_id) == [True]
    await stage.tool_step.run(stage.ref(run_id), 1, (), None)
    assert await stage.told(run_id) == (
        "Refused: since you made this call, calls of write_file need an approval. Make it again, and people are asked."
    )
    await stage.reply(run_id, 2, WRITE)
    assert await gated(stage, run_id, 2) == [True]
    ref, request_id = stage.ref(run_id, step=2), new_id()
    await stage.decisions.open_call(ref, request_id)
    await stage.approve(request_id)
    assert (await stage.tool_step.run(ref, 1, (), request_id)).status is CallStatus.SUCCEEDED


@pytest.mark.parametrize("call", [SLOW, SEND, ("echo", {"text": "x"})])
async def test_a_definition_that_was_made_meanwhile_stops_the_call_before_its_effect(stage: Stage, call: Call) -> None:
    run_id = await stage.asked(call)
    assert await gated(stage, run_id) == [False]
    await defined(stage, tools=[call[0]])
    # What a process has authorized itself it runs for two seconds, by the rights and definitions of then.
    stage.now += timedelta(seconds=3)
    ref = stage.ref(run_id)
    assert (await stage.tool_step.run(ref, 1, (), None)).status is CallStatus.REFUSED
    assert "Make it again, and people are asked" in await stage.told(run_id)
    assert not any(key.startswith(f"{run_id}/") for key in EFFECTS)
    assert await stage.audited("tool.begin") == []
    await stage.reply(run_id, 2, call)
    assert await gated(stage, run_id, 2) == [True]


async def test_a_call_whose_worker_died_is_unknown_and_not_refused_by_a_definition_of_after(stage: Stage) -> None:
    """The model repeats what was refused, and would pay twice."""
    run_id = await stage.asked(SEND)
    async with stage.database.tenant(stage.tenant_id) as records:
        await records.effects.begin(run_id, 1, 1, SEND[0], stage.now)
    await defined(stage, tools=[SEND[0]])
    stage.now += timedelta(seconds=3)
    assert (await stage.tool_step.run(stage.ref(run_id), 2, (), None)).status is CallStatus.UNKNOWN
    assert "may or may not have had its effect" in await stage.told(run_id)


async def test_a_definition_that_goes_meanwhile_takes_no_request_with_it(stage: Stage) -> None:
    await defined(stage, tools=["echo_slowly"], allowed_approver_roles=["cfo"])
    run_id = await stage.asked(SLOW)
    assert await gated(stage, run_id) == [True]
    await delete_definition(stage.database, await actor(stage), NONE, "gate")
    opened = await stage.decisions.open_call(stage.ref(run_id), new_id())
    assert (opened.definition_id, opened.approval.terms) == (None, AGENT.approval)


async def test_what_is_saved_counts_at_once_and_what_is_taken_back_no_more(stage: Stage) -> None:
    ada = await actor(stage)
    run_id = await stage.asked(WRITE)
    seen = [await gated(stage, run_id)]
    document: dict[str, Any] = {"name": "Gate", "request_type": "tool_call", "tools": ["write_file"]}
    await defined(stage, **document)
    seen.append(await gated(stage, run_id))
    off = DefinitionChange({**document, "enabled": False})
    await change_definition(stage.database, ada, NONE, "gate", off)
    seen.append(await gated(stage, run_id))
    await delete_definition(stage.database, ada, NONE, "gate")
    # Made anew it has version 1 again, and nothing of what the first one was.
    later = replace(ada, now=ada.now + timedelta(seconds=1))
    await create_definition(stage.database, later, NONE, {**document, "workflow_id": "gate"})
    seen.append(await gated(stage, run_id))
    assert seen == [[False], [True], [False], [True]]


async def test_a_step_reads_definitions_only_after_a_change(stage: Stage) -> None:
    async def statements(run_id: str) -> Sequence[str]:
        spec = await stage.run_cache.get(stage.tenant_id, run_id)
        policy = await stage.tool_call_policy.policy(spec)
        async with stage.database.tenant(stage.tenant_id) as records:
            reply = await records.transcripts.entry(run_id, 1, 0)
            assert reply is not None
            async with watched(records) as sent:
                await stage.tool_call_policy.step(records, spec, policy, reply)
                return await sent.texts()

    run_id = await stage.asked(WRITE, SLOW)
    # A process reads a tenant's prices once, with its first step.
    assert len(await statements(run_id)) > 1
    without = await statements(run_id)
    assert len(without) == 1
    for number in range(20):
        await defined(stage, f"gate-{number}", tools=["transfer"])
    after_change, unchanged = await statements(run_id), await statements(run_id)
    assert (len(after_change), unchanged) == (2, without)


async def test_roles_of_an_agent_that_may_not_decide_leave_those_who_may_and_are_told(stage: Stage) -> None:
    agent = replace(AGENT, require_approval=("echo_slowly",), approval_roles=("nobody_has_this",))
    run_id = await stage.asked(SLOW, agent=agent)
    opened = await stage.decisions.open_call(stage.ref(run_id), new_id())
    assert opened.approval.terms == Terms(allowed_roles=("admin",))
    async with stage.database.tenant(stage.tenant_id) as records:
        (created,) = await records.requests.history(opened.approval.request_id)
    assert created.data == {"approval_roles_without_effect": ["nobody_has_this"]}
    details = await stage.rows("audit_events WHERE action = 'approval.request'", "details")
    assert "nobody_has_this" in str(details)


LAX: dict[str, Any] = {"tools": ["transfer"], "allowed_approver_roles": ["admin", "clerk"], "comment_required": True}


async def granted(stage: Stage, **keys: Any) -> str:
    """A run in which people have approved a transfer, and those to come."""
    await defined(stage, **{**LAX, **keys})
    run_id, request_id = await stage.asked(SEND), new_id()
    assert await gated(stage, run_id) == [True]
    await stage.decisions.open_call(stage.ref(run_id), request_id)
    word = Decision("bob", Verdict.APPROVE, "fine", Channel.API, stage.now)
    await stage.decisions.record(stage.tenant_id, request_id, RecordedDecision(word, for_run=True))
    await stage.decisions.close(stage.tenant_id, request_id, ApprovalStatus.APPROVED, "bob: fine")
    await stage.reply(run_id, 2, SEND)
    assert await gated(stage, run_id, 2) == [False]
    return run_id


async def changed(stage: Stage, **keys: Any) -> None:
    document = {"name": "Gate", "request_type": "tool_call", **LAX, **keys}
    await change_definition(stage.database, await actor(stage), NONE, "gate", DefinitionChange(document))


@pytest.mark.parametrize(
    "keys",
    [
        {"required_approvers": 2},
        {"allowed_approver_roles": ["admin"]},
        {"allowed_approver_roles": ["cfo"]},
        {"independence_hours": 48},
    ],
    ids=str,
)
async def test_an_approval_for_the_run_does_not_outlast_a_stricter_definition(
    stage: Stage, keys: dict[str, Any]
) -> None:
    run_id = await granted(stage)
    await changed(stage, **keys)
    # The call was authorized before; it does not run, and made again it is asked for.
    stage.now += timedelta(seconds=3)
    assert (await stage.tool_step.run(stage.ref(run_id, step=2), 1, (), None)).status is CallStatus.REFUSED
    assert "Make it again, and they are asked" in await stage.told(run_id, step=2)
    assert not any(key.startswith(f"{run_id}/") for key in EFFECTS)
    await stage.reply(run_id, 3, SEND)
    assert await gated(stage, run_id, 3) == [True]


async def test_a_more_specific_definition_that_is_stricter_counts_too(stage: Stage) -> None:
    run_id = await granted(stage, tools=[], tool_kinds=["effect"])
    await defined(stage, "strict", tools=["transfer"], requires_approval=False, allowed_approver_roles=["cfo"])
    await stage.reply(run_id, 3, SEND)
    assert await gated(stage, run_id, 3) == [True]


@pytest.mark.parametrize(
    "keys",
    [
        {"name": "Another name", "description": "Whatever goes out."},
        {"allowed_approver_roles": ["admin", "clerk", "cfo"]},
        {"comment_required": False},
        {"allow_self_approval": True},
        {"independence_hours": 1},
        {"auto_expire_hours": 1},
    ],
    ids=str,
)
async def test_an_approval_for_the_run_lasts_while_no_more_is_asked(stage: Stage, keys: dict[str, Any]) -> None:
    run_id = await granted(stage)
    await changed(stage, **keys)
    await stage.reply(run_id, 3, SEND)
    assert await gated(stage, run_id, 3) == [False]
