"""Tenants, for whoever runs the platform; an administrator of a tenant sees and names the own one."""

from typing import Annotated

from fastapi import APIRouter, Response

from api.cursors import Cursor, Limit, parse_text, text_cursor
from api.dependencies import Allowed, Caller, Parts, actor_of
from api.schemas.pages import PageOut
from api.schemas.tenants import TenantChangeIn, TenantIn, TenantOut, tenant_out
from taskforce.application import tenants
from taskforce.application.tenants import TenantChange
from taskforce.core.interfaces.identity import Permission

PREFIX = "/admin/tenants"
router = APIRouter(prefix=PREFIX, tags=["tenants"])

Manager = Annotated[Caller, Allowed(Permission.TENANT_MANAGE)]


@router.get("", name="list_tenants")
async def list_tenants(caller: Manager, parts: Parts, limit: Limit = 20, cursor: Cursor = None) -> PageOut[TenantOut]:
    """Tenants by id: all for the platform's operator, the own one for others."""
    found = await tenants.list_tenants(parts.database, actor_of(parts, caller), parse_text(cursor), limit + 1)
    return PageOut[TenantOut].model_construct(
        items=[tenant_out(tenant) for tenant in found[:limit]],
        next_cursor=text_cursor(found[limit - 1].tenant_id) if len(found) > limit else None,
    )


@router.post("", status_code=201, name="create_tenant")
async def create_tenant(asked: TenantIn, caller: Manager, parts: Parts, response: Response) -> TenantOut:
    """Makes a tenant; only the platform's operator may."""
    made = await tenants.create_tenant(parts.database, actor_of(parts, caller), asked.tenant_id, _change(asked))
    response.headers["location"] = f"/api/v1{PREFIX}/{made.tenant_id}"
    return tenant_out(made)


@router.get("/{tenant_id}", name="read_tenant")
async def read_tenant(tenant_id: str, caller: Manager, parts: Parts) -> TenantOut:
    """One tenant."""
    return tenant_out(await tenants.find_tenant(parts.database, actor_of(parts, caller), tenant_id))


@router.put("/{tenant_id}", name="change_tenant")
async def change_tenant(tenant_id: str, asked: TenantChangeIn, caller: Manager, parts: Parts) -> TenantOut:
    """Changes a tenant; limits and the switch are the operator's, name, metadata and `ip_allow_list` its own."""
    changed = await tenants.change_tenant(parts.database, actor_of(parts, caller), tenant_id, _change(asked))
    return tenant_out(changed)


def _change(asked: TenantChangeIn) -> TenantChange:
    return TenantChange(name=asked.name, settings=asked.settings, metadata=asked.metadata, active=asked.active)
