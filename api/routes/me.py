"""Routes of the caller's own identity and permissions."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter

from api.auth.caller import Caller, Context, actor_of
from api.auth.guard import SignedIn
from api.composition import GatewayContext
from api.schemas.me import MeOut, MyGrantOut, MyPermissionsOut
from taskforce.application.identity.resource_roles import own_grants
from taskforce.core.domain.tenants.tenant import FEATURES

router = APIRouter(tags=["identity"])

Anybody = Annotated[Caller, SignedIn]


@router.get("/me", name="read_me")
async def me(caller: Anybody) -> MeOut:
    """Returns the caller, with the roles and permissions in force now."""
    user = caller.user
    return MeOut(
        user_id=user.user_id,
        tenant_id=user.tenant_id,
        username=user.username,
        email=user.email,
        roles=sorted(caller.roles),
        permissions=_permissions(caller),
    )


@router.get("/me/permissions", name="read_my_permissions")
async def my_permissions(caller: Anybody, context: Context) -> MyPermissionsOut:
    """Returns the caller's permissions: in the tenant, on single resources, and the tenant's features."""
    settings = caller.principal.tenant.settings
    return MyPermissionsOut(
        roles=sorted(caller.roles),
        permissions=_permissions(caller),
        features=sorted(name for name in FEATURES if settings.allows(name)),
        grants=await _grants(context, caller),
    )


async def _grants(context: GatewayContext, caller: Caller) -> Sequence[MyGrantOut]:
    if caller.key_id is not None:
        # An API key is cut to its roles; its user's roles on single resources would widen it again.
        return []
    actor = actor_of(context, caller)
    return [
        MyGrantOut(
            role_id=grant.role_id,
            resource_type=grant.resource_type,
            resource_id=grant.resource_id,
            expires_at=grant.expires_at,
            permissions=sorted(one.value for one in allowed),
        )
        for grant, allowed in await own_grants(context.database, actor)
    ]


def _permissions(caller: Caller) -> list[str]:
    return sorted(permission.value for permission in caller.permissions)
