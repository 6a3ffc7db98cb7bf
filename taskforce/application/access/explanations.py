"""Explanations: what a caller may do now, and why; decided by the function that decides when they do it."""

import asyncio
from collections.abc import Mapping, Sequence

from taskforce.application.access.authorization import load_subject, resource_named
from taskforce.application.access.policy_engine import PolicyEngine
from taskforce.application.identity.principals import Actor
from taskforce.core.domain.access.decisions import Subject, subject_of
from taskforce.core.domain.access.policies import Explained, Resource
from taskforce.core.domain.access.policy_documents import UNREADABLE
from taskforce.core.domain.errors import Unavailable
from taskforce.core.domain.identity.principals import Principal
from taskforce.core.domain.identity.resource_roles import ResourceGrant, allowed_by
from taskforce.core.interfaces.identity import Permission, ResourceType
from taskforce.core.interfaces.store import Store

_IN_A_RUN: Mapping[str, object] = {"channel": "run"}


async def explain_access(
    store: Store,
    engine: PolicyEngine,
    actor: Actor,
    permission: Permission,
    resource_id: str | None,
    *,
    agent_id: str | None,
    facts: Mapping[str, object],
) -> Explained:
    """Explains whether the actor has a permission on a resource now.

    Args:
        store: The tenants' data.
        engine: The policy engine.
        actor: The caller, with the credential and the attributes of this request.
        permission: The permission; its part before the colon is the resource type.
        resource_id: The resource; None for all of the type.
        agent_id: For a tool, the agent in whose run it is called; else it is ignored.
        facts: Facts about the request, for `context.*` conditions; a tool call has those of its run instead.

    Raises:
        Unavailable: `policy_unreadable`.
    """
    async with store.reading(actor.principal.tenant.tenant_id) as records:
        subject = await load_subject(records, actor.principal, rules=actor.rules, now=actor.now)
    if permission is not Permission.TOOL_EXECUTE:
        return await engine.decide(subject, permission, resource_named(subject, permission, resource_id, facts), facts)
    tool = Resource(ResourceType.TOOL, resource_id, subject.user.tenant_id, agent_id=agent_id)
    return await engine.decide(subject, permission, tool, _IN_A_RUN)


async def permissions_in_force(
    engine: PolicyEngine, principal: Principal, facts: Mapping[str, object]
) -> frozenset[Permission]:
    """Returns the permissions that a principal has everywhere in the tenant: by roles, and not denied by the policy.

    Args:
        engine: The policy engine.
        principal: The caller.
        facts: As in `explain_access`.
    """
    subject = subject_of(principal)
    found = [(one, Resource(one.resource_type, None, subject.user.tenant_id)) for one in principal.permissions]
    return frozenset([one for one, resource in found if await _allowed(engine, subject, one, resource, facts)])


async def own_grants(
    store: Store, engine: PolicyEngine, actor: Actor, facts: Mapping[str, object]
) -> Sequence[tuple[ResourceGrant, frozenset[Permission]]]:
    """Lists the actor's roles on single resources, each with the permissions that it gives there.

    A role on an agent also gives what the agent's runs need. What the policy denies there is left out. An API key has
    none, since nothing widens its rights.

    Args:
        store: The tenants' data.
        engine: The policy engine.
        actor: The caller.
        facts: As in `explain_access`.
    """
    async with store.reading(actor.principal.tenant.tenant_id) as records:
        subject = await load_subject(records, actor.principal, rules=actor.rules, now=actor.now)
    return [(grant, await _given(engine, subject, grant, actor, facts)) for grant in subject.grants]


async def _given(
    engine: PolicyEngine, subject: Subject, grant: ResourceGrant, actor: Actor, facts: Mapping[str, object]
) -> frozenset[Permission]:
    found: list[Permission] = []
    for permission in allowed_by(grant, subject.known_roles, actor.now):
        resource = _of(grant, permission, subject.user.tenant_id)
        if await _allowed(engine, subject, permission, resource, facts):
            found.append(permission)
    return frozenset(found)


def _of(grant: ResourceGrant, permission: Permission, tenant_id: str) -> Resource:
    if permission.resource_type is grant.resource_type:
        return Resource(grant.resource_type, grant.resource_id, tenant_id)
    # What a role on an agent gives beyond it: its tools, within its runs.
    return Resource(permission.resource_type, None, tenant_id, agent_id=grant.resource_id)


async def _allowed(
    engine: PolicyEngine, subject: Subject, permission: Permission, resource: Resource, facts: Mapping[str, object]
) -> bool:
    # Yields to the event loop: a large policy takes milliseconds for each permission.
    await asyncio.sleep(0)
    about = _IN_A_RUN if permission is Permission.TOOL_EXECUTE else facts
    try:
        return (await engine.decide(subject, permission, resource, about)).decision.allowed
    except Unavailable as error:
        if error.code != UNREADABLE:
            raise
        # Nobody passes then, except whoever may replace the document.
        return False
