"""Every way in which a request for approval ends."""

import asyncio

from taskforce.core.domain.approvals.approval import workflow_id as approval_workflow_id
from taskforce.core.domain.approvals.changes import Change
from taskforce.core.domain.approvals.terms import ActionKind, Deciders, TimedAction
from tests.fixtures.missions import FLEETING, HELD, RELEASED, now
from tests.fixtures.scripted_llm import text, tool_calls
from tests.fixtures.stack import locked
from tests.fixtures.update_senders import UNKNOWN_ENCODING, UNREADABLE
from tests.replay.scene_runner import Stage, scene


@scene(run="approved", approval="approved")
async def approved(stage: Stage) -> str:
    run_id, request_id = await stage.asks_to_pay()
    await stage.decide(request_id, "bob", "approve")
    await stage.missions.ended(run_id)
    return run_id


@scene(run="rejected", approval="rejected")
async def rejected(stage: Stage) -> str:
    run_id, request_id = await stage.asks_to_pay()
    await stage.decide(request_id, "bob", "reject")
    await stage.missions.ended(run_id)
    return run_id


@scene(run="expired", approval="expired")
async def expired(stage: Stage) -> str:
    run_id, _ = await stage.asks_to_pay(expire_seconds=1)
    await stage.missions.ended(run_id)
    return run_id


@scene(run="withdrawn", approval="withdrawn")
async def withdrawn(stage: Stage) -> str:
    run_id, _ = await stage.asks_to_pay()
    await stage.missions.workflow_client.runs.cancel(stage.missions.tenant_id, run_id)
    await stage.missions.ended(run_id)
    return run_id


@scene(run="request_ended_by_an_operator", approval="terminated")
async def request_ended_by_an_operator(stage: Stage) -> str:
    run_id, request_id = await stage.asks_to_pay()
    name = approval_workflow_id(stage.missions.tenant_id, request_id)
    await stage.temporal.get_workflow_handle(name).terminate()
    await stage.missions.ended(run_id)
    return run_id


@scene(approval="quorum_of_two")
async def quorum_of_two(stage: Stage) -> str:
    run_id, request_id = await stage.asks_to_pay(required_approvers=2)
    await stage.decide(request_id, "nobody", "approve")
    await stage.decide(request_id, "bob", "approve")
    await stage.decide(request_id, "carol", "approve")
    await stage.missions.ended(run_id)
    return run_id


@scene(approval="long")
async def long(stage: Stage) -> str:
    """So many words that do not count that the request continues as new, twice."""
    run_id, request_id = await stage.asks_to_pay(required_approvers=2)
    await stage.decide(request_id, "bob", "approve")
    for number in range(16):
        await stage.decide(request_id, f"nobody-{number}", "approve")
    await stage.decide(request_id, "carol", "approve")
    await stage.missions.ended(run_id)
    return run_id


@scene(approval="signalled")
async def signalled(stage: Stage) -> str:
    run_id, request_id = await stage.asks_to_pay()
    await stage.signal(request_id, "approve", {"approver": "bob", "comment": "by signal"})
    await stage.missions.ended(run_id)
    return run_id


@scene(approval="signalled_malformed")
async def signalled_malformed(stage: Stage) -> str:
    run_id, request_id = await stage.asks_to_pay()
    payloads: list[tuple[object, ...]] = [(), (None,), ("bob",), ({},), ({"approver": 3},), ({}, {})]
    for payload in payloads:
        await stage.signal(request_id, "approve", *payload)
    await stage.signal(request_id, "reject", {"approver": "bob"})
    await stage.missions.ended(run_id)
    return run_id


@scene(approval="signalled_after_the_end", alone=True)
async def signalled_after_the_end(stage: Stage) -> str:
    request_id = await stage.missions.ask(HELD, carries_out=True)
    await stage.decide(request_id, "bob", "approve")
    await stage.begins(approval_workflow_id(stage.missions.tenant_id, request_id), "carry_out_request")
    await stage.signal(request_id, "approve", {"approver": "carol"})
    await stage.signal(request_id, "reject")
    RELEASED[request_id].set()
    await stage.missions.closed(request_id)
    return request_id


@scene(approval="signalled_unreadable")
async def signalled_unreadable(stage: Stage) -> str:
    run_id, request_id = await stage.asks_to_pay()
    await stage.outsider.signal(request_id, "approve", UNREADABLE)
    await stage.outsider.signal(request_id, "reject", UNKNOWN_ENCODING)
    await stage.decide(request_id, "bob", "approve")
    await stage.missions.ended(run_id)
    return run_id


@scene(approval="claimed")
async def claimed(stage: Stage) -> str:
    """Updates that came past the gateway, where signals count."""
    run_id, request_id = await stage.asks_to_pay(required_approvers=2)
    await stage.outsider.update(request_id, "decide", {"approver_id": "bob", "verdict": "approve"})
    await stage.outsider.update(request_id, "decide", {"approver_id": "nobody", "verdict": "approve"})
    await stage.outsider.update(request_id, "change", {"actor_id": "alice", "kind": "withdraw"})
    await stage.missions.ended(run_id)
    return run_id


