"""Custom roles of a tenant; an actor can put only permissions into them that they hold themselves."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from taskforce.application.identity.principals import Actor, known_roles, load_lasting_principal
from taskforce.core.domain.audit.events import AuditEvent
from taskforce.core.domain.errors import Conflict
from taskforce.core.domain.identity.principals import require
from taskforce.core.domain.identity.resource_roles import permissions_on
from taskforce.core.domain.identity.roles import change_role, check_own, make_role
from taskforce.core.domain.ids import missing
from taskforce.core.interfaces.identity import Permission, ResourceType, Role
from taskforce.core.interfaces.repositories.identity import RoleUse
from taskforce.core.interfaces.store import Records, Store


@dataclass(frozen=True, slots=True)
class RoleChange:
    """The changed fields of a role; None leaves a field as it is."""

    name: str | None = None
    description: str | None = None
    permissions: Iterable[Permission] | None = None
    metadata: Mapping[str, object] | None = None


async def require_current(
    records: Records, actor: Actor, permission: Permission, resource_id: str | None = None
) -> frozenset[Permission]:
    """Requires that the actor holds a permission now, and locks their row so that it holds until the transaction ends.

    A concurrent change of the actor's rights waits for this transaction, or this one for it: rights that were withdrawn
    are not handed on. Temporary roles do not count, for what the actor grants outlasts them.

    Args:
        records: The tenant's records.
        actor: The caller, cut to their credential.
        permission: The permission.
        resource_id: The resource, on which a lasting role of the actor gives it too; None for all of the type.

    Returns:
        The actor's lasting permissions everywhere.

    Raises:
        Forbidden: `permission_denied` or `user_deactivated`.
    """
    own_id = actor.principal.user.user_id
    await records.users.locked(own_id)
    lasting = await load_lasting_principal(records, actor)
    if permission not in lasting.permissions and resource_id is not None and not lasting.is_cut:
        grants = [one for one in await records.roles.grants(own_id) if one.expires_at is None]
        known = await known_roles(records, {one.role_id for one in grants}, actor.rules)
        kind = permission.resource_type
        require(permissions_on(kind, resource_id, (), grants, now=actor.now, known_roles=known), permission)
    else:
        require(lasting.permissions, permission)
    return lasting.permissions


async def list_roles(store: Store, actor: Actor, after: str | None, most: int) -> Sequence[Role]:
    """Lists a page of the tenant's roles by id: those of the system, of the profile, and its own.

    Args:
        store: The tenants' data.
        actor: The caller.
        after: The id of the last role of the previous page.
        most: Roles at most.
    """
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        known = await _all(records, actor)
    later = sorted(role_id for role_id in known if after is None or role_id > after)
    return [known[role_id] for role_id in later[:most]]


async def find_role(store: Store, actor: Actor, role_id: str) -> Role:
    """Finds a role.

    Raises:
        Missing: `role_not_found`.
    """
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        role = (await known_roles(records, (role_id,), actor.rules)).get(role_id)
    if role is None:
        raise missing("role")
    return role


async def create_role(store: Store, actor: Actor, name: str, change: RoleChange) -> Role:
    """Creates a role with no more permissions than the actor holds now.

    The id of a deleted role that somebody still holds is refused: it would give them permissions that nobody granted.
    An id that only tokens claim is accepted, for their issuer grants it; the audit event counts them.

    Args:
        store: The tenants' data.
        actor: The caller.
        name: The display name, which the id is derived from.
        change: The other fields; None is empty.

    Raises:
        Invalid: `role_name_invalid`, `role_description_invalid` or `metadata_malformed`.
        Forbidden: `permissions_too_wide`, or as `require_current`.
        Conflict: `role_is_system`, `role_exists` or `role_in_use`.
    """
    tenant_id = actor.principal.tenant.tenant_id
    async with store.tenant(tenant_id) as records:
        held = await require_current(records, actor, Permission.ROLE_MANAGE)
        known = await _all(records, actor)
        about = change.description or ""
        role = make_role(
            name, about, change.permissions or (), tenant_id, held, known_roles=known, metadata=change.metadata
        )
        if not await records.roles.add(role, actor.principal.user.user_id, actor.now):
            raise Conflict("role_exists", f"There is a role {role.role_id} already.")
        use = await records.roles.use(role.role_id, actor.now)
        _require_free(role.role_id, use)
        await records.audit.append(
            _event(actor, "role.create", role.role_id, before=None, after=role, more={"claimed_by": use.claims})
        )
    return role


async def update_role(store: Store, actor: Actor, role_id: str, change: RoleChange) -> Role:
    """Changes a role of the tenant's own, with effect from the next request of those who hold it.

    Raises:
        Missing: `role_not_found`.
        Invalid: `role_name_invalid`, `role_description_invalid` or `metadata_malformed`.
        Forbidden: `permissions_too_wide`, or as `require_current`.
        Conflict: `role_is_system` or `role_is_profile`.
    """
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        held = await require_current(records, actor, Permission.ROLE_MANAGE, role_id)
        role = await _own(records, actor, role_id)
        changed = change_role(
            role,
            held,
            name=change.name,
            description=change.description,
            permissions=change.permissions,
            metadata=change.metadata,
        )
        await records.roles.save(changed, actor.now)
        await records.audit.append(_event(actor, "role.change", role_id, before=role, after=changed))
    return changed


async def delete_role(store: Store, actor: Actor, role_id: str) -> None:
    """Deletes a role of the tenant's own that nobody holds.

    Raises:
        Missing: `role_not_found`.
        Conflict: `role_is_system`, `role_is_profile` or `role_in_use`, whose details count the holders.
    """
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        role = await _own(records, actor, role_id)
        _require_free(role_id, await records.roles.use(role_id, actor.now))
        await records.roles.remove(role_id)
        # Another role may take the id; nobody manages that one by what was granted on this one.
        withdrawn = await records.roles.withdraw_all(ResourceType.ROLE, role_id)
        more = {"grants_withdrawn": withdrawn} if withdrawn else {}
        await records.audit.append(_event(actor, "role.delete", role_id, before=role, after=None, more=more))


async def _all(records: Records, actor: Actor) -> Mapping[str, Role]:
    own = {role.role_id: role for role in await records.roles.all()}
    return {**own, **actor.rules.roles}


async def _own(records: Records, actor: Actor, role_id: str) -> Role:
    # A role of the profile has precedence over the tenant's own with the same id, as in `known_roles`.
    role = actor.rules.roles.get(role_id) or await records.roles.locked(role_id)
    if role is None:
        raise missing("role")
    check_own(role)
    return role


def _require_free(role_id: str, use: RoleUse) -> None:
    if use:
        held = f"by {use.users} users, {use.api_keys} API keys and {use.resource_grants} grants on resources"
        raise Conflict(
            "role_in_use",
            f"The name {role_id} is held {held}. Take it back from them first.",
            details={"users": use.users, "api_keys": use.api_keys, "resource_grants": use.resource_grants},
        )


def _event(
    actor: Actor,
    action: str,
    role_id: str,
    *,
    before: Role | None,
    after: Role | None,
    more: Mapping[str, object] = MappingProxyType({}),
) -> AuditEvent:
    sides = {"before": _audit_snapshot(before), "after": _audit_snapshot(after)}
    return actor.event(action, "role", role_id, **more, **sides)


def _audit_snapshot(role: Role | None) -> dict[str, object] | None:
    if role is None:
        return None
    permissions = sorted(permission.value for permission in role.permissions)
    return {"name": role.name, "description": role.description, "permissions": permissions}
