"""A tenant's own prices: set, listed and removed by people. What is recorded keeps the price of its time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from taskforce.application.identity.principals import Actor
from taskforce.application.tenant_threads import in_thread
from taskforce.core.domain.errors import Conflict, Invalid, Missing
from taskforce.core.domain.ids import missing, new_id, parse_id
from taskforce.core.domain.metering.money import plain
from taskforce.core.domain.metering.prices import Price, Resource, UnitPrice
from taskforce.core.domain.metering.tenant_prices import (
    MAX_PRICES,
    BundledPriceMap,
    PriceTerms,
    TenantPrice,
    TenantPriceBook,
)
from taskforce.core.interfaces.prices import PriceCatalog
from taskforce.core.interfaces.repositories.prices import PriceFilter
from taskforce.core.interfaces.store import Records, Store


@dataclass(frozen=True, slots=True)
class PriceOptions:
    """Options of setting a price.

    Attributes:
        custom: Whether the model may be one that the bundled map does not know.
        ends_previous: Whether a price without an end that began earlier ends where this one begins.
    """

    custom: bool = False
    ends_previous: bool = False


async def set_price(
    store: Store, catalog: PriceCatalog, actor: Actor, terms: PriceTerms, options: PriceOptions
) -> TenantPrice:
    """Sets a price. What is recorded already keeps its cost, also where the price begins in the past.

    Args:
        store: The tenants' data.
        catalog: The bundled prices, whose models are known.
        actor: The caller.
        terms: The price.
        options: How it is set.

    Returns:
        The price.

    Raises:
        Invalid: As `TenantPrice.stated`; `model_unknown`: nobody knows the model, and it is not `custom`.
        Conflict: `price_overlaps`: another price of the same thing is in force at some time of it;
            `prices_limit_reached`.
    """
    price = TenantPrice.stated(terms, new_id(), actor.principal.user.user_id, actor.now)
    tenant_id = actor.principal.tenant.tenant_id
    if price.resource.has_tokens and not options.custom:
        await _require_known(tenant_id, await catalog.load(), price.name)
    async with store.tenant(tenant_id) as records:
        # First: it locks the tenant's row against other changes of its prices until this one is committed.
        await records.tenant.revise_metering()
        ended = await _make_room(records, price, options)
        await records.prices.add(price)
        sides = {"before": None if ended is None else snapshot(ended), "after": snapshot(price)}
        await records.audit.append(actor.event("price.set", "price", price.price_id, **sides))
    return price


async def _require_known(tenant_id: str, bundled: BundledPriceMap, model: str) -> None:
    if bundled.key(model) is not None:
        return
    # Comparing with thousands of names takes some ten milliseconds.
    nearest = await in_thread(tenant_id, bundled.nearest, model)
    hint = f"Did you mean {nearest}? " if nearest else ""
    own = "Send `custom: true` if it is a model of your own, named as calls name it."
    raise Invalid("model_unknown", f"No model {model!r} is known. {hint}{own}", details={"nearest": nearest})


async def _make_room(records: Records, price: TenantPrice, options: PriceOptions) -> TenantPrice | None:
    """Ends the price before it where that is asked for, and returns it."""
    if await records.prices.count() >= MAX_PRICES:
        text = f"A tenant has at most {MAX_PRICES:,} prices, ended ones included: remove some that ended long ago."
        raise Conflict("prices_limit_reached", text, details={"max_prices": MAX_PRICES})
    others = [one for one in await records.prices.of(price.resource, price.name) if one.overlaps(price)]
    ended = next((one for one in others if one.gives_way_to(price)), None) if options.ends_previous else None
    clashing = next((one for one in others if one is not ended), None)
    if clashing is not None:
        until = "on" if clashing.valid_until is None else f"to {clashing.valid_until.isoformat()}"
        text = f"Another price is in force from {clashing.valid_from.isoformat()} {until}: {clashing.price_id}."
        hint = " Send `ends_previous: true` to end it where this one begins." if clashing.gives_way_to(price) else ""
        raise Conflict("price_overlaps", text + hint, details={"price_id": clashing.price_id})
    if ended is not None:
        await records.prices.end(ended.price_id, price.valid_from)
    return ended


async def list_prices(
    store: Store, actor: Actor, which: PriceFilter, after: tuple[str, str, str] | None, most: int
) -> Sequence[TenantPrice]:
    """Lists the tenant's own prices by resource, name and id.

    Args:
        store: The tenants' data.
        actor: The caller.
        which: The filter.
        after: Resource, name and id of the last price of the page before.
        most: Prices at most.
    """
    async with store.reading(actor.principal.tenant.tenant_id) as records:
        return await records.prices.page(which, after, most)


async def find_price(store: Store, actor: Actor, price_id: str) -> TenantPrice:
    """Finds a price of the tenant's own.

    Raises:
        Missing: `price_not_found`.
    """
    known_id = parse_id(price_id, "price")
    async with store.reading(actor.principal.tenant.tenant_id) as records:
        return await _found(records, known_id)


async def remove_price(store: Store, actor: Actor, price_id: str) -> None:
    """Removes a price, at the next step of every run; what is recorded keeps its cost.

    Raises:
        Missing: `price_not_found`.
    """
    known_id = parse_id(price_id, "price")
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        price = await _found(records, known_id)
        await records.tenant.revise_metering()
        # Of two who remove it at once, one has done it.
        if not await records.prices.remove(known_id):
            raise missing("price")
        sides = {"before": snapshot(price), "after": None}
        await records.audit.append(actor.event("price.remove", "price", known_id, **sides))


async def _found(records: Records, price_id: str) -> TenantPrice:
    price = await records.prices.get(price_id)
    if price is None:
        raise missing("price")
    return price


async def effective_price(
    store: Store, catalog: PriceCatalog, actor: Actor, resource: Resource, name: str, *, at: datetime | None = None
) -> Price | UnitPrice:
    """Finds the price that is in force, and where it comes from.

    Args:
        store: The tenants' data.
        catalog: The bundled prices.
        actor: The caller.
        resource: What is priced.
        name: The model, tool, index or agent.
        at: A time; None for now.

    Raises:
        Missing: `price_unknown`: nothing has this price; the message says why, or what may be meant.
    """
    tenant_id, bundled, time = actor.principal.tenant.tenant_id, await catalog.load(), at or actor.now
    async with store.reading(tenant_id) as records:
        book = TenantPriceBook(await records.prices.in_force_since(time), bundled)
    found = book.price(name, time) if resource.has_tokens else book.unit_price(resource, name, time)
    if found is None:
        raise await _unknown(tenant_id, bundled, resource, name)
    return found


async def _unknown(tenant_id: str, bundled: BundledPriceMap, resource: Resource, name: str) -> Missing:
    reasons: list[str] = []
    if resource.has_tokens:
        reasons += bundled.notes(name)
        nearest = None if bundled.key(name) else await in_thread(tenant_id, bundled.nearest, name)
        reasons += [f"Did you mean {nearest}?"] if nearest else []
    hint = " ".join(["", *reasons])
    return Missing("price_unknown", f"No price of {resource.value} {name!r} is in force.{hint}")


def snapshot(price: TenantPrice) -> Mapping[str, object]:
    """Renders a price for the audit log: its amounts in the unit in which they were stated."""
    return {
        "resource": price.resource.value,
        "name": price.name,
        "currency": price.currency,
        "unit": price.unit.value,
        **{name: {part: plain(amount) for part, amount in own.items()} for name, own in price.in_unit().items()},
        "valid_from": price.valid_from.isoformat(),
        "valid_until": None if price.valid_until is None else price.valid_until.isoformat(),
        "notes": price.notes,
    }
