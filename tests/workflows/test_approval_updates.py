"""Updates and signals that come past the gateway: nobody is believed, and nothing jams a request."""

import json
from collections.abc import Sequence
from typing import Any, cast

import pytest
from temporalio.client import Client, WorkflowFailureError
from temporalio.common import WorkflowIDConflictPolicy

from models.messages.approvals import ApprovalInput
from taskforce.core.domain.approvals.approval import ApprovalStatus, Verdict, workflow_id
from taskforce.core.domain.approvals.changes import Change
from taskforce.core.domain.approvals.submissions import SubmittedDecision
from taskforce.core.domain.approvals.terms import Deciders
from taskforce.core.domain.audit.events import AuditFilter, AuditRecord
from taskforce.core.domain.paging import Page
from taskforce.core.domain.runs.run import RunStatus
from tests.fixtures.missions import Missions, now
from tests.fixtures.probe_tools import EFFECTS
from tests.fixtures.scripted_llm import ScriptedLLM, text, tool_calls
from tests.fixtures.update_senders import UNKNOWN_ENCODING, UNREADABLE, Outsider
from workflows.approval import ApprovalWorkflow

pytestmark = pytest.mark.usefixtures("worker")

YES = {"approver_id": "bob", "verdict": "approve"}
HASH = "0" * 64


@pytest.fixture
def outsider(temporal: Client, tenant: str) -> Outsider:
    return Outsider(temporal, tenant)


async def asked(missions: Missions, scripted: ScriptedLLM) -> tuple[str, str]:
    """Starts a run that wants to pay, which bob and carol may approve; returns run and request."""
    for person in ("bob", "carol"):
        await missions.person(person, "admin")
    scripted.script([tool_calls([("pay", {"amount": 7})], says="I must pay."), text("So be it.")])
    run_id = await missions.start()
    event = await missions.event(run_id, "approval.requested")
    return run_id, str(event.data["request_id"])


async def approve(missions: Missions, request_id: str, who: str = "bob") -> str | None:
    """Says yes through the gateway's door."""
    said = SubmittedDecision(who, Verdict.APPROVE, comment="fine")
    return (await missions.workflow_client.approvals.decide(missions.tenant_id, request_id, said)).code


async def audited(missions: Missions, request_id: str, action: str = "approval.decide") -> Sequence[AuditRecord]:
    async with missions.database.tenant(missions.tenant_id) as records:
        return await records.audit.page(AuditFilter(action=action, resource_id=request_id), Page(100))


async def test_a_decision_that_nobody_vouches_for_is_refused_and_named_as_claimed_where_signals_are_off(
    missions: Missions, scripted: ScriptedLLM, outsider: Outsider
) -> None:
    run_id, request_id = await asked(missions.under(signal_channel=False), scripted)
    assert await outsider.update(request_id, "decide", YES) == "channel_refused"
    [told] = await audited(missions, request_id)
    assert (told.actor_id, told.channel, told.outcome, told.reason) == ("bob", "signal", "denied", "channel_refused")
    assert await approve(missions, request_id) is None
    await missions.ended(run_id)
    assert EFFECTS[f"{run_id}/1/1"] == 1
    latest = max(await audited(missions, request_id), key=lambda one: one.at)
    assert (latest.channel, latest.outcome) == ("api", "approve")


async def test_where_signals_count_it_counts_as_one(
    missions: Missions, scripted: ScriptedLLM, outsider: Outsider
) -> None:
    run_id, request_id = await asked(missions, scripted)
    assert await outsider.update(request_id, "decide", YES) is None
    await missions.ended(run_id)
    assert [one.channel.value for one in (await missions.request(request_id)).approval.decisions] == ["signal"]
    assert [one.channel for one in await audited(missions, request_id)] == ["signal"]


