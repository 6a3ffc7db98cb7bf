"""Roles on single resources: granted on what is there, and gone with it."""

from collections.abc import Collection, Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from taskforce.application.catalog.agents import Named, NewAgent, create_agent, remove_agent
from taskforce.application.identity.resource_roles import grant_role, list_grants
from taskforce.application.identity.roles import RoleChange, create_role, delete_role, update_role
from taskforce.core.domain.identity.resource_roles import ResourceGrant
from taskforce.core.domain.ids import new_id
from taskforce.core.interfaces.identity import Permission, ResourceType
from taskforce.infrastructure.persistence.connection import Query
from taskforce.infrastructure.persistence.database import Database
from tests.taskforce.application.identity.people import actor, admin, code, refusal
from tests.taskforce.application.scenario import Stage

MANAGE = frozenset({Permission.ROLE_MANAGE})


def named(kind: ResourceType) -> Collection[str]:
    """A deployment with one agent and one tool."""
    return {ResourceType.AGENT: {"assistant"}, ResourceType.TOOL: {"echo"}}.get(kind, ())


async def give(stage: Stage, kind: ResourceType, resource_id: str, role: str = "viewer") -> ResourceGrant:
    grant = ResourceGrant("bob", role, kind, resource_id)
    await grant_role(stage.database, await admin(stage), grant, named)
    return grant


async def test_a_role_is_granted_on_what_is_there(stage: Stage) -> None:
    ada = await admin(stage)
    await stage.person("bob")
    session = (await stage.accepted()).session_id
    agent = (await create_agent(stage.database, ada, NewAgent("Counter", {"instructions": "Count."}))).agent_id
    own = (await create_role(stage.database, ada, "Analyst", RoleChange())).role_id
    there = [
        await give(stage, ResourceType.AGENT, "assistant"),
        await give(stage, ResourceType.AGENT, agent),
        await give(stage, ResourceType.ROLE, own),
        await give(stage, ResourceType.ROLE, "operator"),
        await give(stage, ResourceType.SESSION, session),
        await give(stage, ResourceType.TOOL, "echo"),
        await give(stage, ResourceType.USER, "alice"),
    ]
    assert set(await list_grants(stage.database, ada, "bob")) == set(there)


@pytest.mark.parametrize("kind", ResourceType)
async def test_what_another_tenant_has_is_missing_like_what_nobody_has(
    stage: Stage, database: Database, kind: ResourceType
) -> None:
    other = Stage(database, f"{stage.tenant_id}-other")
    ada = await admin(other)
    theirs = {
        ResourceType.AGENT: (await create_agent(database, ada, NewAgent("Theirs", {"instructions": "x"}))).agent_id,
        ResourceType.ROLE: (await create_role(database, ada, "Theirs", RoleChange())).role_id,
        ResourceType.SESSION: (await other.accepted()).session_id,
        ResourceType.TENANT: other.tenant_id,
        ResourceType.USER: (await other.person("olga")).user_id,
    }
    await stage.person("bob")
    errors = [await refusal(give(stage, kind, name)) for name in (theirs.get(kind, "theirs"), "nothing", new_id())]
    assert {(error.code, error.message) for error in errors} == {("resource_not_found", "There is no such resource.")}


async def test_an_agent_is_named_by_its_id_for_a_slug_may_lead_to_another(stage: Stage) -> None:
    await create_agent(stage.database, await admin(stage), NewAgent("Counter", {"instructions": "Count."}))
    await stage.person("bob")
    assert await code(give(stage, ResourceType.AGENT, "counter")) == "resource_not_found"


async def test_roles_on_an_agent_go_with_it(stage: Stage) -> None:
    ada = await admin(stage)
    await stage.person("bob")
    agent = (await create_agent(stage.database, ada, NewAgent("Counter", {"instructions": "Count."}))).agent_id
    await give(stage, ResourceType.AGENT, agent)
    kept = await give(stage, ResourceType.AGENT, "assistant")
    await remove_agent(stage.database, ada, Named(agent, None))
    assert await list_grants(stage.database, ada, "bob") == [kept]
    removed = "audit_events WHERE action = 'agent.delete'"
    assert await stage.rows(removed, "details ->> 'grants_withdrawn'") == [("1",)]


async def test_whoever_managed_a_role_manages_none_that_takes_its_id(stage: Stage) -> None:
    ada = await admin(stage)
    await stage.person("bob")
    made = RoleChange(permissions=MANAGE)
    await create_role(stage.database, ada, "Keeper", made)
    analyst = (await create_role(stage.database, ada, "Analyst", RoleChange())).role_id
    await give(stage, ResourceType.ROLE, analyst, "custom:keeper")
    await update_role(stage.database, await actor(stage, "bob"), analyst, RoleChange(description="Bob's."))
    beyond = RoleChange(permissions=frozenset({Permission.AGENT_READ}))
    bob = await actor(stage, "bob")
    assert await code(update_role(stage.database, bob, analyst, beyond)) == "permissions_too_wide"
    assert await code(update_role(stage.database, bob, "custom:keeper", RoleChange())) == "permission_denied"

    await delete_role(stage.database, ada, analyst)
    await create_role(stage.database, ada, "Analyst", RoleChange())
    assert await code(update_role(stage.database, bob, analyst, RoleChange())) == "permission_denied"


async def test_grants_on_a_resource_are_found_by_their_index(stage: Stage) -> None:
    lines: list[str] = []
    await stage.person("bob")
    async with stage.database.tenant(stage.tenant_id) as records:
        connection = records.roles._connection

        async def explained(query: Query, values: dict[str, object]) -> int:
            found: Sequence[Any] = await connection._driver.fetch(f"EXPLAIN {query.text}", *query.arguments(values))
            lines.extend(str(row[0]) for row in found)
            return 0

        # Of few rows the planner would rather read all.
        await connection.value(sa.text("SELECT set_config('enable_seqscan', 'off', true)"))
        connection.change = explained  # type: ignore[method-assign,assignment]  # this transaction's own
        await records.roles.withdraw_all(ResourceType.AGENT, "a1")
    assert "resource_grants_by_resource" in "\n".join(lines)
