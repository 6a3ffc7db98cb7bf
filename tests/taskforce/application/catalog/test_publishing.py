"""What the end of a request means for the version that waits for it."""

from dataclasses import replace

import pytest

from taskforce.application.approval_handlers.agent_publication import CHANGED, AgentPublicationHandler
from taskforce.application.approvals.decisions import DecisionAttempt, RecordedDecision
from taskforce.application.catalog.agents import (
    AgentChange,
    Named,
    NewAgent,
    act_of,
    change_agent,
    create_agent,
    point_alias,
    remove_agent,
)
from taskforce.application.catalog.publishing import (
    Submission,
    VerdictPreconditions,
    request_for,
    require_waiting,
    submit_version,
)
from taskforce.application.catalog.versions import (
    Retirement,
    Revision,
    archive_version,
    deprecate_version,
    publish_version,
    revise_version,
    roll_back,
)
from taskforce.core.domain.approvals.approval import ApprovalStatus, Channel, Decision, Verdict
from taskforce.core.domain.approvals.records import Request
from taskforce.core.domain.approvals.terms import Terms
from taskforce.core.domain.catalog.definition import ANYTHING
from taskforce.core.domain.catalog.version import VersionStatus
from taskforce.core.domain.errors import Conflict, Forbidden
from taskforce.core.domain.identity.principals import AccessRules
from taskforce.core.domain.identity.resource_roles import ResourceGrant
from taskforce.core.domain.ids import new_id
from taskforce.core.interfaces.identity import ResourceType
from tests.fixtures.agents import GOOD, NOW, make_acting
from tests.taskforce.application.catalog.publications import version
from tests.taskforce.application.scenario import Stage

HERE = Named("counter")
PUBLICATIONS = AgentPublicationHandler(AccessRules())


async def submitted(stage: Stage) -> Request:
    await stage.database.register_tenant(stage.tenant_id, NOW)
    actor = await make_acting(stage.database, stage.tenant_id, "dora", NOW, "agent_designer")
    await create_agent(stage.database, actor, NewAgent("Counter", GOOD))
    return (await submit_version(stage.database, actor, HERE, Submission("0.1.0", ANYTHING, Terms())))[1]


async def test_an_approved_request_approves_once_and_says_by_whom(stage: Stage) -> None:
    request = await submitted(stage)
    said = Decision("bob", Verdict.APPROVE, "fine", Channel.API, NOW)
    request_id = request.approval.request_id
    await stage.decisions.record(stage.tenant_id, request_id, RecordedDecision(said))
    for _ in range(2):
        await stage.approve(request_id)
    after = await version(stage)
    assert after.status is VersionStatus.APPROVED
    assert [(one.now.value, one.by, one.comment) for one in after.transitions] == [
        ("pending_approval", "dora", ""), ("approved", "bob", "bob: fine"),
    ]  # fmt: skip
    assert await stage.audited("agent.version.approve") == [("bob", "allowed", "bob: fine")]
    assert stage.live.told == set()


@pytest.mark.parametrize("status", [ApprovalStatus.REJECTED, ApprovalStatus.EXPIRED, ApprovalStatus.WITHDRAWN])
async def test_any_other_end_makes_it_a_draft_again(stage: Stage, status: ApprovalStatus) -> None:
    request = await submitted(stage)
    await stage.decisions.close(stage.tenant_id, request.approval.request_id, status, "")
    after = await version(stage)
    assert (after.status, after.transitions[-1].by, after.transitions[-1].comment) == (
        VersionStatus.DRAFT, "system", status.value,
    )  # fmt: skip
    assert await stage.audited("agent.version.reject") == [("system", "allowed", status.value)]


async def test_an_approval_of_something_else_approves_nothing(stage: Stage) -> None:
    request = await submitted(stage)
    other = replace(request, payload={**request.payload, "config_hash": "0" * 64})
    async with stage.database.tenant(stage.tenant_id) as records:
        await PUBLICATIONS.on_closed(records, other, ApprovalStatus.APPROVED, "bob: fine", NOW)
    after = await version(stage)
    assert (after.status, after.transitions[-1].comment) == (VersionStatus.DRAFT, CHANGED)


async def test_nothing_about_a_version_changes_while_it_waits(stage: Stage) -> None:
    """Else its request would have to be told: see ADR 14."""
    request = await submitted(stage)
    actor = await make_acting(stage.database, stage.tenant_id, "ada", NOW, "admin")
    here, how = (stage.database, actor, HERE), Retirement(release=True)
    for attempt in (
        revise_version(*here, "0.1.0", Revision(definition={**GOOD, "system_prompt": "You lie."})),
        revise_version(*here, "0.1.0", Revision(number="9.9.9")),
        submit_version(*here, Submission("0.1.0", ANYTHING, Terms())),
        publish_version(*here, "0.1.0"),
        deprecate_version(*here, "0.1.0", how),
        archive_version(*here, "0.1.0", how),
        roll_back(*here, "0.1.0"),
        point_alias(*here, "live", "0.1.0"),
        remove_agent(*here),
    ):
        with pytest.raises(Conflict):
            await attempt
    await change_agent(*here, AgentChange(name="Reckoner", slug="reckoner"))
    async with stage.database.tenant(stage.tenant_id) as records:
        assert await PUBLICATIONS.current_hash(records, request) == request.content_hash