@pytest.mark.parametrize(
    "forged",
    [
        {"made_at": "2026-01-01T00:00:00Z", "nonce": "n", "code": HASH},
        {"made_at": "2026-01-01T00:00:00", "nonce": "\x00", "code": "\u00e9"},
        {"made_at": "9999-12-31T23:59:59Z", "nonce": "", "code": ""},
    ],
)
async def test_a_forged_proof_is_refused_also_where_signals_count(
    missions: Missions, scripted: ScriptedLLM, outsider: Outsider, forged: dict[str, str]
) -> None:
    run_id, request_id = await asked(missions, scripted)
    assert await outsider.update(request_id, "decide", {**YES, "proof": forged}) == "proof_invalid"
    [told] = await audited(missions, request_id)
    assert (told.channel, told.outcome, told.reason) == ("signal", "denied", "proof_invalid")
    assert await approve(missions, request_id) is None
    await missions.ended(run_id)


async def said_through_the_door(temporal: Client, missions: Missions, request_id: str, update: str) -> dict[str, Any]:
    """The latest update as the history shows it to whoever reads it, its proof included."""
    history = await temporal.get_workflow_handle(workflow_id(missions.tenant_id, request_id)).fetch_history()
    accepted = [
        event.workflow_execution_update_accepted_event_attributes.accepted_request.input
        for event in history.events
        if event.HasField("workflow_execution_update_accepted_event_attributes")
    ]
    sent = [one.args.payloads[0].data for one in accepted if one.name == update][-1]
    return cast("dict[str, Any]", json.loads(sent))


@pytest.mark.parametrize("changed", [{"approver_id": "carol"}, {"verdict": "reject"}, {"comment": "!"}, {"edit": HASH}])
async def test_a_proof_covers_everything_that_was_said(
    missions: Missions, scripted: ScriptedLLM, outsider: Outsider, temporal: Client, changed: dict[str, str]
) -> None:
    run_id, request_id = await asked(missions.under(required_approvers=3, signal_channel=False), scripted)
    assert await approve(missions, request_id) is None
    said = await said_through_the_door(temporal, missions, request_id, "decide")
    # Bob has decided already: what is refused is somebody else's word with his proof.
    assert await outsider.update(request_id, "decide", {"approver_id": "carol", **said, **changed}) in {
        "proof_invalid",
        "already_decided",
    }
    assert await outsider.update(request_id, "decide", {**said, **changed, "approver_id": "carol"}) == "proof_invalid"
    decided = (await missions.request(request_id)).approval.decisions
    assert [one.approver_id for one in decided] == ["bob"]
    await missions.workflow_client.runs.cancel(missions.tenant_id, run_id)
    await missions.ended(run_id)


async def test_a_word_that_did_not_count_is_not_made_to_count_later_by_sending_it_again(
    missions: Missions, scripted: ScriptedLLM, outsider: Outsider, temporal: Client
) -> None:
    run_id, request_id = await asked(missions.under(signal_channel=False), scripted)
    await missions.person("otto", "viewer")
    assert await approve(missions, request_id, "otto") == "approver_role_missing"
    said = await said_through_the_door(temporal, missions, request_id, "decide")
    await missions.person("otto", "admin")
    assert await outsider.update(request_id, "decide", said) == "proof_used"
    assert (await missions.request(request_id)).approval.decisions == ()
    assert await approve(missions, request_id, "otto") is None
    await missions.ended(run_id)


async def test_a_proof_is_for_one_request(
    missions: Missions, scripted: ScriptedLLM, outsider: Outsider, temporal: Client
) -> None:
    for person in ("bob", "carol"):
        await missions.person(person, "admin")
    one, other = [await missions.ask(signal_channel=False, required_approvers=2) for _ in range(2)]
    assert await approve(missions, one) is None
    said = await said_through_the_door(temporal, missions, one, "decide")
    assert await outsider.update(other, "decide", said) == "proof_invalid"


