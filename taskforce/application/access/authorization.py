"""May somebody do something, now: the roles, and what the tenant's policy adds and takes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from taskforce.application.access.policy_engine import PolicyEngine
from taskforce.application.identity.principals import Actor, known_roles
from taskforce.core.domain.access.policies import Base, Explained
from taskforce.core.domain.errors import Forbidden
from taskforce.core.domain.identity.principals import AccessRules, Principal, require
from taskforce.core.domain.identity.roles import permissions_on
from taskforce.core.interfaces.identity import Permission, ResourceType, UserContext
from taskforce.core.interfaces.store import Records, Store

Thing = TypeVar("Thing")


def context_of(principal: Principal) -> UserContext:
    """Somebody as the policy engine sees them: with all roles of the user, so that no credential can leave one out."""
    user = principal.user
    return UserContext(
        user_id=user.user_id,
        tenant_id=user.tenant_id,
        username=user.username,
        email=user.email,
        roles=principal.user_roles,
        permissions=principal.permissions,
        attributes=user.attributes,
    )


async def with_resource_roles(
    store: Store,
    principal: Principal,
    permission: Permission,
    resource_id: str | None,
    rules: AccessRules,
    now: datetime,
) -> Principal:
    """Somebody with the rights that roles on one resource add there; a key's rights are never widened.

    Args:
        store: The door to the tenant's data.
        principal: Who asks, with the rights of now.
        permission: What it takes; what is held anyway is not looked for.
        resource_id: Which thing; None for all of the kind.
        rules: What the deployment says about rights.
        now: The time, UTC.
    """
    if resource_id is None or principal.is_cut or permission in principal.permissions:
        return principal
    kind = ResourceType(permission.value.partition(":")[0])
    async with store.tenant(principal.tenant.tenant_id) as records:
        return await add_resource_roles(records, principal, kind, resource_id, rules, now)


async def add_resource_roles(
    records: Records, principal: Principal, kind: ResourceType, resource_id: str, rules: AccessRules, now: datetime
) -> Principal:
    """Somebody with the rights that roles on one resource add there; for a user, never for what is cut to a key."""
    grants = await records.roles.grants(principal.user.user_id)
    if principal.lasting:
        grants = [grant for grant in grants if grant.expires_at is None]
    known = await known_roles(records, {grant.role_id for grant in grants}, rules)
    return replace(principal, permissions=permissions_on(kind, resource_id, principal.permissions, grants, now, known))


async def require_right(
    engine: PolicyEngine,
    principal: Principal,
    permission: Permission,
    resource_id: str | None = None,
    facts: Mapping[str, object] | None = None,
) -> None:
    """Lets only somebody pass who may.

    Args:
        engine: The policy engine.
        principal: Who asks, with the rights of now.
        permission: What it takes; the kind of thing is its first word.
        resource_id: Which thing; None for all of the kind.
        facts: What the product has established about the request, for `context.*` conditions.

    Raises:
        Forbidden: `permission_denied` names the missing permission; `policy_denied` the rule that stands against it.
        Unavailable: `policy_unreadable`.
    """
    kind = ResourceType(permission.value.partition(":")[0])
    raise_if_denied(
        await engine.explain(context_of(principal), permission, kind, resource_id, facts), principal, permission
    )


async def require_on(
    store: Store,
    engine: PolicyEngine,
    actor: Actor,
    permission: Permission,
    resource_id: str | None,
    facts: Mapping[str, object],
) -> None:
    """Lets only an actor go on who may do something to a thing, by roles on that one thing too.

    Args:
        store: The door to the tenant's data.
        engine: The policy engine.
        actor: Who asks.
        permission: What it takes.
        resource_id: Which thing; None for all of the kind.
        facts: What the product has established about the request; see `require_right`.

    Raises:
        Forbidden: `permission_denied` or `policy_denied`.
        Unavailable: `policy_unreadable`.
    """
    here = await with_resource_roles(store, actor.principal, permission, resource_id, actor.rules, actor.now)
    await require_right(engine, here, permission, resource_id, facts)


async def depends_on_resource(engine: PolicyEngine, principal: Principal, permission: Permission) -> bool:
    """Whether it matters which thing somebody asks about: a rule names things, or a role on one may be needed.

    Raises:
        Unavailable: `policy_unreadable`.
    """
    lacking = permission not in principal.permissions and not principal.is_cut
    return lacking or await engine.tells_apart(context_of(principal), permission)


async def filter_allowed(
    engine: PolicyEngine,
    principal: Principal,
    permission: Permission,
    things: Sequence[Thing],
    named: Callable[[Thing], str],
    facts: Mapping[str, object] | None = None,
) -> Sequence[Thing]:
    """Leaves out of a list what a rule denies that names it; who asks holds the permission for the list as a whole.

    Args:
        engine: The policy engine.
        principal: Who asks, with the rights of now.
        permission: What it takes to see one of them.
        things: The list.
        named: The id of one.
        facts: As in `require_right`.
    """
    user = context_of(principal)
    if not await engine.tells_apart(user, permission):
        return things
    kind = ResourceType(permission.value.partition(":")[0])
    answers = [await engine.evaluate(user, permission, kind, named(one), facts) for one in things]
    return [one for one, answer in zip(things, answers, strict=True) if answer.allowed]


def raise_if_denied(
    explained: Explained, principal: Principal, permission: Permission = Permission.TOOL_EXECUTE
) -> None:
    """Raises what a decision says.

    Args:
        explained: The engine's decision.
        principal: Whom it is about.
        permission: What it took.

    Raises:
        Forbidden: See `require_right`.
    """
    # What a policy allows to a role, it does not allow to a credential that was not given the role.
    cut = principal.is_cut or principal.is_narrowed
    if cut or (not explained.decision.allowed and explained.base is Base.MISSING):
        require(principal.permissions, permission)
    if not explained.decision.allowed:
        raise Forbidden(
            "policy_denied",
            f"The policy of your tenant does not allow this: {explained.decision.reason}",
            details={"permission": permission.value, "rules": list(explained.matched)},
        )
