"""A request that has heard very much continues as new, and nothing of it is lost."""

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from temporalio.client import Client

from taskforce.core.domain.approvals.approval import ApprovalStatus, Verdict, workflow_id
from taskforce.core.domain.approvals.changes import Change
from taskforce.core.domain.approvals.submissions import SubmittedDecision
from taskforce.core.domain.approvals.terms import ActionKind, Deciders, TimedAction
from taskforce.core.domain.errors import Conflict, Missing
from tests.chaos.invariants import eventually
from tests.fixtures.missions import Missions, now
from tests.fixtures.scripted_llm import ScriptedLLM, text, tool_calls

pytestmark = pytest.mark.usefixtures("worker")
# What a part of a request holds on the servers of the tests before it continues as new.
WORDS = 60


async def parts(temporal: Client, missions: Missions, request_id: str) -> int:
    query = f"WorkflowId = '{workflow_id(missions.tenant_id, request_id)}'"
    return len([one.run_id async for one in temporal.list_workflows(query)])


async def say(missions: Missions, request_id: str, who: str) -> str | None:
    said = SubmittedDecision(approver_id=who, verdict=Verdict.APPROVE)
    return (await missions.workflow_client.approvals.decide(missions.tenant_id, request_id, said)).code


async def talk(missions: Missions, request_id: str) -> None:
    """So many words that do not count that the request continues as new."""
    for number in range(WORDS):
        assert await say(missions, request_id, f"nobody-{number}") == "approver_unknown"


async def test_words_deciders_and_what_time_brought_are_handed_on(missions: Missions, temporal: Client) -> None:
    for who in ("bob", "carol", "dora", "edna"):
        await missions.person(who, "admin")
    reminds = (TimedAction(ActionKind.REMIND, 1), TimedAction(ActionKind.REMIND, 90 * 86_400))
    request_id = await missions.ask(required_approvers=2, expire_seconds=100 * 86_400, actions=reminds)
    assert await say(missions, request_id, "bob") is None
    to = Change("bob", "reassign", now(), to=Deciders(people=("bob", "carol")))
    assert (await missions.workflow_client.approvals.change(missions.tenant_id, request_id, to)).code is None
    await eventually(lambda: reminded(missions, request_id))
    await talk(missions, request_id)
    assert await parts(temporal, missions, request_id) > 1
    with pytest.raises(Conflict) as twice:
        await say(missions, request_id, "bob")
    assert twice.value.code == "already_decided"
    assert await say(missions, request_id, "dora") == "approver_role_missing"
    request = await missions.request(request_id)
    assert request.approval.acted == 1
    assert request.approval.who == Deciders(people=("bob", "carol"))
    assert await say(missions, request_id, "carol") is None
    assert (await missions.closed(request_id)).status is ApprovalStatus.APPROVED
    await missions.workflow_client.approvals.concluded(missions.tenant_id, request_id)
    history = await missions.history(request_id)
    assert history.count("reminded") == history.count("carried_out") == 1
    assert timedelta(days=90) < request.approval.expires_at - request.approval.opened_at


async def test_the_run_that_waits_for_it_hears_the_end_of_its_last_part(
    missions: Missions, temporal: Client, scripted: ScriptedLLM
) -> None:
    for who in ("bob", "carol"):
        await missions.person(who, "admin")
    missions.agent = replace(missions.agent, approval=replace(missions.agent.approval, required_approvers=2))
    scripted.script([tool_calls([("pay", {"amount": 7})]), text("Paid.")])
    run_id = await missions.start()
    request_id = str((await missions.event(run_id, "approval.requested")).data["request_id"])
    await eventually(lambda: opened(missions, request_id))
    assert await say(missions, request_id, "bob") is None
    await talk(missions, request_id)
    assert await parts(temporal, missions, request_id) > 1
    assert await say(missions, request_id, "carol") is None
    assert (await missions.ended(run_id)).answer == "Paid."


async def reminded(missions: Missions, request_id: str) -> bool:
    return "reminded" in await missions.history(request_id)


async def opened(missions: Missions, request_id: str) -> bool:
    with suppress(Missing, Conflict):
        await say(missions, request_id, "nobody")
        return True
    return False
