"""Routes of API keys, which belong to a tenant's people and service accounts."""

from typing import Annotated

from fastapi import APIRouter, Response

from api.auth.caller import Caller, Context, actor_of
from api.auth.guard import Allowed
from api.schemas.api_keys import ApiKeyIn, ApiKeyOut, IssuedKeyOut, issued_out, key_out
from api.schemas.pages import PageOut
from api.web.pagination import Cursor, Limit, page, parse_place, place_cursor
from taskforce.application.access.authorization import filter_allowed, require_newest_attributes
from taskforce.application.identity import api_keys
from taskforce.application.identity.api_keys import NewKey
from taskforce.core.domain.ids import parse_id
from taskforce.core.interfaces.identity import Permission

PREFIX = "/admin/api-keys"
router = APIRouter(prefix=PREFIX, tags=["api keys"])

Manager = Annotated[Caller, Allowed(Permission.USER_MANAGE)]
Issuer = Annotated[Caller, Allowed(Permission.USER_MANAGE, of="user_id")]


@router.get("", name="list_api_keys")
async def list_keys(caller: Manager, context: Context, limit: Limit = 20, cursor: Cursor = None) -> PageOut[ApiKeyOut]:
    """Lists API keys, newest first; expired and revoked ones are included.

    A page may be short although there is a next one: keys of users whom the tenant's policy denies are
    passed over.
    """
    actor = actor_of(context, caller)
    found = await api_keys.list_keys(context.database, actor, parse_place(cursor), limit + 1)
    managed = await filter_allowed(
        context.policies,
        caller.principal,
        Permission.USER_MANAGE,
        found[:limit],
        named=lambda key: key.user_id,
        facts=caller.facts,
    )
    return page(
        PageOut[ApiKeyOut],
        (key_out(key, actor.now) for key in managed),
        found=found,
        limit=limit,
        cursor_of=lambda last: place_cursor(last.created_at, last.key_id),
    )


@router.post("", status_code=201, name="issue_api_key")
async def issue_key(body: ApiKeyIn, caller: Issuer, context: Context, response: Response) -> IssuedKeyOut:
    """Issues an API key. `api_key` is in this answer only; the same request sent once more does not return it again."""
    actor = actor_of(context, caller)
    if body.user_id in {None, caller.user_id}:
        await require_newest_attributes(context.policies, caller.principal)
    wanted = NewKey(body.user_id, body.name, frozenset(body.roles), body.expires_at, body.metadata)
    issued = await api_keys.issue_key(context.database, actor, wanted)
    response.headers["location"] = f"/api/v1{PREFIX}/{issued.key.key_id}"
    # The key is in this answer and nowhere else.
    response.headers["cache-control"] = "no-store"
    return issued_out(issued.key, issued.plaintext, actor.now)


@router.get("/{key_id}", name="read_api_key")
async def read_key(key_id: str, caller: Manager, context: Context) -> ApiKeyOut:
    """Returns one API key without its secret."""
    actor = actor_of(context, caller)
    return key_out(await api_keys.find_key(context.database, actor, parse_id(key_id, "api key")), actor.now)


@router.delete("/{key_id}", status_code=204, name="revoke_api_key")
async def revoke_key(key_id: str, caller: Manager, context: Context) -> None:
    """Revokes an API key for good, at once and on every gateway; its row stays in the list."""
    await api_keys.revoke_key(context.database, actor_of(context, caller), parse_id(key_id, "api key"))
