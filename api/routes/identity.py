"""Who the caller is."""

from typing import Annotated

from fastapi import APIRouter

from api.dependencies import Caller, SignedIn
from api.schemas.identity import MeOut

router = APIRouter(tags=["identity"])


@router.get("/me", name="read_me")
async def me(caller: Annotated[Caller, SignedIn]) -> MeOut:
    """The caller, with the roles and the rights that count now."""
    user = caller.user
    return MeOut(
        user_id=user.user_id,
        tenant_id=user.tenant_id,
        username=user.username,
        email=user.email,
        roles=sorted(caller.roles),
        permissions=sorted(permission.value for permission in caller.permissions),
    )
