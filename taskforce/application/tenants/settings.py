"""Tenants and their settings: created and limited by the platform's operator, named by their own administrators."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from taskforce.application.identity.principals import Actor
from taskforce.application.tenants.deletion_requests import require_never_deleted
from taskforce.core.domain.audit.events import AuditEvent
from taskforce.core.domain.errors import Conflict, Forbidden
from taskforce.core.domain.ids import missing
from taskforce.core.domain.json_limits import check_document
from taskforce.core.domain.tenants.tenant import Tenant, TenantSettings, parse_tenant_id
from taskforce.core.interfaces.identity import named_tenant_id
from taskforce.core.interfaces.store import Platform, Store


@dataclass(frozen=True, slots=True)
class TenantChange:
    """The changed fields of a tenant; None leaves a field as it is.

    Attributes:
        name: The display name.
        settings: All settings.
        metadata: Data that is stored as sent.
        active: Whether the tenant is enabled.
        address: The address from which the change is asked for; None when not known.
        force: Whether the actor may shut out that address from the tenant that they act in.
    """

    name: str | None = None
    settings: Mapping[str, object] | None = None
    metadata: Mapping[str, object] | None = None
    active: bool | None = None
    address: str | None = None
    force: bool = False


async def list_tenants(platform: Platform, actor: Actor, after: str | None, most: int) -> Sequence[Tenant]:
    """Lists a page of the tenants that are visible to the actor: all for the operator, for others their own.

    Args:
        platform: The list of all tenants.
        actor: The caller.
        after: The id of the last tenant of the previous page.
        most: Tenants at most.
    """
    if actor.runs_platform:
        return await platform.tenants(after, most)
    own = actor.principal.tenant
    return [own] if after is None or own.tenant_id > after else []


async def find_tenant(store: Store, actor: Actor, tenant_id: str) -> Tenant:
    """Finds a tenant.

    Raises:
        Missing: `tenant_not_found`: there is none, or it is not visible to the actor.
    """
    async with store.tenant(_visible(actor, tenant_id)) as records:
        tenant = await records.tenant.get()
    if tenant is None:
        raise missing("tenant")
    return tenant


async def create_tenant(store: Store, platform: Platform, actor: Actor, tenant_id: str, change: TenantChange) -> Tenant:
    """Creates a tenant.

    Raises:
        Forbidden: `operator_only`.
        Conflict: `tenant_exists`; `tenant_deleted`: a tenant of that id was deleted.
        Invalid: `tenant_id_invalid`, `tenant_name_invalid`, `tenant_settings_invalid` or `metadata_malformed`.
    """
    if not actor.runs_platform:
        raise Forbidden("operator_only", "Only the platform's operator makes tenants.")
    _check_metadata(change)
    now = actor.now
    settings = TenantSettings.parse(change.settings or {})
    tenant = Tenant(named_tenant_id(tenant_id), change.name or tenant_id, now, now, settings=settings)
    made = tenant.changed(now, by_operator=True, metadata=change.metadata, active=change.active)
    await require_never_deleted(platform, made.tenant_id)
    async with store.tenant(tenant_id) as records:
        if not await records.tenant.add(made):
            raise Conflict("tenant_exists", "There is a tenant of that id.")
        await records.audit.append(_event(actor, "tenant.create", made, None))
    return made


async def change_tenant(store: Store, actor: Actor, tenant_id: str, change: TenantChange) -> Tenant:
    """Changes a tenant; `Tenant.changed` decides which fields only the operator may change.

    Raises:
        Missing: `tenant_not_found`.
        Forbidden: `operator_only`.
        Conflict: `tenant_deleting`; `not_your_own`: the actor disables the tenant that they act in;
            `address_shut_out`: the new list of networks lacks the address from which the actor changes it.
        Invalid: `tenant_name_invalid`, `tenant_settings_invalid` or `metadata_malformed`.
    """
    known_id = _visible(actor, tenant_id)
    if change.active is False and known_id == actor.principal.tenant.tenant_id:
        raise Conflict("not_your_own", "You cannot switch off the tenant that you act in.")
    _check_metadata(change)
    settings = None if change.settings is None else TenantSettings.parse(change.settings)
    if settings is not None and known_id == actor.principal.tenant.tenant_id:
        _require_way_back(settings, change)
    async with store.tenant(known_id) as records:
        tenant = await records.tenant.locked()
        if tenant is None:
            raise missing("tenant")
        changed = tenant.changed(
            actor.now,
            by_operator=actor.runs_platform,
            name=change.name,
            settings=settings,
            metadata=change.metadata,
            active=change.active,
        )
        await records.tenant.save(changed)
        await records.audit.append(_event(actor, "tenant.change", changed, tenant))
    return changed


def _visible(actor: Actor, tenant_id: str) -> str:
    if not actor.runs_platform and tenant_id != actor.principal.tenant.tenant_id:
        raise missing("tenant")
    return parse_tenant_id(tenant_id)


def _require_way_back(settings: TenantSettings, change: TenantChange) -> None:
    # Nobody of the tenant could take it back, and for the platform's own tenant nobody at all over HTTP.
    if not change.force and not settings.admits(change.address):
        where = change.address or "an address that is not known"
        text = f"This list would shut you out: it lacks {where}. Add it, or send `force: true`."
        raise Conflict("address_shut_out", text)


def _check_metadata(change: TenantChange) -> None:
    if change.metadata is not None:
        check_document(change.metadata, "metadata")


def _event(actor: Actor, action: str, tenant: Tenant, before: Tenant | None) -> AuditEvent:
    # The event is in the log of the changed tenant, whose readers do not know the operator: so it names their tenant.
    own = actor.principal.tenant.tenant_id
    foreign = {} if own == tenant.tenant_id else {"actor_tenant": own}
    sides = {"before": None if before is None else _audit_snapshot(before), "after": _audit_snapshot(tenant)}
    return actor.event(action, "tenant", tenant.tenant_id, **foreign, **sides)


def _audit_snapshot(tenant: Tenant) -> dict[str, object]:
    return {"name": tenant.name, "status": tenant.status.value, "settings": tenant.settings.as_json()}
