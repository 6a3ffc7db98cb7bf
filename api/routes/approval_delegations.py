"""Routes of approval delegations: who decides in the caller's place during an absence."""

from typing import Annotated

from fastapi import APIRouter

from api.auth.caller import Caller, Context, actor_of
from api.auth.guard import SignedIn
from api.schemas.approval_delegations import DelegationIn, DelegationOut, delegation_out
from taskforce.application.approvals.delegations import delegate, end_delegation, own_delegation

router = APIRouter(prefix="/me/delegation", tags=["approvals"])

Anybody = Annotated[Caller, SignedIn]


@router.get("", name="read_delegation")
async def read(caller: Anybody, context: Context) -> DelegationOut:
    """Returns the caller's delegation, in force now or later."""
    return delegation_out(await own_delegation(context.database, actor_of(context, caller)))


@router.put("", name="delegate")
async def put(caller: Anybody, context: Context, body: DelegationIn) -> DelegationOut:
    """Delegates the caller's decisions to another user; replaces an earlier delegation."""
    actor = actor_of(context, caller)
    return delegation_out(
        await delegate(context.database, actor, body.delegate_id, body.since or actor.now, body.until)
    )


@router.delete("", name="end_delegation", status_code=204)
async def delete(caller: Anybody, context: Context) -> None:
    """Ends the caller's delegation, at once."""
    await end_delegation(context.database, actor_of(context, caller))
