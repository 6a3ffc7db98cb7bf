"""A tenant's own prices: what may be stated, when they are in force, and the book of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Final, Protocol, Self

from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.metering.currencies import parse_currency
from taskforce.core.domain.metering.money import parse_amount
from taskforce.core.domain.metering.prices import (
    LARGEST_PROMPT,
    Price,
    PriceTier,
    Resource,
    TokenPrices,
    Unit,
    UnitPrice,
)
from taskforce.core.domain.metering.tokens import TokenPart

MAX_PRICES: Final = 1_000
"""Prices that a tenant may have, ended ones included."""
MAX_NAME: Final = 200
MAX_NOTES: Final = 500
EACH: Final = "each"
"""The part of a resource that has no tokens."""

_NAMELESS: Final = frozenset({Resource.STORAGE, Resource.API_CALL})
_NAMED: Final = frozenset({Resource.MODEL, Resource.EMBEDDING})


@dataclass(frozen=True, slots=True)
class PriceTerms:
    """A price as a caller states it.

    Attributes:
        resource: What is priced.
        name: The model, tool, index or agent; empty for all tools, indexes or agents, and for what has no name.
        currency: A code of ISO 4217.
        unit: The number of tokens, executions, queries, calls or byte-hours that the amounts are for.
        prices: Amounts by part: those of `TokenPart` for tokens, `each` for everything else.
        tiers: For a model: amounts by part for prompts above a size.
        valid_from: The time from which it is in force, UTC; None for now.
        valid_until: The time from which it is no longer in force, UTC; None without an end.
        notes: A remark for people.
    """

    resource: Resource
    name: str
    currency: str
    unit: Unit
    prices: Mapping[str, str]
    tiers: Sequence[tuple[int, Mapping[str, str]]] = ()
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    notes: str = ""


@dataclass(frozen=True, slots=True)
class Amounts:
    """The amounts of a price, for one token or one unit: one of both is given.

    Attributes:
        tokens: The prices of a token.
        each: The price of one execution, query, call or byte-hour.
    """

    tokens: TokenPrices | None = None
    each: Decimal | None = None


@dataclass(frozen=True, slots=True)
class TenantPrice:
    """A price that a tenant has set.

    Attributes:
        price_id: Its id.
        resource: What is priced.
        name: The model, tool, index or agent; empty for all.
        currency: A code of ISO 4217.
        unit: The unit in which it was stated, and is shown.
        amounts: The amounts, for one token or one unit.
        valid_from: The time from which it is in force, UTC.
        created_by: The user who set it.
        created_at: The time when it was set, UTC.
        valid_until: The time from which it is no longer in force, UTC; None without an end.
        notes: A remark for people.
    """

    price_id: str
    resource: Resource
    name: str
    currency: str
    unit: Unit
    amounts: Amounts = field(hash=False)
    valid_from: datetime
    created_by: str
    created_at: datetime
    valid_until: datetime | None = None
    notes: str = ""

    @classmethod
    def stated(cls, terms: PriceTerms, price_id: str, by: str, now: datetime) -> Self:
        """Makes a price of what a caller states.

        Args:
            terms: The price as it was stated.
            price_id: Its new id.
            by: The user who sets it.
            now: The time, UTC.

        Raises:
            Invalid: `currency_unknown`, `amount_invalid`, `price_part_unknown`, `price_incomplete`,
                `price_tiers_invalid`, `price_name_invalid`, `price_notes_invalid` or `price_validity_invalid`.
        """
        begins = terms.valid_from or now
        if terms.valid_until is not None and terms.valid_until <= begins:
            raise Invalid("price_validity_invalid", "A price ends after it begins: `valid_until` is too early.")
        if len(terms.notes) > MAX_NOTES:
            raise Invalid("price_notes_invalid", f"Notes have {MAX_NOTES} characters at most.")
        return cls(
            price_id=price_id,
            resource=terms.resource,
            name=_name(terms),
            currency=parse_currency(terms.currency),
            unit=terms.unit,
            amounts=_amounts(terms),
            valid_from=begins,
            created_by=by,
            created_at=now,
            valid_until=terms.valid_until,
            notes=terms.notes,
        )

    def in_force(self, at: datetime) -> bool:
        """Tells whether it is in force at a time."""
        return self.valid_from <= at and (self.valid_until is None or at < self.valid_until)

    def overlaps(self, other: "TenantPrice") -> bool:
        """Tells whether there is a time at which both would be in force for the same thing."""
        same = (self.resource, self.name) == (other.resource, other.name)
        ends_before = self.valid_until is not None and self.valid_until <= other.valid_from
        begins_after = other.valid_until is not None and other.valid_until <= self.valid_from
        return same and not ends_before and not begins_after

    def gives_way_to(self, other: "TenantPrice") -> bool:
        """Tells whether it can end where another begins: it has no end, and began before."""
        return self.overlaps(other) and self.valid_until is None and self.valid_from < other.valid_from

    def ended(self, at: datetime) -> Self:
        """Returns it with an end."""
        return replace(self, valid_until=at)

    def in_unit(self) -> Mapping[str, Mapping[str, Decimal]]:
        """Returns the amounts as they were stated: `prices` by part, and those of each tier as `above_<tokens>`."""
        tokens = self.amounts.tokens
        if tokens is None:
            return {"prices": {EACH: self.unit.of(self.amounts.each or Decimal(0))}}
        shown = tokens.times(self.unit.zeros)
        parts = [TokenPart.INPUT] if self.resource is Resource.EMBEDDING else shown.prices
        tiers = {f"above_{one.above}": {part.value: price for part, price in one.prices.items()} for one in shown.tiers}
        return {"prices": {part.value: shown.prices[part] for part in parts}, **tiers}

    @property
    def source(self) -> str:
        """Returns what costs by this price name as its source."""
        return f"tenant:{self.price_id}"


class BundledPriceMap(Protocol):
    """The prices that come with the installation."""

    def key(self, model: str) -> str | None:
        """Returns the name under which it knows a model, the same for all spellings; None where it does not."""
        ...

    def price(self, model: str) -> Price | None:
        """Returns the price of a model; None where it has none."""
        ...

    def notes(self, model: str) -> tuple[str, ...]:
        """Returns what a cost by it leaves out, or why it has no price, for people."""
        ...

    def max_reply(self, model: str) -> int | None:
        """Returns how many tokens a model's reply may have; None where it is not known."""
        ...

    def nearest(self, model: str) -> str | None:
        """Returns the known name that is most like a mistyped one; it takes some ten milliseconds."""
        ...