async def test_a_request_that_a_version_does_not_wait_for_any_more_changes_nothing(stage: Stage) -> None:
    first = await submitted(stage)
    await stage.decisions.close(stage.tenant_id, first.approval.request_id, ApprovalStatus.REJECTED, "no")
    actor = await make_acting(stage.database, stage.tenant_id, "dora", NOW)
    agent, _ = await request_for(stage.database, actor, "counter", "0.1.0")
    with pytest.raises(Conflict):
        require_waiting(actor, agent, "0.1.0", Verdict.APPROVE, VerdictPreconditions())
    await submit_version(stage.database, actor, HERE, Submission("0.1.0", ANYTHING, Terms()))
    gone = replace(first, payload={**first.payload, "version_id": "9.9.9"})
    missing = replace(first, resource_id="01890000-0000-7000-8000-000000000000")
    async with stage.database.tenant(stage.tenant_id) as records:
        for request in (first, gone, missing):
            await PUBLICATIONS.on_closed(records, request, ApprovalStatus.APPROVED, "bob: fine", NOW)
    assert (await version(stage)).status is VersionStatus.PENDING_APPROVAL


async def test_no_tool_call_goes_by_a_request_of_another_kind(stage: Stage) -> None:
    """An approved publication is nobody's permission to call a tool."""
    request = await submitted(stage)
    await stage.approve(request.approval.request_id)
    run_id = await stage.asked(("pay", {"amount": 7}))
    await stage.tool_step.run(stage.ref(run_id), 1, (), request.approval.request_id)
    assert "no approval" in await stage.told(run_id)


async def test_it_is_published_for_whoever_may_change_this_one_agent_and_for_nobody_who_may_not(stage: Stage) -> None:
    await submitted(stage)
    actor = await make_acting(stage.database, stage.tenant_id, "vera", NOW, "viewer")
    async with stage.database.tenant(stage.tenant_id) as records:
        agent = await records.catalog.get("counter")
        assert agent is not None
        await records.catalog.save(agent.rejected("0.1.0", act_of(actor)), agent)
    request = (await submit_version(stage.database, actor, HERE, Submission("0.1.0", ANYTHING, Terms())))[1]
    await stage.approve(request.approval.request_id)
    async with stage.database.tenant(stage.tenant_id) as records:
        with pytest.raises(Forbidden):
            await PUBLICATIONS.apply(records, request, NOW)
    grant = ResourceGrant("vera", "agent_designer", ResourceType.AGENT, request.resource_id)
    async with stage.database.tenant(stage.tenant_id) as records:
        await records.roles.grant(grant, "ada", NOW)
        assert await PUBLICATIONS.apply(records, request, NOW) == "Version 0.1.0 was published."
    assert (await version(stage)).status is VersionStatus.PUBLISHED


async def test_what_another_request_has_approved_is_not_published_by_this_one(stage: Stage) -> None:
    request = await submitted(stage)
    request_id = request.approval.request_id
    await stage.approve(request_id)
    others = (
        replace(request, approval=replace(request.approval, request_id=new_id())),
        replace(request, payload={**request.payload, "config_hash": "0" * 64}),
    )
    for other in others:
        async with stage.database.tenant(stage.tenant_id) as records:
            with pytest.raises(Conflict) as refused:
                await PUBLICATIONS.apply(records, other, NOW)
        assert refused.value.code == "subject_changed"
    assert (await version(stage)).status is VersionStatus.APPROVED
    async with stage.database.tenant(stage.tenant_id) as records:
        assert await PUBLICATIONS.apply(records, request, NOW) == "Version 0.1.0 was published."


async def test_a_request_that_was_voided_is_void_when_the_workflow_asks_once_more(stage: Stage) -> None:
    """Its task that has ended the row may fail, and be done again."""
    request_id = (await submitted(stage)).approval.request_id
    await stage.person("bob", "admin")
    await stage.decisions.close(stage.tenant_id, request_id, ApprovalStatus.VOIDED, "changed")
    with pytest.raises(Conflict) as refused:
        await stage.decisions.authorize(DecisionAttempt(stage.tenant_id, request_id, "bob", Channel.API))
    assert refused.value.code == "subject_changed"
