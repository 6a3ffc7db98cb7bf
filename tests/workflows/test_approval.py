"""One tool call, one question to people: decided by Update or signal, closed by its row."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from temporalio.client import Client

from taskforce.core.domain.approvals.approval import ApprovalStatus, Verdict, workflow_id
from taskforce.core.domain.approvals.changes import Change
from taskforce.core.domain.approvals.submissions import SubmittedDecision
from taskforce.core.domain.errors import Conflict
from taskforce.core.domain.runs.run import RunStatus
from taskforce.core.domain.runs.transcript import CallStatus
from tests.fixtures.missions import Missions, now
from tests.fixtures.probe_tools import EFFECTS
from tests.fixtures.scripted_llm import ScriptedLLM, text, tool_calls
from tests.workflows.approvals import asked, yes

pytestmark = pytest.mark.usefixtures("worker")


async def test_an_approved_call_runs_once_with_the_arguments_that_were_approved(
    missions: Missions, scripted: ScriptedLLM
) -> None:
    await missions.person("bob", "admin")
    run_id, request_id = await asked(missions, scripted)
    [pending] = await missions.pending()
    assert pending.payload == {"tool": "pay", "arguments": {"amount": 7}, "reason": "I must pay."}
    outcome = await missions.workflow_client.approvals.decide(missions.tenant_id, request_id, yes())
    assert (outcome.status, outcome.code) == ("approved", None)
    run = await missions.ended(run_id)
    assert run.status is RunStatus.COMPLETED
    assert [entry.text for entry in await missions.observations(run_id)] == ["paid 7"]
    assert EFFECTS[f"{run_id}/1/1"] == 1
    closed = await missions.request(request_id)
    assert (closed.status, closed.reason) == (ApprovalStatus.APPROVED, "bob: fine")


async def test_a_denial_reaches_the_model_with_its_reason(missions: Missions, scripted: ScriptedLLM) -> None:
    await missions.person("bob", "admin")
    run_id, request_id = await asked(missions, scripted)
    no = SubmittedDecision(approver_id="bob", verdict=Verdict.REJECT, comment="far too much")
    await missions.workflow_client.approvals.decide(missions.tenant_id, request_id, no)
    run = await missions.ended(run_id)
    [denied] = await missions.observations(run_id)
    assert denied.status is CallStatus.DENIED
    assert "rejected" in denied.text
    assert "far too much" in denied.text
    assert run.answer == "So be it."
    assert EFFECTS[f"{run_id}/1/1"] == 0


async def test_a_request_that_nobody_decides_expires_and_the_model_is_told(
    missions: Missions, scripted: ScriptedLLM
) -> None:
    run_id, request_id = await asked(missions.under(expire_seconds=1), scripted)
    await missions.ended(run_id)
    [denied] = await missions.observations(run_id)
    assert "expired" in denied.text
    assert (await missions.request(request_id)).status is ApprovalStatus.EXPIRED


async def test_a_request_that_is_taken_back_tells_the_model_why(missions: Missions, scripted: ScriptedLLM) -> None:
    run_id, request_id = await asked(missions, scripted)
    wish = Change("alice", "withdraw", now(), "paid by hand")
    await missions.workflow_client.approvals.change(missions.tenant_id, request_id, wish)
    await missions.ended(run_id)
    assert (await missions.request(request_id)).reason == "alice withdrew the request: paid by hand"
    [denied] = await missions.observations(run_id)
    assert "Reason: alice withdrew the request: paid by hand." in denied.text


async def test_a_request_that_an_operator_cancels_says_so(
    missions: Missions, scripted: ScriptedLLM, temporal: Client
) -> None:
    run_id, request_id = await asked(missions, scripted)
    await temporal.get_workflow_handle(workflow_id(missions.tenant_id, request_id)).cancel(reason="not today")
    await missions.ended(run_id)
    assert (await missions.request(request_id)).reason == "the run or the request was cancelled: not today"


@pytest.mark.parametrize(
    ("approver", "roles", "code"),
    [
        ("nobody", None, "approver_unknown"),
        ("carol", ("operator",), "approver_role_missing"),
    ],
)
async def test_who_may_not_decide_is_refused_by_a_code(
    missions: Missions, scripted: ScriptedLLM, approver: str, roles: Sequence[str] | None, code: str
) -> None:
    if roles is not None:
        await missions.person(approver, *roles)
    run_id, request_id = await asked(missions, scripted)
    outcome = await missions.workflow_client.approvals.decide(missions.tenant_id, request_id, yes(approver))
    assert (outcome.status, outcome.code) == ("pending", code)
    await missions.workflow_client.runs.cancel(missions.tenant_id, run_id)
    await missions.ended(run_id)


async def test_the_requester_may_not_decide_even_as_an_admin(missions: Missions, scripted: ScriptedLLM) -> None:
    run_id, request_id = await asked(missions, scripted)
    await missions.person("alice", "operator", "admin")
    with pytest.raises(Conflict) as refused:
        await missions.workflow_client.approvals.decide(missions.tenant_id, request_id, yes("alice"))
    assert refused.value.code == "self_approval"
    await missions.workflow_client.runs.cancel(missions.tenant_id, run_id)
    assert (await missions.ended(run_id)).status is RunStatus.CANCELLED
    assert (await missions.request(request_id)).status is ApprovalStatus.WITHDRAWN


async def test_a_deactivated_approver_and_a_role_that_was_lost_while_waiting_do_not_count(
    missions: Missions, scripted: ScriptedLLM
) -> None:
    bob = await missions.person("bob", "admin")
    run_id, request_id = await asked(missions, scripted)
    async with missions.database.tenant(missions.tenant_id) as records:
        await records.users.save(replace(bob, active=False), now())
    outcome = await missions.workflow_client.approvals.decide(missions.tenant_id, request_id, yes())
    assert outcome.code == "approver_unknown"
    await missions.workflow_client.runs.cancel(missions.tenant_id, run_id)
    await missions.ended(run_id)


async def test_two_approvals_of_a_quorum_must_be_two_people(missions: Missions, scripted: ScriptedLLM) -> None:
    await missions.person("bob", "admin")
    await missions.person("carol", "admin")
    run_id, request_id = await asked(missions.under(required_approvers=2), scripted)
    first = await missions.workflow_client.approvals.decide(missions.tenant_id, request_id, yes("bob"))
    assert first.status == "pending"
    with pytest.raises(Conflict) as refused:
        await missions.workflow_client.approvals.decide(
            missions.tenant_id, request_id, SubmittedDecision(approver_id="bob", verdict=Verdict.REJECT, comment="")
        )
    assert refused.value.code == "already_decided"
    second = await missions.workflow_client.approvals.decide(missions.tenant_id, request_id, yes("carol"))
    assert second.status == "approved"
    await missions.ended(run_id)


@pytest.mark.parametrize(
    "payload",
    [(), (None,), ("bob",), (7,), ({},), ({"approver": 3},), ({"approver": "bob", "comment": 1},), ({}, {}), ([],)],
)
async def test_a_malformed_signal_breaks_nothing_and_is_audited(
    missions: Missions, scripted: ScriptedLLM, temporal: Client, payload: tuple[Any, ...]
) -> None:
    await missions.person("bob", "admin")
    run_id, request_id = await asked(missions, scripted)
    handle = temporal.get_workflow_handle(workflow_id(missions.tenant_id, request_id))
    await handle.signal("approve", args=list(payload))
    await handle.signal("reject", {"approver": "bob", "comment": "by signal"})
    await missions.ended(run_id)
    closed = await missions.request(request_id)
    assert (closed.status, closed.reason) == (ApprovalStatus.REJECTED, "bob: by signal")
    assert [decision.channel.value for decision in closed.approval.decisions] == ["signal"]


async def test_signals_do_not_count_where_they_are_not_enabled(
    missions: Missions, scripted: ScriptedLLM, temporal: Client
) -> None:
    await missions.person("bob", "admin")
    run_id, request_id = await asked(missions.under(signal_channel=False), scripted)
    handle = temporal.get_workflow_handle(workflow_id(missions.tenant_id, request_id))
    await handle.signal("approve", {"approver": "bob"})
    outcome = await missions.workflow_client.approvals.decide(missions.tenant_id, request_id, yes())
    assert outcome.status == "approved"
    await missions.ended(run_id)
    closed = await missions.request(request_id)
    assert [decision.channel.value for decision in closed.approval.decisions] == ["api"]


async def test_several_requests_wait_at_once_and_never_mix(missions: Missions, scripted: ScriptedLLM) -> None:
    await missions.person("bob", "admin")
    scripted.script([tool_calls([("pay", {"amount": 1}), ("pay", {"amount": 2})]), text("Done.")])
    run_id = await missions.start()
    await missions.event(run_id, "approval.requested", times=2)
    for request in await missions.pending():
        wanted = request.payload["arguments"] == {"amount": 2}
        verdict = SubmittedDecision(
            approver_id="bob", verdict=Verdict.APPROVE if wanted else Verdict.REJECT, comment="only two"
        )
        await missions.workflow_client.approvals.decide(missions.tenant_id, request.approval.request_id, verdict)
    await missions.ended(run_id)
    first, second = await missions.observations(run_id)
    assert (first.status, second.text) == (CallStatus.DENIED, "paid 2")


async def test_a_request_whose_user_was_deactivated_meanwhile_has_no_effect(
    missions: Missions, scripted: ScriptedLLM
) -> None:
    await missions.person("bob", "admin")
    run_id, request_id = await asked(missions, scripted)
    async with missions.database.tenant(missions.tenant_id) as records:
        alice = await records.users.get("alice")
        assert alice is not None
        await records.users.save(replace(alice, active=False), now())
    await missions.workflow_client.approvals.decide(missions.tenant_id, request_id, yes())
    await missions.ended(run_id)
    [refused] = await missions.observations(run_id)
    assert refused.status is CallStatus.REFUSED
    assert EFFECTS[f"{run_id}/1/1"] == 0


async def test_a_pause_holds_a_call_that_was_approved_meanwhile(missions: Missions, scripted: ScriptedLLM) -> None:
    await missions.person("bob", "admin")
    run_id, request_id = await asked(missions, scripted)
    await missions.workflow_client.runs.signal(missions.tenant_id, run_id, "pause")
    await missions.workflow_client.approvals.decide(missions.tenant_id, request_id, yes())
    await missions.event(run_id, "run.paused")
    assert EFFECTS[f"{run_id}/1/1"] == 0
    await missions.workflow_client.runs.signal(missions.tenant_id, run_id, "resume")
    await missions.ended(run_id)
    assert EFFECTS[f"{run_id}/1/1"] == 1
