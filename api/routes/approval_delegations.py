"""Who decides in the caller's place while the caller is away."""

from typing import Annotated

from fastapi import APIRouter

from api.auth.caller import Caller, Parts, actor_of
from api.auth.guard import SignedIn
from api.schemas.approval_delegations import DelegationIn, DelegationOut, delegation_out
from taskforce.application.approvals.delegations import delegate, end_delegation, own_delegation
from taskforce.core.domain.errors import Forbidden

router = APIRouter(prefix="/me/delegation", tags=["approvals"])

Anybody = Annotated[Caller, SignedIn]


@router.get("", name="read_delegation")
async def read(caller: Anybody, parts: Parts) -> DelegationOut:
    """Who decides in the caller's place, now or later."""
    return delegation_out(await own_delegation(parts.database, actor_of(parts, caller)))


@router.put("", name="delegate")
async def put(caller: Anybody, parts: Parts, asked: DelegationIn) -> DelegationOut:
    """Lets somebody decide in the caller's place; replaces an earlier delegation."""
    actor = actor_of(parts, _person(caller))
    return delegation_out(
        await delegate(parts.database, actor, asked.delegate_id, asked.since or actor.now, asked.until)
    )


@router.delete("", name="end_delegation", status_code=204)
async def delete(caller: Anybody, parts: Parts) -> None:
    """Ends the caller's delegation, at once."""
    await end_delegation(parts.database, actor_of(parts, _person(caller)))


def _person(caller: Caller) -> Caller:
    # A key has a part of its user's rights; a delegate would get all of them.
    if caller.key_id is not None:
        raise Forbidden("key_may_not", "Delegations are made by the person, not by an API key.")
    return caller
