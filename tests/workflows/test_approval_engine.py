"""What the engine does besides counting words: edits, escalation, reassignment, delegation, what follows."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import Client

from taskforce.core.domain.approvals.approval import ApprovalStatus, Verdict, workflow_id
from taskforce.core.domain.approvals.changes import Change, ChangeKind
from taskforce.core.domain.approvals.records import Delegation
from taskforce.core.domain.approvals.submissions import SubmittedDecision
from taskforce.core.domain.approvals.terms import ActionKind, Deciders, TimedAction
from taskforce.core.domain.errors import Conflict, DomainError, Kind, Missing
from taskforce.core.domain.runs.run import RunStatus
from tests.fixtures.missions import FLEETING, Missions, now
from tests.fixtures.probe_tools import EFFECTS
from tests.fixtures.scripted_llm import ScriptedLLM, text, tool_calls

pytestmark = pytest.mark.usefixtures("worker")

PAY = tool_calls([("pay", {"amount": 7})], says="I must pay.")


async def asked(missions: Missions, scripted: ScriptedLLM, *replies: object) -> tuple[str, str]:
    """Starts a run that wants to pay; returns run and request."""
    scripted.script([PAY, *(replies or (text("So be it."),))])  # type: ignore[list-item]  # replies of the script
    run_id = await missions.start()
    event = await missions.event(run_id, "approval.requested")
    return run_id, str(event.data["request_id"])


async def decide(
    missions: Missions, request_id: str, approver: str, verdict: Verdict = Verdict.APPROVE, **more: Any
) -> str | None:
    said = SubmittedDecision(approver, verdict, **more)
    return (await missions.workflow_client.approvals.decide(missions.tenant_id, request_id, said)).code


async def change(
    missions: Missions, request_id: str, actor: str, kind: ChangeKind, comment: str = "", **to: tuple[str, ...]
) -> str | None:
    wish = Change(actor, kind, now(), comment, Deciders(**to))
    return (await missions.workflow_client.approvals.change(missions.tenant_id, request_id, wish)).code


async def test_a_call_runs_with_the_arguments_that_people_have_approved_and_the_model_is_told(
    missions: Missions, scripted: ScriptedLLM
) -> None:
    for person in ("bob", "carol"):
        await missions.person(person, "admin")
    run_id, request_id = await asked(missions.under(required_approvers=2), scripted)
    before = await missions.request(request_id)
    assert await decide(missions, request_id, "bob") is None
    edit = await missions.propose(request_id, {"amount": 5})
    assert await decide(missions, request_id, "carol", edit=edit, seen=before.approval.content) is None
    changed = await missions.request(request_id)
    assert (changed.status, changed.approval.content) == (ApprovalStatus.PENDING, edit)
    with pytest.raises(Conflict):
        await decide(missions, request_id, "carol", seen=edit)
    with pytest.raises(Conflict) as stale:
        await decide(missions, request_id, "bob", seen=before.approval.content)
    assert stale.value.code == "content_changed"
    assert await decide(missions, request_id, "bob", seen=edit) is None
    await missions.ended(run_id)
    [told] = await missions.observations(run_id)
    assert told.text == (
        '[A person has approved this call with other arguments, and it ran with these: {"amount": 5}]\npaid 5'
    )
    assert (await missions.request(request_id)).reason == "carol; bob"
    assert await missions.history(request_id) == ["created", "approved_by", "approved_by", "approved_by", "approved"]


async def test_arguments_that_do_not_fit_are_not_approved(missions: Missions, scripted: ScriptedLLM) -> None:
    await missions.person("bob", "admin")
    run_id, request_id = await asked(missions, scripted)
    unfit: list[dict[str, object]] = [{"amount": "all"}, {}, {"amount": 1, "to": "me"}]
    for arguments in unfit:
        edit = await missions.propose(request_id, arguments)
        assert await decide(missions, request_id, "bob", edit=edit) == "arguments_invalid"
    assert await decide(missions, request_id, "bob", edit="0" * 64) == "edit_not_found"
    assert await decide(missions, request_id, "bob") is None
    await missions.ended(run_id)
    assert [one.text for one in await missions.observations(run_id)] == ["paid 7"]


async def test_an_approval_for_the_rest_of_the_run_is_asked_for_once_and_holds_for_that_tool_and_run(
    missions: Missions, scripted: ScriptedLLM
) -> None:
    await missions.person("bob", "admin")
    run_id, request_id = await asked(missions, scripted, PAY, text("Paid twice."))
    assert await decide(missions, request_id, "bob", for_run=True) is None
    await missions.ended(run_id)
    assert [one.text for one in await missions.observations(run_id)] == ["paid 7", "paid 7"]
    assert [EFFECTS[f"{run_id}/{step}/1"] for step in (1, 2)] == [1, 1]
    other, _ = await asked(missions, scripted)
    assert other != run_id
    assert len(await missions.pending()) == 1


async def test_all_who_approve_must_say_that_it_is_for_the_run(missions: Missions, scripted: ScriptedLLM) -> None:
    for person in ("bob", "carol"):
        await missions.person(person, "admin")
    run_id, request_id = await asked(missions.under(required_approvers=2), scripted, PAY, text("Paid."))
    assert await decide(missions, request_id, "bob", for_run=True) is None
    assert await decide(missions, request_id, "carol") is None
    second = await missions.event(run_id, "approval.requested", 2)
    assert second.data["request_id"] != request_id


async def test_time_reminds_widens_and_reassigns(missions: Missions, scripted: ScriptedLLM) -> None:
    await missions.person("bob", "admin")
    await missions.person("olga", "operator")
    actions = (
        TimedAction(ActionKind.REMIND, 1),
        TimedAction(ActionKind.WIDEN, 2, Deciders(people=("olga",))),
        TimedAction(ActionKind.REASSIGN, 3, Deciders(people=("erin",))),
    )
    under = missions.under(actions=actions, expire_seconds=4)
    run_id, request_id = await asked(under, scripted)
    assert await decide(missions, request_id, "olga") == "approver_role_missing"
    await missions.event(run_id, "approval.escalated", 2)
    assert await decide(missions, request_id, "bob") == "approver_role_missing"
    assert (await missions.request(request_id)).approval.who == Deciders(people=("erin",))
    await missions.ended(run_id)
    assert await missions.history(request_id) == ["created", "reminded", "widened", "reassigned", "expired"]


async def test_who_decides_hands_on_within_the_terms_and_who_manages_policies_to_anybody(
    missions: Missions, scripted: ScriptedLLM
) -> None:
    await missions.person("bob", "admin")
    for person in ("dora", "dan"):
        await missions.person(person, "agent_designer")
    await missions.person("otto", "operator")
    run_id, request_id = await asked(missions.under(allowed_roles=("agent_designer",)), scripted)
    assert await change(missions, request_id, "otto", "reassign", people=("dan",)) == "not_yours_to_change"
    assert await change(missions, request_id, "alice", "reassign", people=("dan",)) == "not_yours_to_change"
    assert await change(missions, request_id, "dora", "reassign", people=("otto",)) == "beyond_terms"
    assert await change(missions, request_id, "dora", "reassign", roles=("operator",)) == "beyond_terms"
    assert await change(missions, request_id, "dora", "reassign", people=("nobody",)) == "deciders_unknown"
    assert await change(missions, request_id, "dora", "reassign", people=("dan",)) is None
    assert await decide(missions, request_id, "dora") == "approver_role_missing"
    assert await change(missions, request_id, "bob", "reassign", people=("otto",), comment="busy") is None
    assert await decide(missions, request_id, "otto") is None
    await missions.ended(run_id)
    assert [EFFECTS[f"{run_id}/1/1"]] == [1]


async def test_a_request_that_is_taken_back_is_told_to_the_model(missions: Missions, scripted: ScriptedLLM) -> None:
    await missions.person("otto", "operator")
    run_id, request_id = await asked(missions, scripted)
    assert await change(missions, request_id, "otto", "withdraw") == "not_yours_to_change"
    assert await change(missions, request_id, "alice", "withdraw", comment="never mind") is None
    run = await missions.ended(run_id)
    assert (run.status, run.answer) == (RunStatus.COMPLETED, "So be it.")
    [told] = await missions.observations(run_id)
    assert "withdrawn" in told.text
    with pytest.raises(Missing):
        await change(missions, request_id, "alice", "withdraw")


async def test_somebody_decides_in_the_place_of_who_is_away(missions: Missions, scripted: ScriptedLLM) -> None:
    await missions.person("bob", "admin")
    await missions.person("otto", "operator")
    async with missions.database.tenant(missions.tenant_id) as records:
        await records.delegations.save(Delegation("bob", "otto", now() - timedelta(1), now() + timedelta(1)))
    run_id, request_id = await asked(missions.under(required_approvers=2), scripted)
    assert await decide(missions, request_id, "otto") is None
    with pytest.raises(Conflict) as refused:
        await decide(missions, request_id, "bob")
    assert refused.value.code == "already_decided"
    [said] = (await missions.request(request_id)).approval.decisions
    assert (said.approver_id, said.on_behalf_of) == ("otto", "bob")
    await missions.workflow_client.runs.cancel(missions.tenant_id, run_id)
    await missions.ended(run_id)


async def test_two_at_the_same_instant_both_count_once(missions: Missions, scripted: ScriptedLLM) -> None:
    people = [f"p{number}" for number in range(6)]
    for person in people:
        await missions.person(person, "admin")
    run_id, request_id = await asked(missions.under(required_approvers=3), scripted)

    async def word(person: str) -> str | None:
        try:
            return await decide(missions, request_id, person)
        except DomainError as refused:
            return refused.code

    codes = await asyncio.gather(*(word(person) for person in people * 2))
    assert codes.count(None) == 3
    assert set(codes) <= {None, "request_closed", "already_decided", "request_not_found"}
    await missions.ended(run_id)
    decided = (await missions.request(request_id)).approval.decisions
    assert len({one.approver_id for one in decided}) == len(decided) == 3
    assert EFFECTS[f"{run_id}/1/1"] == 1


async def test_what_was_approved_is_carried_out_by_the_same_workflow_and_shows_in_it(
    missions: Missions, temporal: Client
) -> None:
    await missions.person("bob", "admin")
    request_id = await missions.ask()
    assert await decide(missions, request_id, "bob") is None
    handle = temporal.get_workflow_handle(workflow_id(missions.tenant_id, request_id))
    assert await handle.result() == {"status": "approved"}
    names = [
        event.activity_task_scheduled_event_attributes.activity_type.name
        for event in (await handle.fetch_history()).events
    ]
    assert "carry_out_request" in names
    assert await missions.history(request_id) == ["created", "approved_by", "approved", "carried_out", "done"]


async def test_what_shall_wait_is_not_carried_out(missions: Missions, temporal: Client) -> None:
    await missions.person("bob", "admin")
    request_id = await missions.ask(carries_out=False)
    assert await decide(missions, request_id, "bob") is None
    await temporal.get_workflow_handle(workflow_id(missions.tenant_id, request_id)).result()
    assert await missions.history(request_id) == ["created", "approved_by", "approved"]


async def test_a_request_whose_subject_has_changed_is_void(missions: Missions) -> None:
    await missions.person("bob", "admin")
    request_id = await missions.ask(FLEETING)
    assert await decide(missions, request_id, "bob") == "subject_changed"
    closed = await missions.closed(request_id)
    assert (closed.status, closed.reason) == (
        ApprovalStatus.VOIDED,
        "What this is about is gone, or has ended. Ask again if it is still needed.",
    )


async def test_a_refusal_says_of_what_kind_it_is(missions: Missions, scripted: ScriptedLLM) -> None:
    run_id, request_id = await asked(missions, scripted)
    await missions.person("olga", "operator")
    await missions.person("bob", "admin")
    approvals, tenant_id = missions.workflow_client.approvals, missions.tenant_id
    stranger = await approvals.decide(tenant_id, request_id, SubmittedDecision("olga", Verdict.APPROVE))
    assert (stranger.code, stranger.kind) == ("approver_role_missing", Kind.FORBIDDEN)
    to_nobody = Change("bob", "reassign", now(), to=Deciders(people=("nobody",)))
    handed_on = await approvals.change(tenant_id, request_id, to_nobody)
    assert (handed_on.code, handed_on.kind) == ("deciders_unknown", Kind.INVALID)
    approved = await approvals.decide(tenant_id, request_id, SubmittedDecision("bob", Verdict.APPROVE))
    assert (approved.code, approved.kind) == (None, None)
    # Its last call of the model would take the first reply that the next test scripts.
    await missions.ended(run_id)
