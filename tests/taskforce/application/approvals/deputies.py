"""Who manages definitions of approvals."""

from taskforce.application.identity.principals import Actor, load_principal
from taskforce.application.identity.roles import RoleChange, create_role
from taskforce.core.interfaces.identity import Permission
from tests.taskforce.application.scenario import RULES, Stage


async def actor(stage: Stage, user_id: str = "ada", *roles: str) -> Actor:
    await stage.person(user_id, *(roles or ("admin",)))
    async with stage.database.tenant(stage.tenant_id) as records:
        return Actor(await load_principal(records, user_id, RULES, stage.now), RULES, "request-1", stage.now)


async def deputy(stage: Stage, *permissions: Permission) -> Actor:
    """Somebody who may write definitions, and has these permissions besides."""
    role = RoleChange(permissions={Permission.POLICY_MANAGE, *permissions})
    await create_role(stage.database, await actor(stage), "Deputy", role)
    return await actor(stage, "dan", "custom:deputy")
