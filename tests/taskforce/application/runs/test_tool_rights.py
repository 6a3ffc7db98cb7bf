"""Rights of a run's tool calls: asked of the tool, in the run of the agent."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from taskforce.application.identity.api_keys import NewKey, issue_key
from taskforce.application.identity.principals import load_principal
from taskforce.application.runs.control import MessageDraft, send_message
from taskforce.application.runs.creation import create_run
from taskforce.application.runs.tool_checks import ToolCallPolicy
from taskforce.core.domain.access.policy_documents import parse
from taskforce.core.domain.identity.resource_roles import ResourceGrant
from taskforce.core.interfaces.identity import Permission, ResourceType
from taskforce.core.interfaces.llm import RequestedCall
from tests.taskforce.application.access.policy_shelf import Shelf
from tests.taskforce.application.identity.people import actor, code
from tests.taskforce.application.scenario import AGENT, RULES, TOOLS, Stage

HOUR = timedelta(hours=1)
REFUSED = "Refused: This needs the permission tool:execute."
ON_AGENT = (ResourceType.AGENT, AGENT.agent_id)
NO_ECHO: Mapping[str, object] = {"id": "no-echo", "effect": "deny", "actions": ["tool:execute"]}
OF_ECHO: Mapping[str, object] = {**NO_ECHO, "resources": [{"type": "tool", "ids": ["echo"]}]}


async def holding(
    stage: Stage, kind: ResourceType, name: str, role: str = "operator", hours: int | None = None
) -> None:
    """Alice is a viewer of the tenant, and holds a role on one resource."""
    await stage.person("alice", "viewer")
    until = None if hours is None else stage.now + hours * HOUR
    async with stage.database.tenant(stage.tenant_id) as records:
        await records.roles.grant(ResourceGrant("alice", role, kind, name, until), "tests", stage.now)


async def run_of_alice(stage: Stage, agent_id: str = AGENT.agent_id, key_id: str | None = None) -> str:
    mission = stage.mission(actor=stage.acting(key_id=key_id), agent=replace(AGENT, agent_id=agent_id))
    return (await create_run(stage.database, mission)).run_id


async def objection(stage: Stage, run_id: str, *rules: Mapping[str, object], tool: str = "echo") -> str | None:
    """Why a run may not call a tool, under these rules of the tenant; None where it may."""
    policy = ToolCallPolicy(TOOLS, stage.clock, RULES, Shelf(), prices=stage.prices, books=stage.books)
    call = RequestedCall("call_1", tool, '{"text": "x"}')
    async with stage.database.tenant(stage.tenant_id) as records:
        spec = await records.runs.spec(run_id)
        assert spec is not None
        document = parse({"version": 1, "rules": list(rules)})
        return await policy.objection_now(records, spec, document, ref=stage.ref(run_id), call=call, request=None)


async def test_a_role_on_an_agent_runs_its_tools_in_its_runs_alone(stage: Stage) -> None:
    await holding(stage, *ON_AGENT)
    own, other = await run_of_alice(stage), await run_of_alice(stage, "another")
    assert (await objection(stage, own), await objection(stage, other)) == (None, REFUSED)
    only_pay = replace(AGENT, tools=("pay",))
    narrow = (await create_run(stage.database, stage.mission(agent=only_pay))).run_id
    assert await objection(stage, narrow) == "There is no tool named 'echo'. Tools: pay."


async def test_a_role_on_a_tool_runs_it_in_every_agents_run(stage: Stage) -> None:
    await holding(stage, ResourceType.TOOL, "echo")
    for agent_id in (AGENT.agent_id, "another"):
        run_id = await run_of_alice(stage, agent_id)
        assert await objection(stage, run_id) is None
        assert await objection(stage, run_id, tool="echo_slowly") == REFUSED


@pytest.mark.parametrize(("kind", "name"), [ON_AGENT, (ResourceType.TOOL, "echo")])
async def test_a_role_that_gives_no_call_of_tools_gives_none_there(stage: Stage, kind: ResourceType, name: str) -> None:
    await holding(stage, kind, name, "viewer")
    assert await objection(stage, await run_of_alice(stage)) == REFUSED


@pytest.mark.parametrize(("kind", "name"), [ON_AGENT, (ResourceType.TOOL, "echo")])
async def test_a_denial_of_the_policy_wins(stage: Stage, kind: ResourceType, name: str) -> None:
    await holding(stage, kind, name)
    run_id = await run_of_alice(stage)
    in_agent = {**NO_ECHO, "when": [{"attribute": "context.agent_id", "equals": AGENT.agent_id}]}
    for rule in (NO_ECHO, OF_ECHO, in_agent):
        assert "denied by rule 'no-echo'" in (await objection(stage, run_id, rule) or "")
    elsewhere = {**NO_ECHO, "when": [{"attribute": "context.agent_id", "equals": "another"}]}
    assert await objection(stage, run_id, elsewhere) is None


async def test_a_role_on_an_agent_for_a_time_runs_its_tools_until_its_end(stage: Stage) -> None:
    await holding(stage, *ON_AGENT, hours=1)
    run_id = await run_of_alice(stage)
    assert await objection(stage, run_id) is None
    stage.now += HOUR
    assert await objection(stage, run_id) == REFUSED


async def test_roles_on_resources_widen_no_key_which_steers_no_run_that_they_widen(stage: Stage) -> None:
    await holding(stage, *ON_AGENT)
    issued = await issue_key(stage.database, await actor(stage, "alice"), NewKey(None, "k", frozenset({"viewer"})))
    by_key = await run_of_alice(stage, key_id=issued.key.key_id)
    by_hand = await run_of_alice(stage)
    assert (await objection(stage, by_key), await objection(stage, by_hand)) == (REFUSED, None)

    async with stage.database.tenant(stage.tenant_id) as records:
        held = (await load_principal(records, "alice", RULES, stage.now)).permissions
    key = stage.acting(held=held, key_id=issued.key.key_id)
    words = send_message(stage.database, key, await stage.run(by_hand), MessageDraft("Echo it."))
    assert Permission.TOOL_EXECUTE not in held
    assert await code(words) == "run_may_more"
