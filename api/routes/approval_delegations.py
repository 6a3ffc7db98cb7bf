"""Routes of approval delegations: who decides in the caller's place during an absence."""

from typing import Annotated

from fastapi import APIRouter

from api.auth.caller import Caller, Context, actor_of
from api.auth.guard import SignedIn
from api.schemas.approval_delegations import DelegationIn, DelegationOut, delegation_out
from taskforce.application.approvals.delegations import delegate, end_delegation, own_delegation
from taskforce.core.domain.errors import Forbidden
from taskforce.core.domain.identity.principals import require_whole

router = APIRouter(prefix="/me/delegation", tags=["approvals"])

Anybody = Annotated[Caller, SignedIn]


@router.get("", name="read_delegation")
async def read(caller: Anybody, context: Context) -> DelegationOut:
    """Returns the caller's delegation, in force now or later."""
    return delegation_out(await own_delegation(context.database, actor_of(context, caller)))


@router.put("", name="delegate")
async def put(caller: Anybody, context: Context, body: DelegationIn) -> DelegationOut:
    """Delegates the caller's decisions to another user; replaces an earlier delegation."""
    require_whole(caller.principal)
    actor = actor_of(context, _person(caller))
    return delegation_out(
        await delegate(context.database, actor, body.delegate_id, body.since or actor.now, body.until)
    )


@router.delete("", name="end_delegation", status_code=204)
async def delete(caller: Anybody, context: Context) -> None:
    """Ends the caller's delegation, at once."""
    await end_delegation(context.database, actor_of(context, _person(caller)))


def _person(caller: Caller) -> Caller:
    # An API key is cut to a part of its user's roles; a delegate would get all of them.
    if caller.key_id is not None:
        raise Forbidden("key_may_not", "Delegations are made by the person, not by an API key.")
    return caller
