"""What cannot be checked or recorded holds up neither other people nor whoever ends the request."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner

import workflows.approval
from taskforce.application.approvals.submissions import (
    DecidedRequest,
    DecisionDraft,
    DecisionPorts,
    decide,
    find_to_decide,
)
from taskforce.application.identity.principals import Actor, load_principal
from taskforce.core.domain.approvals.approval import ApprovalStatus, Channel, Decision, Verdict, workflow_id
from taskforce.core.domain.approvals.submissions import SubmittedDecision
from taskforce.core.domain.approvals.update_proofs import LONGEST_WAIT
from taskforce.core.domain.errors import Conflict, Unavailable
from taskforce.core.domain.runs.run import RunStatus
from taskforce.infrastructure.composition import use_cases
from taskforce.infrastructure.persistence.database import Database
from tests.fixtures.missions import Missions, now
from tests.fixtures.scripted_llm import ScriptedLLM, text, tool_calls
from tests.fixtures.stack import PROOF_KEY, DatabaseUrls, locked
from worker import WorkerParts, build_worker
from workflows.client.client import WorkflowClient

APPROVAL = DecisionDraft(Verdict.APPROVE, "fine")
BOB = SubmittedDecision("bob", Verdict.APPROVE, comment="fine")


@dataclass(frozen=True)
class Decider:
    """Somebody who decides as a gateway lets them."""

    missions: Missions
    parts: WorkerParts
    user_id: str
    workflows: WorkflowClient

    async def decides(self, request_id: str, draft: DecisionDraft) -> DecidedRequest:
        rules, cases, missions = self.parts.rules, use_cases(self.parts.foundation), self.missions
        ports = DecisionPorts(missions.database, self.workflows.approvals, cases.decisions, cases.changes)
        async with missions.database.tenant(missions.tenant_id) as records:
            actor = Actor(await load_principal(records, self.user_id, rules, now()), rules, None, now())
        return await decide(ports, actor, await find_to_decide(ports, actor, request_id), draft)


async def decider(missions: Missions, parts: WorkerParts, user_id: str) -> Decider:
    await missions.person(user_id, "admin")
    return Decider(missions, parts, user_id, missions.workflow_client)


async def accepted(temporal: Client, missions: Missions, request_id: str) -> int:
    """How many updates the history of a request holds."""
    history = await temporal.get_workflow_handle(workflow_id(missions.tenant_id, request_id)).fetch_history()
    return sum(one.HasField("workflow_execution_update_accepted_event_attributes") for one in history.events)


def word_of_bob(content: str) -> Decision:
    return Decision("bob", Verdict.APPROVE, "fine", Channel.API, now(), None, content)


async def tried(temporal: Client, missions: Missions, request_id: str, activity: str) -> None:
    """Waits until an activity of a request is under way as a regular one."""
    handle = temporal.get_workflow_handle(workflow_id(missions.tenant_id, request_id))
    async with asyncio.timeout(60):
        while True:
            pending = (await handle.describe()).raw_description.pending_activities
            if any(one.activity_type.name == activity for one in pending):
                return
            await asyncio.sleep(0.05)


@pytest.fixture
async def impatient(
    temporal: Client, parts: WorkerParts, database: Database, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Missions]:
    """A worker that gives a decision up after a second."""
    monkeypatch.setattr(workflows.approval, "DECISION_PATIENCE", timedelta(seconds=1))
    queue = f"impatient-{tenant}"
    async with build_worker(temporal, queue, parts, workflow_runner=UnsandboxedWorkflowRunner()):
        yield Missions(database, WorkflowClient(temporal, queue, PROOF_KEY), tenant)


@pytest.mark.usefixtures("worker")
async def test_a_run_that_waits_behind_a_decision_which_cannot_be_taken_is_cancelled(
    missions: Missions, scripted: ScriptedLLM, temporal: Client, postgres: DatabaseUrls
) -> None:
    await missions.person("bob", "admin")
    scripted.script([tool_calls([("pay", {"amount": 7})]), text("So be it.")])
    run_id = await missions.start()
    request_id = str((await missions.event(run_id, "approval.requested")).data["request_id"])
    async with locked(postgres.owner, "approval_decisions", "SHARE"):
        deciding = asyncio.create_task(missions.workflow_client.approvals.decide(missions.tenant_id, request_id, BOB))
        await tried(temporal, missions, request_id, "record_decision")
        await missions.workflow_client.runs.cancel(missions.tenant_id, run_id)
        assert (await missions.ended(run_id)).status is RunStatus.CANCELLED
        assert (await missions.request(request_id)).status is ApprovalStatus.WITHDRAWN
        assert (await deciding).code == "request_closed"


async def test_a_decision_that_cannot_be_recorded_is_given_up_and_can_be_made_again(
    impatient: Missions, postgres: DatabaseUrls
) -> None:
    await impatient.person("bob", "admin")
    request_id = await impatient.ask()
    client, tenant_id = impatient.workflow_client, impatient.tenant_id
    async with locked(postgres.owner, "approval_decisions", "SHARE"):
        first = await client.approvals.decide(tenant_id, request_id, BOB)
        assert first.status == "pending"
        assert first.code is not None
        # The lock is free: who comes next is heard, and not left waiting.
        nobody = await client.approvals.decide(tenant_id, request_id, replace(BOB, approver_id="nobody"))
        assert nobody.code == "approver_unknown"
    assert (await client.approvals.decide(tenant_id, request_id, BOB)).code is None
    assert (await impatient.closed(request_id)).status is ApprovalStatus.APPROVED


async def test_a_decision_that_was_given_up_is_made_again_under_the_same_key(
    impatient: Missions, parts: WorkerParts, postgres: DatabaseUrls, temporal: Client
) -> None:
    """Twice it cannot be recorded; the third call counts, and what comes after it is answered alike."""
    bob = await decider(impatient, parts, "bob")
    request_id, keyed = await impatient.ask(), replace(APPROVAL, key="once")
    async with locked(postgres.owner, "approval_decisions", "SHARE"):
        for _ in range(2):
            with pytest.raises(Unavailable) as failed:
                await bob.decides(request_id, keyed)
            assert failed.value.code == "decision_failed"
    assert await bob.decides(request_id, keyed) == DecidedRequest(ApprovalStatus.APPROVED)
    assert await bob.decides(request_id, keyed) == DecidedRequest(ApprovalStatus.APPROVED, replayed=True)
    assert await accepted(temporal, impatient, request_id) == 3


async def test_a_decision_that_is_on_record_though_it_did_not_count_counts_when_it_is_made_again(
    impatient: Missions, postgres: DatabaseUrls
) -> None:
    """Its writing was given up in the moment in which it was written."""
    for person in ("bob", "carol"):
        await impatient.person(person, "admin")
    request_id = await impatient.ask(required_approvers=2)
    client, tenant_id = impatient.workflow_client, impatient.tenant_id
    async with locked(postgres.owner, "approval_decisions", "SHARE"):
        assert (await client.approvals.decide(tenant_id, request_id, BOB)).code is not None
    async with impatient.database.tenant(tenant_id) as records:
        content = (await impatient.request(request_id)).approval.content
        await records.requests.decided(request_id, word_of_bob(content))
    no = replace(BOB, verdict=Verdict.REJECT)
    assert (await client.approvals.decide(tenant_id, request_id, no)).code == "already_decided"
    assert (await client.approvals.decide(tenant_id, request_id, BOB)).code is None
    carol = replace(BOB, approver_id="carol")
    assert (await client.approvals.decide(tenant_id, request_id, carol)).status == "approved"


async def test_a_decision_that_is_on_record_counts_when_it_is_made_again_without_a_key(
    impatient: Missions, parts: WorkerParts, postgres: DatabaseUrls, temporal: Client
) -> None:
    """What was told as failed was written late; nobody else's word, and no other one, is answered by it."""
    bob, carol = [await decider(impatient, parts, person) for person in ("bob", "carol")]
    request_id = await impatient.ask(required_approvers=2)
    async with locked(postgres.owner, "approval_decisions", "SHARE"):
        with pytest.raises(Unavailable):
            await bob.decides(request_id, APPROVAL)
    async with impatient.database.tenant(impatient.tenant_id) as records:
        content = (await impatient.request(request_id)).approval.content
        await records.requests.decided(request_id, word_of_bob(content))
    for other in (replace(APPROVAL, verdict=Verdict.REJECT), replace(APPROVAL, comment="if I must")):
        with pytest.raises(Conflict) as refused:
            await bob.decides(request_id, other)
        assert refused.value.code == "already_decided"
    assert await bob.decides(request_id, APPROVAL) == DecidedRequest(ApprovalStatus.PENDING)
    assert await bob.decides(request_id, APPROVAL) == DecidedRequest(ApprovalStatus.PENDING, replayed=True)
    assert await carol.decides(request_id, APPROVAL) == DecidedRequest(ApprovalStatus.APPROVED)
    await impatient.closed(request_id)
    assert await bob.decides(request_id, APPROVAL) == DecidedRequest(ApprovalStatus.APPROVED, replayed=True)
    assert await accepted(temporal, impatient, request_id) == 3


async def test_a_decision_that_waited_too_long_is_made_anew_under_the_same_key(
    impatient: Missions, parts: WorkerParts, temporal: Client
) -> None:
    yesterday = WorkflowClient(temporal, f"impatient-{impatient.tenant_id}", PROOF_KEY, lambda: now() - LONGEST_WAIT)
    bob = await decider(impatient, parts, "bob")
    request_id, keyed = await impatient.ask(), replace(APPROVAL, key="once")
    with pytest.raises(Conflict) as refused:
        await replace(bob, workflows=yesterday).decides(request_id, keyed)
    assert refused.value.code == "proof_expired"
    assert await bob.decides(request_id, keyed) == DecidedRequest(ApprovalStatus.APPROVED)
    assert await bob.decides(request_id, keyed) == DecidedRequest(ApprovalStatus.APPROVED, replayed=True)
    assert await accepted(temporal, impatient, request_id) == 2
