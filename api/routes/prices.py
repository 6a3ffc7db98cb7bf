"""Routes of a tenant's own prices, and of the price that is in force."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import AwareDatetime

from api.auth.caller import Caller, Context, actor_of
from api.auth.guard import Allowed
from api.schemas.fields import utc
from api.schemas.pages import PageOut
from api.schemas.prices import EffectivePriceOut, PriceIn, PriceOut, effective_price_out, price_out
from api.web.pagination import Cursor, Limit, page, parse_text, text_cursor
from taskforce.application.metering import prices
from taskforce.application.metering.prices import PriceOptions
from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.ids import is_id
from taskforce.core.domain.metering.prices import Resource
from taskforce.core.domain.metering.tenant_prices import MAX_NAME, TenantPrice
from taskforce.core.interfaces.identity import Permission
from taskforce.core.interfaces.repositories.prices import PriceFilter

PREFIX = "/admin/prices"
router = APIRouter(prefix=PREFIX, tags=["prices"])

Reader = Annotated[Caller, Allowed(Permission.AUDIT_READ)]
Manager = Annotated[Caller, Allowed(Permission.TENANT_MANAGE)]
Name = Annotated[str, Query(max_length=MAX_NAME)]
At = Annotated[AwareDatetime | None, Query(description="A time, with its zone")]


@router.get("", name="list_prices")
async def list_prices(
    caller: Reader,
    context: Context,
    resource: Resource | None = None,
    name: Annotated[str | None, Query(max_length=MAX_NAME)] = None,
    at: At = None,
    *,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> PageOut[PriceOut]:
    """Lists the tenant's own prices by resource and name, ended ones included; with `at` those in force then."""
    which = PriceFilter(resource, name, utc(at))
    actor, after = actor_of(context, caller), _place(parse_text(cursor))
    found = await prices.list_prices(context.database, actor, which, after, limit + 1)
    shown = map(price_out, found[:limit])
    return page(PageOut[PriceOut], shown, found=found, limit=limit, cursor_of=_cursor)


@router.get("/effective", name="read_effective_price")
async def read_effective_price(
    caller: Reader, context: Context, name: Name = "", *, resource: Resource = Resource.MODEL, at: At = None
) -> EffectivePriceOut:
    """Returns the price that is in force for a model or another resource, and where it comes from.

    Without one the answer is 404 `price_unknown`, which names the nearest known model: usage of it is recorded as
    unpriced, and never as free.
    """
    actor, time = actor_of(context, caller), utc(at)
    found = await prices.effective_price(context.database, context.bundled_prices, actor, resource, name, at=time)
    return effective_price_out(resource, found)


@router.post("", status_code=201, name="set_price")
async def set_price(body: PriceIn, caller: Manager, context: Context, response: Response) -> PriceOut:
    """Sets a price. It counts from the next step of every run; what is recorded already keeps its cost.

    Times of prices of the same thing do not overlap (409 `price_overlaps`).
    """
    actor, options = actor_of(context, caller), PriceOptions(body.custom, body.ends_previous)
    made = await prices.set_price(context.database, context.bundled_prices, actor, body.terms(), options)
    response.headers["location"] = f"/api/v1{PREFIX}/{made.price_id}"
    return price_out(made)


@router.get("/{price_id}", name="read_price")
async def read_price(price_id: str, caller: Reader, context: Context) -> PriceOut:
    """Returns a price of the tenant's own."""
    return price_out(await prices.find_price(context.database, actor_of(context, caller), price_id))


@router.delete("/{price_id}", status_code=204, name="remove_price")
async def remove_price(price_id: str, caller: Manager, context: Context) -> None:
    """Removes a price, from the next step of every run on; what is recorded already keeps its cost."""
    await prices.remove_price(context.database, actor_of(context, caller), price_id)


def _cursor(last: TenantPrice) -> str:
    return text_cursor(f"{last.resource.value}/{last.price_id}/{last.name}")


def _place(text: str | None) -> tuple[str, str, str] | None:
    if text is None:
        return None
    # A name may hold slashes, so it comes last.
    resource, _, rest = text.partition("/")
    price_id, _, name = rest.partition("/")
    if not is_id(price_id):
        raise Invalid("cursor_invalid", "No page has this cursor. Send `next_cursor` as it came.")
    return resource, name, price_id
