"""Routes of a tenant's people and service accounts, and of their roles on single resources.

An id is whatever the identity provider says, slashes included (`repo:acme/web`), so it may span a path's segments.
An id whose slashes are encoded is one segment, also one that ends like a route (`bob/grants`).
"""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Response

from api.auth.caller import Caller, Context, actor_of
from api.auth.guard import Allowed
from api.auth.resource import agent_named
from api.composition import GatewayContext
from api.schemas.pages import ListOut, PageOut
from api.schemas.users import GrantIn, GrantOut, UserChangeIn, UserIn, UserOut, grant_out, user_out
from api.web.pagination import Cursor, Limit, page, parse_text, text_cursor
from api.web.slashed_ids import SlashedIdRoute
from taskforce.application.access.authorization import filter_allowed
from taskforce.application.identity import resource_roles, users
from taskforce.application.identity.resource_roles import LONGEST_RESOURCE_ID
from taskforce.application.identity.users import NewUser, UserChange
from taskforce.core.domain.identity.resource_roles import ResourceGrant
from taskforce.core.domain.identity.users import UserKind
from taskforce.core.interfaces.identity import Permission, ResourceType
from taskforce.core.interfaces.repositories.identity import UserFilter

PREFIX = "/admin/users"
router = APIRouter(prefix=PREFIX, tags=["users"], route_class=SlashedIdRoute)

Manager = Annotated[Caller, Allowed(Permission.USER_MANAGE)]
RoleId = Annotated[str, Query(pattern=r"^[a-z0-9_:-]{1,100}$")]
ResourceId = Annotated[str, Query(min_length=1, max_length=LONGEST_RESOURCE_ID)]


@router.get("", name="list_users")
async def list_users(
    caller: Manager,
    context: Context,
    kind: UserKind | None = None,
    *,
    active: bool | None = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> PageOut[UserOut]:
    """Lists users by id, deactivated ones included.

    A page may be short although there is a next one: users whom the tenant's policy denies are passed over.
    """
    which = UserFilter(kind, active)
    found = await users.list_users(context.database, actor_of(context, caller), which, parse_text(cursor), limit + 1)
    managed = await filter_allowed(
        context.policies,
        caller.principal,
        Permission.USER_MANAGE,
        found[:limit],
        named=lambda user: user.user_id,
        facts=caller.facts,
    )
    shown = (user_out(user, context.clock()) for user in managed)
    return page(PageOut[UserOut], shown, found=found, limit=limit, cursor_of=lambda last: text_cursor(last.user_id))


@router.post("", status_code=201, name="create_user")
async def create_user(body: UserIn, caller: Manager, context: Context, response: Response) -> UserOut:
    """Creates a person ahead of their first token, or a service account."""
    wanted = NewUser(body.kind, body.user_id, body.username, body.email, frozenset(body.roles), body.attributes)
    made = await users.create_user(context.database, actor_of(context, caller), wanted)
    response.headers["location"] = _path(made.user_id)
    return user_out(made, context.clock())


# Registered before the routes of users: an id may hold slashes, so `/users/{user_id:path}` would match these too.
@router.get("/{user_id:path}/grants", name="list_grants")
async def list_grants(user_id: str, caller: Manager, context: Context) -> ListOut[GrantOut]:
    """Lists the roles that a user holds on single resources."""
    found = await resource_roles.list_grants(context.database, actor_of(context, caller), user_id)
    return ListOut[GrantOut].model_construct(items=[grant_out(grant) for grant in found])


@router.post("/{user_id:path}/grants", status_code=201, name="grant_role")
async def grant_role(user_id: str, body: GrantIn, caller: Manager, context: Context, response: Response) -> GrantOut:
    """Grants a user a role on one resource; a catalog agent may be named by its slug, and is stored by its id.

    What the tenant does not have is answered 404 `resource_not_found`.
    """
    resource_id = await _named(context, caller, body.resource_type, body.resource_id)
    grant = ResourceGrant(user_id, body.role_id, body.resource_type, resource_id)
    await resource_roles.grant_role(context.database, actor_of(context, caller), grant, context.deployment_names)
    response.headers["location"] = f"{_path(user_id)}/grants"
    return grant_out(grant)


@router.delete("/{user_id:path}/grants", status_code=204, name="withdraw_role")
async def withdraw_role(
    user_id: str,
    role_id: RoleId,
    resource_type: ResourceType,
    *,
    resource_id: ResourceId,
    caller: Manager,
    context: Context,
) -> None:
    """Revokes a role on one resource, which is named as it was for the grant."""
    known_id = await _named(context, caller, resource_type, resource_id)
    grant = ResourceGrant(user_id, role_id, resource_type, known_id)
    await resource_roles.withdraw_role(context.database, actor_of(context, caller), grant)


@router.get("/{user_id:path}", name="read_user")
async def read_user(user_id: str, caller: Manager, context: Context) -> UserOut:
    """Returns one user."""
    return user_out(await users.find_user(context.database, actor_of(context, caller), user_id), context.clock())


@router.put("/{user_id:path}", name="change_user")
async def change_user(user_id: str, body: UserChangeIn, caller: Manager, context: Context) -> UserOut:
    """Changes a user; what is left out stays as it is."""
    roles = None if body.roles is None else frozenset(body.roles)
    lent = None if body.lent_roles is None else frozenset(body.lent_roles)
    change = UserChange(body.username, body.email, roles, body.active, body.attributes, lent)
    return user_out(
        await users.change_user(context.database, actor_of(context, caller), user_id, change), context.clock()
    )


@router.delete("/{user_id:path}", status_code=204, name="deactivate_user")
async def deactivate_user(user_id: str, caller: Manager, context: Context) -> None:
    """Deactivates a user: their tokens and API keys are refused, and their runs may do nothing more.

    The row stays, because runs, requests and the audit log name it; `active: true` restores the rights.
    """
    await users.deactivate_user(context.database, actor_of(context, caller), user_id)


async def _named(context: GatewayContext, caller: Caller, resource_type: ResourceType, resource_id: str) -> str:
    return (
        await agent_named(context, caller.tenant_id, resource_id)
        if resource_type is ResourceType.AGENT
        else resource_id
    )


def _path(user_id: str) -> str:
    # Identity providers put slashes and bars into ids.
    return f"/api/v1{PREFIX}/{quote(user_id, safe='')}"
