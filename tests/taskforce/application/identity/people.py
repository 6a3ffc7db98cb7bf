"""People who act, and what they are refused."""

from collections.abc import Awaitable, Collection, Sequence

import pytest

from taskforce.application.access import explanations
from taskforce.application.access.policy_documents import StoredPolicies
from taskforce.application.access.policy_engine import PolicyEngine
from taskforce.application.catalog.agents import CatalogTags
from taskforce.application.identity import users
from taskforce.application.identity.principals import Actor, load_principal
from taskforce.application.identity.users import UserChange
from taskforce.core.domain.errors import DomainError
from taskforce.core.domain.identity.principals import AccessRules
from taskforce.core.domain.identity.resource_roles import ResourceGrant
from taskforce.core.domain.identity.users import UserRecord
from taskforce.core.interfaces.identity import Permission, ResourceType, Role
from tests.taskforce.application.scenario import RULES, Stage


def on_a1(kind: ResourceType) -> Collection[str]:
    """A deployment with one agent, a1."""
    return {"a1"} if kind is ResourceType.AGENT else ()


def engine(stage: Stage) -> PolicyEngine:
    """The policy engine of a gateway."""
    return PolicyEngine(StoredPolicies(stage.database), CatalogTags(stage.database), stage.clock)


async def own_grants(stage: Stage, who: Actor) -> Sequence[tuple[ResourceGrant, frozenset[Permission]]]:
    """What somebody reads about their roles on single resources."""
    return await explanations.own_grants(stage.database, engine(stage), who, {})


async def role(stage: Stage, name: str, *permissions: Permission) -> str:
    """A role of the tenant's own."""
    made = Role(f"custom:{name}", name, permissions=frozenset(permissions), tenant_id=stage.tenant_id)
    async with stage.database.tenant(stage.tenant_id) as records:
        await records.roles.add(made, "tests", stage.now)
    return made.role_id


async def actor(stage: Stage, user_id: str, rules: AccessRules = RULES) -> Actor:
    """Somebody who is known, as they stand now."""
    async with stage.database.tenant(stage.tenant_id) as records:
        return Actor(await load_principal(records, user_id, rules, stage.now), rules, "req-1", stage.now)


async def admin(stage: Stage, user_id: str = "ada") -> Actor:
    await stage.person(user_id, "admin")
    return await actor(stage, user_id)


async def manager(stage: Stage) -> Actor:
    """Somebody who manages users and else may only look."""
    await stage.person("mia", "viewer")
    role_id = await role(stage, "people", Permission.USER_MANAGE)
    await users.change_user(stage.database, await admin(stage), "mia", UserChange(roles=frozenset({role_id})))
    return await actor(stage, "mia")


async def found(stage: Stage, user_id: str) -> UserRecord:
    async with stage.database.tenant(stage.tenant_id) as records:
        user = await records.users.get(user_id)
    assert user is not None
    return user


async def refusal(attempt: Awaitable[object]) -> DomainError:
    with pytest.raises(DomainError) as refused:
        await attempt
    return refused.value


async def code(attempt: Awaitable[object]) -> str:
    return (await refusal(attempt)).code
