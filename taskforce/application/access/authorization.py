"""Authorization: requires permissions by roles, by roles on single resources, and by the tenant's policy."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

from taskforce.application.access.policy_engine import PolicyEngine, tenant_of
from taskforce.application.identity.principals import Actor, known_roles
from taskforce.core.domain.access.decisions import Subject, subject_of
from taskforce.core.domain.access.policies import Base, Explained, Resource
from taskforce.core.domain.errors import Forbidden
from taskforce.core.domain.identity.principals import AccessRules, Principal, require
from taskforce.core.interfaces.identity import Permission
from taskforce.core.interfaces.store import Records, Store

Item = TypeVar("Item")


async def load_subject(records: Records, principal: Principal, *, rules: AccessRules, now: datetime) -> Subject:
    """Loads a principal with their roles on single resources, as access decisions take them.

    Args:
        records: The tenant's records.
        principal: The user, with current rights; for an API key nothing is read, since nothing widens its rights.
        rules: The deployment's access rules.
        now: The time, UTC.
    """
    if principal.is_cut:
        return subject_of(principal)
    grants = [one for one in await records.roles.grants(principal.user.user_id) if one.holds(now)]
    return subject_of(principal, grants, await known_roles(records, {one.role_id for one in grants}, rules))


async def subject_for(
    store: Store,
    principal: Principal,
    permission: Permission,
    resource_id: str | None,
    *,
    rules: AccessRules,
    now: datetime,
) -> Subject:
    """Returns a principal as a decision on one resource takes them.

    Roles on single resources are read only where the permission is not held already, and a resource is named.

    Args:
        store: The tenants' data.
        principal: The caller, with current rights.
        permission: The required permission.
        resource_id: The resource; None for all of the type.
        rules: The deployment's access rules.
        now: The time, UTC.
    """
    if resource_id is None or principal.is_cut or permission in principal.permissions:
        return subject_of(principal)
    async with store.reading(principal.tenant.tenant_id) as records:
        return await load_subject(records, principal, rules=rules, now=now)


async def differing_attributes(engine: PolicyEngine, principal: Principal) -> Mapping[str, object]:
    """Returns the attributes that the policy reads and that the presented token claims otherwise than the newest one.

    Raises:
        Unavailable: `policy_unreadable`.
    """
    if principal.other_attributes is None:
        return {}
    return principal.differing(await engine.attributes_read(principal.tenant.tenant_id))


async def require_right(
    engine: PolicyEngine,
    subject: Subject,
    permission: Permission,
    resource_id: str | None = None,
    facts: Mapping[str, object] | None = None,
) -> None:
    """Requires that a subject has a permission, by roles and the tenant's policy.

    Args:
        engine: The policy engine.
        subject: The caller, with current rights.
        permission: The required permission; its part before the colon is the resource type.
        resource_id: The resource; None for all of the type.
        facts: Facts about the request that the product has established, for `context.*` conditions.

    Raises:
        Forbidden: `permission_denied` names the missing permission; `policy_denied` the rules that deny it.
        Unavailable: `policy_unreadable`.
    """
    resource = resource_named(subject, permission, resource_id, facts or {})
    raise_if_denied(await engine.decide(subject, permission, resource, facts), permission)


def resource_named(
    subject: Subject, permission: Permission, resource_id: str | None, facts: Mapping[str, object]
) -> Resource:
    """Returns the resource of a permission by its id, in the tenant that the id or the facts name."""
    kind = permission.resource_type
    return Resource(kind, resource_id, tenant_of(subject.user, kind, resource_id, facts))


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
    here = await subject_for(store, actor.principal, permission, resource_id, rules=actor.rules, now=actor.now)
    await require_right(engine, here, permission, resource_id, facts)


async def depends_on_resource(engine: PolicyEngine, principal: Principal, permission: Permission) -> bool:
    """Tells whether the answer may differ by resource: a policy rule names resources, or a role on one is needed.

    Raises:
        Unavailable: `policy_unreadable`.
    """
    lacking = permission not in principal.permissions and not principal.is_cut
    return lacking or await engine.tells_apart(subject_of(principal).user, permission)


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
    if not await engine.tells_apart(subject_of(principal).user, permission):
        return items
    subject, about = subject_of(principal), facts or {}
    resources = [resource_named(subject, permission, named(one), about) for one in items]
    answers = [await engine.decide(subject, permission, resource, about) for resource in resources]
    return [one for one, answer in zip(items, answers, strict=True) if answer.decision.allowed]


def raise_if_denied(explained: Explained, permission: Permission) -> None:
    """Requires that an access decision allows a request.

    Args:
        explained: The decision.
        permission: The required permission.

    Raises:
        Forbidden: As `require_right`.
    """
    if explained.decision.allowed:
        return
    if explained.base is Base.MISSING:
        require((), permission)
    raise Forbidden(
        "policy_denied",
        f"The policy of your tenant does not allow this: {explained.decision.reason}",
        details={"permission": permission.value, "rules": list(explained.matched)},
    )
