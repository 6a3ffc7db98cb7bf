"""Authorization: requires permissions by roles, by roles on single resources, and by the tenant's policy."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from taskforce.application.access.policy_engine import PolicyEngine
from taskforce.application.identity.principals import Actor, known_roles
from taskforce.core.domain.access.policies import Base, Explained, Policy, Resource, evaluate
from taskforce.core.domain.errors import Forbidden
from taskforce.core.domain.identity.principals import AccessRules, Principal, require
from taskforce.core.domain.identity.roles import permissions_on
from taskforce.core.interfaces.identity import Permission, ResourceType, UserContext
from taskforce.core.interfaces.store import Records, Store

Item = TypeVar("Item")


def context_of(principal: Principal) -> UserContext:
    """Builds the policy engine's view of a principal, with all roles of the user and not only the credential's."""
    user = principal.user
    # All roles: a deny rule for a role must also match a key or token that leaves this role out.
    return UserContext(
        user_id=user.user_id,
        tenant_id=user.tenant_id,
        username=user.username,
        email=user.email,
        roles=principal.user_roles,
        permissions=principal.permissions,
        attributes=user.attributes,
    )


def contexts_of(principal: Principal) -> tuple[UserContext, ...]:
    """Builds all views that the policy has of a principal; it must allow each of them.

    The first has the attributes of the user's newest token. Where the presented token claims others, a second has
    these: neither does an older token bring back what the identity provider has taken away since, nor does a token act
    by what another claims.
    """
    recorded, other = context_of(principal), principal.other_attributes
    return (recorded,) if other is None else (recorded, replace(recorded, attributes=other))


def strictest(answers: Iterable[Explained]) -> Explained:
    """Returns the first denial among the decisions on all views of a principal, else the first decision."""
    first, *others = answers
    return next((one for one in (first, *others) if not one.decision.allowed), first)


def evaluate_principal(
    policy: Policy,
    principal: Principal,
    permission: Permission,
    resource: Resource,
    *,
    facts: Mapping[str, object],
    now: datetime,
) -> Explained:
    """Decides an access request of a principal by a policy that is at hand; see `evaluate` of the domain."""
    return strictest(
        evaluate(policy, user, permission, resource, context=facts, now=now) for user in contexts_of(principal)
    )


async def with_resource_roles(
    store: Store,
    principal: Principal,
    permission: Permission,
    resource_id: str | None,
    *,
    rules: AccessRules,
    now: datetime,
) -> Principal:
    """Returns a principal with the permissions that roles on one resource add there; not for API keys.

    Args:
        store: The tenants' data.
        principal: The caller, with current rights.
        permission: The required permission; nothing is read where it is held already.
        resource_id: The resource; None for all of the type.
        rules: The deployment's access rules.
        now: The time, UTC.
    """
    if resource_id is None or principal.is_cut or permission in principal.permissions:
        return principal
    resource_type = permission.resource_type
    async with store.tenant(principal.tenant.tenant_id) as records:
        return await add_resource_roles(records, principal, resource_type, resource_id, rules=rules, now=now)


async def add_resource_roles(
    records: Records,
    principal: Principal,
    resource_type: ResourceType,
    resource_id: str,
    *,
    rules: AccessRules,
    now: datetime,
) -> Principal:
    """Returns a principal with the permissions that roles on one resource add there; never call it for an API key."""
    grants = await records.roles.grants(principal.user.user_id)
    if principal.lasting:
        grants = [grant for grant in grants if grant.expires_at is None]
    known = await known_roles(records, {grant.role_id for grant in grants}, rules)
    return replace(
        principal,
        permissions=permissions_on(
            resource_type, resource_id, principal.permissions, grants, now=now, known_roles=known
        ),
    )


async def differing_attributes(engine: PolicyEngine, principal: Principal) -> Mapping[str, object]:
    """Returns the attributes that the policy reads and that the presented token claims otherwise than the newest one.

    Raises:
        Unavailable: `policy_unreadable`.
    """
    if principal.other_attributes is None:
        return {}
    return principal.differing(await engine.attributes_read(principal.tenant.tenant_id))


async def require_newest_attributes(engine: PolicyEngine, principal: Principal) -> None:
    """Requires a token that the policy sees like the user's newest one, for what is judged by that one later.

    Raises:
        Forbidden: `claims_narrowed`.
        Unavailable: `policy_unreadable`.
    """
    other = sorted(await differing_attributes(engine, principal))
    if other:
        text = f"Your newest token claims another {', '.join(other)}, which the policy of your tenant reads. Use that."
        raise Forbidden("claims_narrowed", text, details={"attributes": other})


async def require_right(
    engine: PolicyEngine,
    principal: Principal,
    permission: Permission,
    resource_id: str | None = None,
    facts: Mapping[str, object] | None = None,
) -> None:
    """Requires that a principal has a permission, by roles and the tenant's policy.

    Args:
        engine: The policy engine.
        principal: The caller, with current rights.
        permission: The required permission; its part before the colon is the resource type.
        resource_id: The resource; None for all of the type.
        facts: Facts about the request that the product has established, for `context.*` conditions.

    Raises:
        Forbidden: `permission_denied` names the missing permission; `policy_denied` the rules that deny it.
        Unavailable: `policy_unreadable`.
    """
    views = contexts_of(principal)
    answers = [await engine.explain(user, permission, permission.resource_type, resource_id, facts) for user in views]
    raise_if_denied(strictest(answers), principal, permission)


async def require_on(
    store: Store,
    engine: PolicyEngine,
    actor: Actor,
    permission: Permission,
    resource_id: str | None,
    *,
    facts: Mapping[str, object],
) -> None:
    """Requires that an actor has a permission on a resource, also by roles on that resource alone.

    Args:
        store: The tenants' data.
        engine: The policy engine.
        actor: The caller.
        permission: The required permission.
        resource_id: The resource; None for all of the type.
        facts: As in `require_right`.

    Raises:
        Forbidden: `permission_denied` or `policy_denied`.
        Unavailable: `policy_unreadable`.
    """
    here = await with_resource_roles(store, actor.principal, permission, resource_id, rules=actor.rules, now=actor.now)
    await require_right(engine, here, permission, resource_id, facts)


async def depends_on_resource(engine: PolicyEngine, principal: Principal, permission: Permission) -> bool:
    """Tells whether the answer may differ by resource: a policy rule names resources, or a role on one is needed.

    Raises:
        Unavailable: `policy_unreadable`.
    """
    lacking = permission not in principal.permissions and not principal.is_cut
    return lacking or await engine.tells_apart(context_of(principal), permission)


async def filter_allowed(
    engine: PolicyEngine,
    principal: Principal,
    permission: Permission,
    items: Sequence[Item],
    *,
    named: Callable[[Item], str],
    facts: Mapping[str, object] | None = None,
) -> Sequence[Item]:
    """Filters a list by the policy rules that name single resources; the permission for the list was required before.

    Args:
        engine: The policy engine.
        principal: The caller, with current rights.
        permission: The permission to read one of them.
        items: The list.
        named: Returns the id of one.
        facts: As in `require_right`.
    """
    if not await engine.tells_apart(context_of(principal), permission):
        return items
    resource_type = permission.resource_type
    for user in contexts_of(principal):
        answers = [await engine.evaluate(user, permission, resource_type, named(one), facts) for one in items]
        items = [one for one, answer in zip(items, answers, strict=True) if answer.allowed]
    return items


def raise_if_denied(
    explained: Explained, principal: Principal, permission: Permission = Permission.TOOL_EXECUTE
) -> None:
    """Requires that the policy engine has allowed a request.

    Args:
        explained: The engine's decision.
        principal: The caller.
        permission: The required permission.

    Raises:
        Forbidden: As `require_right`.
    """
    # The engine sees all roles of the user: a credential cut to fewer must itself have the permission, whatever an
    # allow rule gives to the other roles.
    cut = principal.is_cut or principal.is_narrowed
    if cut or (not explained.decision.allowed and explained.base is Base.MISSING):
        require(principal.permissions, permission)
    if not explained.decision.allowed:
        raise Forbidden(
            "policy_denied",
            f"The policy of your tenant does not allow this: {explained.decision.reason}",
            details={"permission": permission.value, "rules": list(explained.matched)},
        )
