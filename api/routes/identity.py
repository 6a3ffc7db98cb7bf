"""Who the caller is."""

from typing import Annotated

from fastapi import APIRouter

from api.dependencies import Caller, Parts, SignedIn
from api.schemas.identity import MeOut

router = APIRouter(tags=["identity"])


@router.get("/me", name="read_me")
async def me(caller: Annotated[Caller, SignedIn], parts: Parts) -> MeOut:
    """The caller, with the roles and the rights that count now."""
    user = caller.user
    return MeOut(
        user_id=user.user_id,
        tenant_id=user.tenant_id,
        username=user.username,
        email=user.email,
        roles=sorted(user.effective_roles(parts.clock(), parts.claims_age)),
        permissions=sorted(permission.value for permission in caller.permissions),
    )