@scene(approval="claimed_in_vain")
async def claimed_in_vain(stage: Stage) -> str:
    run_id, request_id = await stage.asks_to_pay(signal_channel=False)
    await stage.outsider.update(request_id, "decide", {"approver_id": "bob", "verdict": "approve"})
    await stage.outsider.update(request_id, "change", {"actor_id": "alice", "kind": "withdraw"})
    await stage.decide(request_id, "bob", "approve")
    await stage.missions.ended(run_id)
    return run_id


@scene(run="withdrawn_while_deciding", approval="withdrawn_while_deciding")
async def withdrawn_while_deciding(stage: Stage) -> str:
    """The run is cancelled while a decision cannot be recorded."""
    run_id, request_id = await stage.asks_to_pay()
    async with locked(stage.servers.owner_url, "approval_decisions", "SHARE"):
        deciding = asyncio.create_task(stage.decide(request_id, "bob", "approve"))
        await stage.begins(approval_workflow_id(stage.missions.tenant_id, request_id), "record_decision")
        await stage.missions.workflow_client.runs.cancel(stage.missions.tenant_id, run_id)
        await stage.missions.ended(run_id)
        await deciding
    return run_id


@scene(approval="closed_in_order")
async def closed_in_order(stage: Stage) -> str:
    """The run is cancelled while a decision is recorded: what comes first is history before the request is closed."""
    run_id, request_id = await stage.asks_to_pay()
    deciding = asyncio.create_task(stage.decide(request_id, "bob", "approve"))
    await stage.begins(approval_workflow_id(stage.missions.tenant_id, request_id), "record_decision")
    await stage.missions.workflow_client.runs.cancel(stage.missions.tenant_id, run_id)
    await stage.missions.ended(run_id)
    await deciding
    return run_id


@scene(approval="signals_refused")
async def signals_refused(stage: Stage) -> str:
    run_id, request_id = await stage.asks_to_pay(signal_channel=False)
    await stage.signal(request_id, "approve", {"approver": "bob"})
    await stage.decide(request_id, "bob", "approve")
    await stage.missions.ended(run_id)
    return run_id


@scene(run="approved_for_the_run", approval="edited_and_for_the_run")
async def approved_for_the_run(stage: Stage) -> str:
    pay = tool_calls([("pay", {"amount": 7})])
    stage.llm.script([pay, pay, text("So be it.")])
    run_id = await stage.missions.start()
    event = await stage.missions.event(run_id, "approval.requested")
    request_id = str(event.data["request_id"])
    edit = await stage.missions.propose(request_id, {"amount": 5})
    await stage.decide(request_id, "bob", "approve", edit=edit, for_run=True)
    await stage.missions.ended(run_id)
    return run_id


@scene(approval="escalated")
async def escalated(stage: Stage) -> str:
    actions = (
        TimedAction(ActionKind.REMIND, 1),
        TimedAction(ActionKind.WIDEN, 2, Deciders(("operator",))),
        TimedAction(ActionKind.REASSIGN, 3, Deciders(people=("carol",))),
    )
    run_id, request_id = await stage.asks_to_pay(actions=actions)
    await stage.missions.event(run_id, "approval.escalated", 2)
    await stage.decide(request_id, "bob", "approve")
    await stage.decide(request_id, "carol", "approve")
    await stage.missions.ended(run_id)
    return run_id


@scene(approval="changed")
async def changed(stage: Stage) -> str:
    run_id, request_id = await stage.asks_to_pay()
    wishes = [
        Change("bob", "reassign", now(), to=Deciders(people=("carol",))),
        Change("nobody", "withdraw", now()),
        Change("alice", "withdraw", now(), "never mind"),
    ]
    for wish in wishes:
        await stage.missions.workflow_client.approvals.change(stage.missions.tenant_id, request_id, wish)
    await stage.missions.ended(run_id)
    return run_id


@scene(approval="asked_by_a_person", alone=True)
async def asked_by_a_person(stage: Stage) -> str:
    request_id = await stage.missions.ask(carries_out=True)
    await stage.decide(request_id, "bob", "approve")
    await stage.missions.closed(request_id)
    return request_id


@scene(approval="voided", alone=True)
async def voided(stage: Stage) -> str:
    request_id = await stage.missions.ask(FLEETING)
    await stage.decide(request_id, "bob", "approve")
    await stage.missions.closed(request_id)
    return request_id


@scene(approval="publication_approved", alone=True)
async def publication_approved(stage: Stage) -> str:
    request_id = await stage.asks_to_publish()
    await stage.decide(request_id, "bob", "approve")
    await stage.missions.closed(request_id)
    return request_id


@scene(approval="publication_rejected", alone=True)
async def publication_rejected(stage: Stage) -> str:
    request_id = await stage.asks_to_publish()
    await stage.signal(request_id, "reject", {"approver": "bob", "comment": "by signal"})
    await stage.missions.closed(request_id)
    return request_id


@scene(approval="publication_expired", alone=True)
async def publication_expired(stage: Stage) -> str:
    request_id = await stage.asks_to_publish(expire_seconds=1)
    await stage.missions.closed(request_id)
    return request_id


@scene(approval="publication_withdrawn", alone=True)
async def publication_withdrawn(stage: Stage) -> str:
    request_id = await stage.asks_to_publish()
    handle = stage.temporal.get_workflow_handle(approval_workflow_id(stage.missions.tenant_id, request_id))
    await handle.cancel()
    await stage.missions.closed(request_id)
    return request_id
