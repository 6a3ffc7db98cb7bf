"""Roles on single resources: granted, withdrawn and listed, under the same rules as roles of users."""

from collections.abc import Sequence

from taskforce.application.identity.principals import Actor, known_roles
from taskforce.application.identity.users import lock_users
from taskforce.core.domain.audit.events import AuditEvent
from taskforce.core.domain.errors import Conflict, Invalid
from taskforce.core.domain.identity.principals import AccessRules
from taskforce.core.domain.identity.resource_roles import DeploymentNames, ResourceGrant
from taskforce.core.domain.ids import is_id, missing
from taskforce.core.interfaces.identity import ResourceType
from taskforce.core.interfaces.store import Records, Store

LONGEST_RESOURCE_ID = 255


async def list_grants(store: Store, actor: Actor, user_id: str) -> Sequence[ResourceGrant]:
    """Lists the roles that a user holds on single resources, without expired ones.

    Raises:
        Missing: `user_not_found`.
    """
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        if await records.users.get(user_id) is None:
            raise missing("user")
        return [one for one in await records.roles.grants(user_id) if one.holds(actor.now)]


async def grant_role(store: Store, actor: Actor, grant: ResourceGrant, named: DeploymentNames) -> None:
    """Grants a user a role on one resource.

    Args:
        store: The tenants' data.
        actor: The caller.
        grant: The grant.
        named: What the deployment names.

    Raises:
        Missing: `user_not_found`; `resource_not_found`: the tenant has no such resource.
        Invalid: `resource_id_invalid` or `roles_unknown`.
        Forbidden: `user_stands_higher`, `roles_too_wide`, or as `lock_users`.
        Conflict: `grant_exists`.
    """
    check_resource_id(grant.resource_id)
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        dealing = await lock_users(records, actor, grant.user_id, (grant.role_id,))
        dealing.check_not_higher()
        # Its permissions are compared, but the actor need not hold the role: approvers are found by roles of users, so
        # on one resource the name of a role gives nothing.
        dealing.check_no_wider(grant.role_id)
        if not await resource_exists(records, grant.resource_type, grant.resource_id, rules=actor.rules, named=named):
            raise missing("resource")
        if not await records.roles.grant(grant, actor.principal.user.user_id, actor.now):
            raise Conflict("grant_exists", "The user holds this role on this resource already.")
        await records.audit.append(_grant_event(actor, "user.grant", None, grant))


async def withdraw_role(store: Store, actor: Actor, grant: ResourceGrant) -> None:
    """Withdraws a role on one resource.

    Raises:
        Missing: `user_not_found` or `grant_not_found`.
        Invalid: `resource_id_invalid`.
        Forbidden: `user_stands_higher`, or as `lock_users`.
    """
    check_resource_id(grant.resource_id)
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        dealing = await lock_users(records, actor, grant.user_id)
        dealing.check_not_higher()
        if not await records.roles.withdraw(grant):
            raise missing("grant")
        await records.audit.append(_grant_event(actor, "user.withdraw", grant, None))


async def resource_exists(
    records: Records, resource_type: ResourceType, resource_id: str, *, rules: AccessRules, named: DeploymentNames
) -> bool:
    """Tells whether a tenant has a resource, and locks an agent or role so that it stays for this transaction.

    Args:
        records: The tenant's records.
        resource_type: Its kind; of kinds without single resources, such as policies, there is none.
        resource_id: Its id.
        rules: The deployment's access rules, with its roles.
        named: What the deployment names.
    """
    if resource_id in named(resource_type):
        return True
    if resource_type is ResourceType.AGENT:
        # By its id only: a slug may change, and another agent may take it.
        return is_id(resource_id) and await records.catalog.locked(resource_id) is not None
    if resource_type is ResourceType.SESSION:
        return await records.runs.session_owner(resource_id) is not None
    if resource_type is ResourceType.USER:
        return await records.users.get(resource_id) is not None
    if resource_type is ResourceType.ROLE:
        await records.roles.shared({resource_id})
        return resource_id in await known_roles(records, {resource_id}, rules)
    return False


def _grant_event(actor: Actor, action: str, before: ResourceGrant | None, after: ResourceGrant | None) -> AuditEvent:
    one = after or before
    assert one is not None
    facts = grant_facts(one)
    sides = {"before": None if before is None else facts, "after": None if after is None else facts}
    return actor.event(action, "user", one.user_id, **sides)


def grant_facts(grant: ResourceGrant) -> dict[str, object]:
    """Returns the fields of a grant for audit events."""
    facts: dict[str, object] = {
        "role": grant.role_id,
        "resource_type": grant.resource_type.value,
        "resource_id": grant.resource_id,
    }
    return facts if grant.expires_at is None else {**facts, "expires_at": grant.expires_at.isoformat()}


def check_resource_id(value: str) -> None:
    """Requires that a text can be a resource's id.

    Raises:
        Invalid: `resource_id_invalid`.
    """
    if not 0 < len(value) <= LONGEST_RESOURCE_ID or not value.isprintable():
        raise Invalid("resource_id_invalid", f"A resource's id is 1 to {LONGEST_RESOURCE_ID} printable characters.")