async def test_a_change_that_nobody_vouches_for_is_refused_and_audited(
    missions: Missions, scripted: ScriptedLLM, outsider: Outsider
) -> None:
    run_id, request_id = await asked(missions.under(signal_channel=False), scripted)
    taken_back = {"actor_id": "alice", "kind": "withdraw"}
    assert await outsider.update(request_id, "change", taken_back) == "channel_refused"
    handed_on = {"actor_id": "bob", "kind": "reassign", "people": ["mallory"]}
    assert await outsider.update(request_id, "change", handed_on) == "channel_refused"
    [withdrawal] = await audited(missions, request_id, "approval.withdraw")
    assert (withdrawal.actor_id, withdrawal.channel, withdrawal.outcome) == ("alice", "signal", "denied")
    [reassignment] = await audited(missions, request_id, "approval.reassign")
    assert (reassignment.actor_id, reassignment.channel, reassignment.outcome) == ("bob", "signal", "denied")
    assert await approve(missions, request_id) is None
    await missions.ended(run_id)


async def test_a_change_is_not_made_again_by_whoever_read_it(
    missions: Missions, scripted: ScriptedLLM, outsider: Outsider, temporal: Client
) -> None:
    run_id, request_id = await asked(missions, scripted)
    for people in (("carol",), ("bob", "carol")):
        wish = Change("bob", "reassign", now(), to=Deciders((), people))
        await missions.workflow_client.approvals.change(missions.tenant_id, request_id, wish)
    history = await temporal.get_workflow_handle(workflow_id(missions.tenant_id, request_id)).fetch_history()
    [first, _] = [
        json.loads(event.workflow_execution_update_accepted_event_attributes.accepted_request.input.args.payloads[0].data)
        for event in history.events
        if event.HasField("workflow_execution_update_accepted_event_attributes")
    ]  # fmt: skip
    assert await outsider.update(request_id, "change", first) == "proof_used"
    assert (await missions.request(request_id)).approval.who.people == ("bob", "carol")
    await missions.workflow_client.runs.cancel(missions.tenant_id, run_id)
    await missions.ended(run_id)


async def test_decisions_that_somebody_starts_a_workflow_with_approve_nothing(
    missions: Missions, temporal: Client, temporal_address: Any
) -> None:
    await missions.person("bob", "admin")
    request_id = await missions.ask(signal_channel=False)
    name = workflow_id(missions.tenant_id, request_id)
    decided = {"approver_id": "bob", "verdict": "approve", "channel": "api", "at": "2026-11-20T12:00:00Z"}
    request = await missions.request(request_id)
    forged = {"decisions": [{**decided, "content": request.content_hash}], "content": request.content_hash}
    handle = await temporal.start_workflow(
        ApprovalWorkflow.run,
        ApprovalInput.model_validate({"tenant_id": missions.tenant_id, "request_id": request_id, "carried": forged}),
        id=name,
        task_queue=temporal_address.task_queue,
        id_conflict_policy=WorkflowIDConflictPolicy.TERMINATE_EXISTING,
    )
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    closed = await missions.closed(request_id)
    assert (closed.status, closed.reason) == (ApprovalStatus.VOIDED, "its decisions are not on record")
    assert "done" not in await missions.history(request_id)


MALFORMED: list[tuple[object, ...]] = [
    ({**YES, "edit": "\x00"},),
    ({**YES, "edit": "no hash"},),
    ({**YES, "edit": 7},),
    ({**YES, "seen": "\x00"},),
    ({**YES, "seen": HASH + "0"},),
    ({**YES, "key_id": "\x00"},),
    ({**YES, "key_id": "no id"},),
    ({**YES, "approver_id": ""},),
    ({**YES, "approver_id": "a\x00b"},),
    ({**YES, "approver_id": "b" * 1_000_000},),
    ({**YES, "approver_id": None},),
    ({**YES, "approver_id": {"or": "what"}},),
    ({**YES, "comment": "x" * 1_000_000},),
    ({**YES, "comment": ["x"]},),
    ({**YES, "verdict": "maybe"},),
    ({**YES, "for_run": "perhaps"},),
    ({**YES, "proof": "none"},),
    ({**YES, "proof": {"made_at": "yesterday", "nonce": 1, "code": 2}},),
    ({"verdict": "approve"},),
    ({},),
    (),
    (None,),
    ([YES],),
    ("approve",),
    (YES, YES),
]


