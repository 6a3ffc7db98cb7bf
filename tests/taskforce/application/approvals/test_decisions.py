"""Requests for approval and the people who decide them."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from taskforce.application.approvals.decisions import DecisionAttempt, RecordedDecision
from taskforce.core.domain.approvals.approval import ApprovalStatus, Channel, Decision, Verdict
from taskforce.core.domain.canonical_json import canonical_hash
from taskforce.core.domain.errors import Conflict, DomainError, Missing
from taskforce.core.domain.ids import new_id
from tests.taskforce.application.approvals.requests import opened
from tests.taskforce.application.scenario import AGENT, CLAIMS_AGE, Stage


async def refusal(stage: Stage, request_id: str, who: str, channel: Channel = Channel.API) -> str:
    with pytest.raises(DomainError) as refused:
        await stage.decisions.authorize(DecisionAttempt(stage.tenant_id, request_id, who, channel))
    return refused.value.code


async def test_a_request_shows_exactly_what_is_approved(stage: Stage) -> None:
    run_id = await stage.asked(("pay", {"amount": 3}))
    request = await stage.decisions.open_call(stage.ref(run_id), new_id())
    payload = {"tool": "pay", "arguments": {"amount": 3}}
    assert request.payload == {**payload, "reason": "Let me see."}
    assert request.content_hash == canonical_hash(payload)
    assert (request.approval.requester_id, request.title) == ("alice", "Assistant wants to call pay")


async def test_opened_twice_it_is_the_same_row(stage: Stage) -> None:
    run_id, request_id = await stage.asked(("pay", {"amount": 3})), new_id()
    opened = await asyncio.gather(*(stage.decisions.open_call(stage.ref(run_id), request_id) for _ in range(5)))
    stage.now += timedelta(hours=1)
    assert await stage.decisions.open_call(stage.ref(run_id), request_id) == opened[0]
    assert all(one == opened[0] for one in opened)
    assert [event.type for event in await stage.events(run_id)] == ["run.queued", "approval.requested"]
    assert len(await stage.audited("approval.request")) == 1


async def test_who_may_not_decide_is_refused_by_code_and_audited(stage: Stage) -> None:
    _, request_id = await opened(stage)
    await stage.person("victor", "viewer")
    await stage.person("dora", "admin")
    await stage.deactivate("dora")
    tries = {
        "alice": "self_approval",
        "victor": "approver_role_missing",
        "dora": "approver_unknown",
        "nobody": "approver_unknown",
        "\x00\ud800": "approver_unknown",
    }
    for who, code in tries.items():
        assert await refusal(stage, request_id, who) == code
    audited = await stage.audited("approval.decide")
    assert sorted(str(row[2]) for row in audited) == sorted(tries.values())
    assert {row[1] for row in audited} == {"denied"}


async def test_a_role_counts_only_while_its_claim_is_fresh(stage: Stage) -> None:
    _, request_id = await opened(stage)
    await stage.person("bob", "admin")
    attempt = DecisionAttempt(stage.tenant_id, request_id, "bob", Channel.API)
    await stage.decisions.authorize(attempt)
    stage.now += CLAIMS_AGE + timedelta(seconds=1)
    assert await refusal(stage, request_id, "bob") == "approver_role_missing"
    await stage.person("bob", "admin")
    await stage.decisions.authorize(attempt)


@pytest.mark.parametrize(("signals", "code"), [(False, "channel_refused"), (True, "approver_unknown")])
async def test_a_signal_goes_through_the_same_check(stage: Stage, *, signals: bool, code: str) -> None:
    _, request_id = await opened(stage, signals=signals)
    assert await refusal(stage, request_id, "nobody", Channel.SIGNAL) == code


async def test_a_request_of_another_tenant_is_missing(stage: Stage) -> None:
    _, request_id = await opened(stage)
    other = Stage(stage.database, f"{stage.tenant_id}-b")
    await other.person("bob", "admin")
    with pytest.raises(Missing) as refused:
        await other.decisions.authorize(DecisionAttempt(other.tenant_id, request_id, "bob", Channel.API))
    assert refused.value.code == "request_not_found"


async def test_a_decision_and_an_end_are_recorded_once(stage: Stage) -> None:
    run_id, request_id = await opened(stage)
    word = Decision("bob", Verdict.REJECT, "too \x00 much", Channel.API, stage.now)
    for _ in range(2):
        await stage.decisions.record(stage.tenant_id, request_id, RecordedDecision(word))
        await stage.decisions.close(stage.tenant_id, request_id, ApprovalStatus.REJECTED, "bob: too \x00 much")
    await stage.decisions.close(stage.tenant_id, request_id, ApprovalStatus.APPROVED, "late")
    milestones = [event.type for event in await stage.events(run_id)]
    assert milestones == ["run.queued", "approval.requested", "approval.decided", "approval.closed"]
    assert await stage.audited("approval.decide") == [("bob", "reject", None)]
    assert await stage.audited("approval.close") == [("system", "rejected", "bob: too \ufffd much")]
    assert await stage.rows("approvals", "status, reason") == [("rejected", "bob: too \ufffd much")]


async def test_who_has_decided_cannot_decide_again(stage: Stage) -> None:
    agent = replace(AGENT, approval=replace(AGENT.approval, required_approvers=2))
    run_id, request_id = await stage.asked(("pay", {"amount": 3}), agent=agent), new_id()
    await stage.decisions.open_call(stage.ref(run_id), request_id)
    await stage.person("bob", "admin")
    word = Decision("bob", Verdict.APPROVE, "", Channel.API, stage.now)
    await stage.decisions.record(stage.tenant_id, request_id, RecordedDecision(word))
    assert await refusal(stage, request_id, "bob") == "already_decided"


async def test_a_request_for_a_step_that_is_not_there_is_missing(stage: Stage) -> None:
    run_id = await stage.asked(("pay", {"amount": 3}))
    with pytest.raises(Missing):
        await stage.decisions.open_call(stage.ref(run_id, step=5), new_id())


async def to_be_cancelled(stage: Stage, run_id: str) -> None:
    async with stage.database.tenant(stage.tenant_id) as records:
        await records.runs.cancel(run_id, stage.now)


@pytest.mark.parametrize("channel", list(Channel))
async def test_no_decision_begins_once_the_runs_cancellation_was_requested(stage: Stage, channel: Channel) -> None:
    run_id, request_id = await opened(stage, signals=True)
    await stage.person("bob", "admin")
    await to_be_cancelled(stage, run_id)
    assert await refusal(stage, request_id, "bob", channel) == "run_cancelled"
    assert await stage.audited("approval.decide") == [("bob", "denied", "run_cancelled")]


async def test_a_decision_that_was_authorized_before_the_cancellation_is_not_recorded_after_it(stage: Stage) -> None:
    run_id, request_id = await opened(stage)
    await to_be_cancelled(stage, run_id)
    word = RecordedDecision(Decision("bob", Verdict.APPROVE, "", Channel.API, stage.now))
    with pytest.raises(Conflict) as refused:
        await stage.decisions.record(stage.tenant_id, request_id, word)
    assert refused.value.code == "run_cancelled"
    assert await stage.rows("approval_decisions", "approver_id") == []
    assert await stage.audited("approval.decide") == [("bob", "denied", "run_cancelled")]


async def test_a_decision_that_is_on_record_is_recorded_again_after_the_cancellation(stage: Stage) -> None:
    run_id, request_id = await opened(stage)
    word = RecordedDecision(Decision("bob", Verdict.APPROVE, "", Channel.API, stage.now))
    await stage.decisions.record(stage.tenant_id, request_id, word)
    await to_be_cancelled(stage, run_id)
    await stage.decisions.record(stage.tenant_id, request_id, word)
    assert await stage.rows("approval_decisions", "approver_id") == [("bob",)]
