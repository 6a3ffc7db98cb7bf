"""May somebody do something, now: the roles, and what the tenant's policy adds and takes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from taskforce.application.access.policy_engine import PolicyEngine
from taskforce.application.identity.principals import known_roles
from taskforce.core.domain.access.policies import Base, Explained
from taskforce.core.domain.errors import Forbidden
from taskforce.core.domain.identity.principals import AccessRules, Standing, require
from taskforce.core.domain.identity.roles import permissions_on
from taskforce.core.interfaces.identity import Permission, ResourceType, UserContext
from taskforce.core.interfaces.store import Records, Store

Thing = TypeVar("Thing")


def context_of(standing: Standing) -> UserContext:
    """Somebody as the policy engine sees them: with all roles of the user, so that a key cannot leave one out."""
    user = standing.user
    return UserContext(
        user_id=user.user_id,
        tenant_id=user.tenant_id,
        username=user.username,
        email=user.email,
        roles=standing.user_roles,
        permissions=standing.permissions,
        attributes=user.attributes,
    )


async def on_resource(
    store: Store,
    standing: Standing,
    permission: Permission,
    resource_id: str | None,
    rules: AccessRules,
    now: datetime,
) -> Standing:
    """Somebody with the rights that roles on one resource add there; a key's rights are never widened.

    Args:
        store: The door to the tenant's data.
        standing: Who asks, with the rights of now.
        permission: What it takes; what is held anyway is not looked for.
        resource_id: Which thing; None for all of the kind.
        rules: What the deployment says about rights.
        now: The time, UTC.
    """
    if resource_id is None or standing.is_cut or permission in standing.permissions:
        return standing
    kind = ResourceType(permission.value.partition(":")[0])
    async with store.tenant(standing.tenant.tenant_id) as records:
        return await widened(records, standing, kind, resource_id, rules, now)


async def widened(
    records: Records, standing: Standing, kind: ResourceType, resource_id: str, rules: AccessRules, now: datetime
) -> Standing:
    """Somebody with the rights that roles on one resource add there; for a user, never for what is cut to a key."""
    grants = await records.roles.grants(standing.user.user_id)
    known = await known_roles(records, {grant.role_id for grant in grants}, rules)
    return replace(standing, permissions=permissions_on(kind, resource_id, standing.permissions, grants, now, known))


async def require_right(
    engine: PolicyEngine,
    standing: Standing,
    permission: Permission,
    resource_id: str | None = None,
    facts: Mapping[str, object] | None = None,
) -> None:
    """Lets only somebody pass who may.

    Args:
        engine: The policy engine.
        standing: Who asks, with the rights of now.
        permission: What it takes; the kind of thing is its first word.
        resource_id: Which thing; None for all of the kind.
        facts: What the product has established about the request, for `context.*` conditions.

    Raises:
        Forbidden: `permission_denied` names the missing permission; `policy_denied` the rule that stands against it.
        Unavailable: `policy_unreadable`.
    """
    kind = ResourceType(permission.value.partition(":")[0])
    judge(await engine.explain(context_of(standing), permission, kind, resource_id, facts), standing, permission)


async def needs_thing(engine: PolicyEngine, standing: Standing, permission: Permission) -> bool:
    """Whether it matters which thing somebody asks about: a rule names things, or a role on one may be needed.

    Raises:
        Unavailable: `policy_unreadable`.
    """
    lacking = permission not in standing.permissions and not standing.is_cut
    return lacking or await engine.tells_apart(context_of(standing), permission)


async def shown(
    engine: PolicyEngine,
    standing: Standing,
    permission: Permission,
    things: Sequence[Thing],
    named: Callable[[Thing], str],
    facts: Mapping[str, object] | None = None,
) -> Sequence[Thing]:
    """Leaves out of a list what a rule denies that names it; who asks holds the permission for the list as a whole.

    Args:
        engine: The policy engine.
        standing: Who asks, with the rights of now.
        permission: What it takes to see one of them.
        things: The list.
        named: The id of one.
        facts: As in `require_right`.
    """
    user = context_of(standing)
    if not await engine.tells_apart(user, permission):
        return things
    kind = ResourceType(permission.value.partition(":")[0])
    answers = [await engine.evaluate(user, permission, kind, named(one), facts) for one in things]
    return [one for one, answer in zip(things, answers, strict=True) if answer.allowed]


def judge(explained: Explained, standing: Standing, permission: Permission = Permission.TOOL_EXECUTE) -> None:
    """Raises what a decision says.

    Args:
        explained: The engine's decision.
        standing: Whom it is about.
        permission: What it took.

    Raises:
        Forbidden: See `require_right`.
    """
    if standing.is_cut or (not explained.decision.allowed and explained.base is Base.MISSING):
        require(standing.permissions, permission)
    if not explained.decision.allowed:
        raise Forbidden(
            "policy_denied",
            f"The policy of your tenant does not allow this: {explained.decision.reason}",
            details={"permission": permission.value, "rules": list(explained.matched)},
        )
