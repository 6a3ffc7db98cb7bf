"""Starting a run, as a schedule or a tool server would: rights, agent, commit and workflow, without HTTP."""

import pytest

from taskforce.application.access.policy_documents import StoredPolicies
from taskforce.application.access.policy_engine import PolicyEngine
from taskforce.application.catalog.agents import CatalogTags
from taskforce.application.identity.principals import Actor, load_principal
from taskforce.application.runs.start import RunPorts, RunRequest, start_run
from taskforce.core.domain.errors import Forbidden, Invalid, Missing
from taskforce.core.domain.identity.resource_roles import ResourceGrant
from taskforce.core.domain.runs.run import Limits, RunStatus
from taskforce.core.domain.runs.selection import AgentSelector
from taskforce.core.interfaces.due_rows import DueKind
from taskforce.core.interfaces.identity import ResourceType
from tests.fixtures.missions import NoWorkflows, OneAgent
from tests.taskforce.application.scenario import AGENT, RULES, Stage


def ports(stage: Stage) -> RunPorts:
    policies = PolicyEngine(StoredPolicies(stage.database), CatalogTags(stage.database), stage.clock)
    return RunPorts(stage.database, NoWorkflows(), OneAgent(AGENT, Limits()), policies)


async def actor(stage: Stage, *roles: str) -> Actor:
    await stage.person("alice", *roles)
    async with stage.database.tenant(stage.tenant_id) as records:
        return Actor(await load_principal(records, "alice", RULES, stage.now), RULES, None, stage.now)


async def late(stage: Stage) -> list[str]:
    """The runs that a sweep would start."""
    far = stage.clock().replace(year=2999)
    async with stage.database.tenant(stage.tenant_id) as records:
        return [row.row_id for row in await records.due_rows.claim(DueKind.RUN_START, far, far, 100)]


async def test_a_run_whose_workflow_cannot_be_started_now_is_left_to_the_sweeper(stage: Stage) -> None:
    started = await start_run(ports(stage), await actor(stage, "operator"), RunRequest("Count."))
    run = await stage.run(started.run_id)
    assert (run.status, run.spec.user_id, run.spec.mission) == (RunStatus.QUEUED, "alice", "Count.")
    assert await late(stage) == [started.run_id]


async def test_who_may_not_execute_the_agent_starts_nothing(stage: Stage) -> None:
    with pytest.raises(Forbidden) as refused:
        await start_run(ports(stage), await actor(stage, "viewer"), RunRequest("Count."))
    assert refused.value.code == "permission_denied"
    assert await late(stage) == []


async def test_a_role_on_the_one_agent_is_enough(stage: Stage) -> None:
    viewer = await actor(stage, "viewer")
    async with stage.database.tenant(stage.tenant_id) as records:
        grant = ResourceGrant("alice", "operator", ResourceType.AGENT, AGENT.agent_id)
        await records.roles.grant(grant, "test", stage.now)
    assert (await start_run(ports(stage), viewer, RunRequest("Count."))).agent_id == AGENT.agent_id


async def test_a_request_with_the_same_key_starts_one_run(stage: Stage) -> None:
    asked, alice = RunRequest("Count.", idempotency_key="k"), await actor(stage, "operator")
    first, second = [await start_run(ports(stage), alice, asked) for _ in range(2)]
    assert (first.run_id, first.replayed, second.replayed) == (second.run_id, False, True)


async def test_an_agent_of_a_profile_has_no_versions_and_an_unknown_one_is_not_there(stage: Stage) -> None:
    alice = await actor(stage, "operator")
    with pytest.raises(Invalid) as versioned:
        await start_run(ports(stage), alice, RunRequest("Count.", AgentSelector(version="1.0.0")))
    assert versioned.value.code == "agent_has_no_versions"
    with pytest.raises(Missing) as unknown:
        await start_run(ports(stage), alice, RunRequest("Count.", AgentSelector(agent_id="nobody")))
    assert unknown.value.code == "agent_not_found"