class TenantPriceBook:
    """The prices of a tenant, and behind them those of the bundled map; fulfils `PriceBook`.

    Args:
        prices: The tenant's prices.
        bundled: The bundled map.
    """

    def __init__(self, prices: Iterable[TenantPrice], bundled: BundledPriceMap) -> None:
        self._bundled = bundled
        self._own: dict[tuple[Resource, str], list[TenantPrice]] = {}
        for price in prices:
            self._own.setdefault((price.resource, price.name), []).append(price)
        self._spellings = self._known_spellings()

    def price(self, model: str, at: datetime) -> Price | None:
        """Returns the price of a model's tokens at a time; None where it is not known.

        The tenant's own price counts for every spelling by which the bundled map knows the same model, for example
        that of `gpt-4o` for `openai/gpt-4o`; one of exactly this spelling comes first.
        """
        own = self._own_tokens(model, at)
        if own is None and self._spellings:
            key = self._bundled.key(model)
            others = self._spellings.get(key, ()) if key is not None else ()
            own = next((one for name in others if (one := self._own_tokens(name, at)) is not None), None)
        return self._bundled.price(model) if own is None else own

    def unit_price(self, resource: Resource, name: str, at: datetime) -> UnitPrice | None:
        """Returns the price of another resource at a time: of this name, else of all names; None without one."""
        found = self._in_force(resource, name, at) or self._in_force(resource, "", at)
        if found is None or found.amounts.each is None:
            return None
        return UnitPrice(resource, found.name, found.currency, found.amounts.each, found.source)

    def _own_tokens(self, model: str, at: datetime) -> Price | None:
        found = self._in_force(Resource.MODEL, model, at) or self._in_force(Resource.EMBEDDING, model, at)
        if found is None or found.amounts.tokens is None:
            return None
        notes = (found.notes,) if found.notes else ()
        return Price(
            found.name, found.currency, found.amounts.tokens, found.source, found.valid_from, found.valid_until, notes
        )

    def _in_force(self, resource: Resource, name: str, at: datetime) -> TenantPrice | None:
        return next((one for one in self._own.get((resource, name), ()) if one.in_force(at)), None)

    def _known_spellings(self) -> Mapping[str, Sequence[str]]:
        spellings: dict[str, list[str]] = {}
        for resource, name in sorted(self._own):
            key = self._bundled.key(name) if resource.has_tokens else None
            if key is not None:
                spellings.setdefault(key, []).append(name)
        return spellings


def _name(terms: PriceTerms) -> str:
    name = terms.name
    if len(name) > MAX_NAME or not name.isprintable() or name != name.strip():
        text = f"A name has {MAX_NAME} visible characters at most, and no blanks around it."
        raise Invalid("price_name_invalid", text)
    if bool(name) and terms.resource in _NAMELESS:
        raise Invalid("price_name_invalid", f"A price of {terms.resource.value} is for all: leave `name` out.")
    if not name and terms.resource in _NAMED:
        raise Invalid("price_name_invalid", "Name the model as calls do, for example openai/gpt-4o-mini.")
    return name


def _amounts(terms: PriceTerms) -> Amounts:
    if not terms.resource.has_tokens:
        if set(terms.prices) != {EACH} or terms.tiers:
            raise Invalid("price_part_unknown", f"A price of {terms.resource.value} has one amount, `{EACH}`.")
        return Amounts(each=terms.unit.each(parse_amount(terms.prices[EACH], EACH)))
    prices = _parts(terms.prices, terms.unit)
    if terms.resource is Resource.EMBEDDING:
        if set(prices) != {TokenPart.INPUT} or terms.tiers:
            raise Invalid("price_part_unknown", "An embedding model has one price, that of its `input`.")
        # It writes no reply, of which a price would be missing.
        prices[TokenPart.OUTPUT] = Decimal(0)
    if any(above > LARGEST_PROMPT for above, _ in terms.tiers):
        raise Invalid("price_tiers_invalid", f"Tiers begin above {LARGEST_PROMPT:,} tokens at most.")
    tiers = tuple(PriceTier(above, _parts(own, terms.unit)) for above, own in terms.tiers)
    return Amounts(tokens=TokenPrices(prices, tiers))


def _parts(prices: Mapping[str, str], unit: Unit) -> dict[TokenPart, Decimal]:
    unknown = sorted(set(prices) - set(TokenPart))
    if unknown:
        known = ", ".join(TokenPart)
        raise Invalid("price_part_unknown", f"There is no part {unknown[0][:40]!r}; parts are: {known}.")
    return {TokenPart(part): unit.each(parse_amount(amount, part)) for part, amount in prices.items()}
