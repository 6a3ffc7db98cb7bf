"""Routes of roles: the system's, the deployment's, and those that a tenant creates."""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Response

from api.auth.caller import Caller, Context, actor_of
from api.auth.guard import Allowed
from api.schemas.pages import PageOut
from api.schemas.roles import RoleChangeIn, RoleIn, RoleOut, role_out
from api.web.pagination import Cursor, Limit, page, parse_text, text_cursor
from taskforce.application.access.authorization import filter_allowed
from taskforce.application.identity import roles
from taskforce.application.identity.roles import RoleChange
from taskforce.core.domain.identity.roles import permissions_named
from taskforce.core.interfaces.identity import Permission

PREFIX = "/admin/roles"
router = APIRouter(prefix=PREFIX, tags=["roles"])

Manager = Annotated[Caller, Allowed(Permission.ROLE_MANAGE)]


@router.get("", name="list_roles")
async def list_roles(caller: Manager, context: Context, limit: Limit = 20, cursor: Cursor = None) -> PageOut[RoleOut]:
    """Lists every role that users of the tenant can hold, by id; each says who defines it.

    A page may be short although there is a next one: roles that the tenant's policy denies are passed over.
    """
    found = await roles.list_roles(context.database, actor_of(context, caller), parse_text(cursor), limit + 1)
    managed = await filter_allowed(
        context.policies,
        caller.principal,
        Permission.ROLE_MANAGE,
        found[:limit],
        named=lambda role: role.role_id,
        facts=caller.facts,
    )
    shown = map(role_out, managed)
    return page(PageOut[RoleOut], shown, found=found, limit=limit, cursor_of=lambda last: text_cursor(last.role_id))


@router.post("", status_code=201, name="create_role")
async def create_role(body: RoleIn, caller: Manager, context: Context, response: Response) -> RoleOut:
    """Creates a role out of permissions that the caller holds."""
    change = RoleChange(
        description=body.description, permissions=permissions_named(body.permissions), metadata=body.metadata
    )
    made = await roles.create_role(context.database, actor_of(context, caller), body.name, change)
    response.headers["location"] = f"/api/v1{PREFIX}/{quote(made.role_id, safe=':')}"
    return role_out(made)


@router.get("/{role_id}", name="read_role")
async def read_role(role_id: str, caller: Manager, context: Context) -> RoleOut:
    """Returns one role."""
    return role_out(await roles.find_role(context.database, actor_of(context, caller), role_id))


@router.put("/{role_id}", name="update_role")
async def update_role(role_id: str, body: RoleChangeIn, caller: Manager, context: Context) -> RoleOut:
    """Changes a role of the tenant's own; it applies from the next request of everybody who holds it."""
    change = RoleChange(
        name=body.name,
        description=body.description,
        permissions=None if body.permissions is None else permissions_named(body.permissions),
        metadata=body.metadata,
    )
    return role_out(await roles.update_role(context.database, actor_of(context, caller), role_id, change))


@router.delete("/{role_id}", status_code=204, name="delete_role")
async def delete_role(role_id: str, caller: Manager, context: Context) -> None:
    """Removes a role of the tenant's own that nobody holds any more."""
    await roles.delete_role(context.database, actor_of(context, caller), role_id)