@pytest.mark.parametrize("arguments", MALFORMED, ids=lambda one: repr(one)[:60])
async def test_a_malformed_decision_is_refused_at_once_and_a_person_decides(
    missions: Missions, outsider: Outsider, temporal: Client, arguments: tuple[object, ...]
) -> None:
    await missions.person("bob", "admin")
    request_id = await missions.ask(signal_channel=False)
    assert await outsider.update(request_id, "decide", *arguments) is not None
    history = await temporal.get_workflow_handle(workflow_id(missions.tenant_id, request_id)).fetch_history()
    assert not [one for one in history.events if one.HasField("workflow_execution_update_accepted_event_attributes")]
    assert await approve(missions, request_id) is None
    assert (await missions.closed(request_id)).status is ApprovalStatus.APPROVED


@pytest.mark.parametrize(
    "wish",
    [
        {"actor_id": "a\x00", "kind": "withdraw"},
        {"actor_id": "", "kind": "withdraw"},
        {"actor_id": "bob", "kind": "vanish"},
        {"actor_id": "bob", "kind": "withdraw", "key_id": "\x00"},
        {"actor_id": "bob", "kind": "withdraw", "comment": "x" * 1_000_000},
        {"actor_id": "bob", "kind": "withdraw", "http_request": "\x00"},
        {"actor_id": "bob", "kind": "reassign"},
        {"actor_id": "bob", "kind": "reassign", "people": ["\x00"]},
        {"actor_id": "bob", "kind": "reassign", "roles": ["r"] * 101},
        {"actor_id": "bob", "kind": "reassign", "people": "bob"},
        {"kind": "withdraw"},
        None,
    ],
    ids=lambda one: repr(one)[:60],
)
async def test_a_malformed_change_is_refused_at_once_and_a_person_decides(
    missions: Missions, outsider: Outsider, wish: object
) -> None:
    await missions.person("bob", "admin")
    request_id = await missions.ask()
    assert await outsider.update(request_id, "change", wish) is not None
    assert await approve(missions, request_id) is None
    assert (await missions.closed(request_id)).status is ApprovalStatus.APPROVED


async def test_somebody_who_is_not_there_decides_nothing(missions: Missions, outsider: Outsider) -> None:
    await missions.person("bob", "admin")
    request_id = await missions.ask()
    key = "01234567-89ab-7def-8123-456789abcdef"
    nobody = {**YES, "approver_id": "nobody"}
    assert await outsider.update(request_id, "decide", nobody) == "approver_unknown"
    assert await outsider.update(request_id, "decide", {**nobody, "key_id": key}) == "api_key_ended"
    assert await outsider.update(request_id, "decide", {**YES, "edit": HASH}) == "edit_not_found"
    assert await outsider.update(request_id, "change", {"actor_id": "nobody", "kind": "withdraw"}) is not None
    assert await approve(missions, request_id) is None


@pytest.mark.parametrize("payloads", [(UNREADABLE,), (UNKNOWN_ENCODING,), (UNREADABLE, UNREADABLE)])
async def test_a_signal_that_cannot_be_read_is_audited_and_breaks_nothing(
    missions: Missions, outsider: Outsider, payloads: tuple[Any, ...]
) -> None:
    await missions.person("bob", "admin")
    request_id = await missions.ask()
    await outsider.signal(request_id, "approve", *payloads)
    assert await approve(missions, request_id) is None
    await missions.closed(request_id)
    told = [(one.actor_id, one.channel, one.reason) for one in await audited(missions, request_id)]
    assert ("unknown", "signal", "signal_malformed") in told


async def test_a_run_hears_no_signal_that_cannot_be_read(
    missions: Missions, scripted: ScriptedLLM, temporal: Client
) -> None:
    run_id, request_id = await asked(missions, scripted)
    handle = temporal.get_workflow_handle(f"{missions.tenant_id}:run:{run_id}")
    for payload in ("\x00" * 10, {"word": 1}, ["a"], None):
        await handle.signal("add_word", payload)
    assert await approve(missions, request_id) is None
    assert (await missions.ended(run_id)).status is RunStatus.COMPLETED
