"""Prices in requests and responses. Amounts are decimals as texts, for JSON's numbers are not exact."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from api.schemas.fields import utc
from api.schemas.request_body import RequestBody
from taskforce.core.domain.metering.money import plain
from taskforce.core.domain.metering.prices import LARGEST_PROMPT, MAX_TIERS, Price, Resource, Unit, UnitPrice
from taskforce.core.domain.metering.tenant_prices import EACH, MAX_NAME, MAX_NOTES, PriceTerms, TenantPrice
from taskforce.core.domain.metering.tokens import TokenPart

Amount = Annotated[str, Field(min_length=1, max_length=40)]
AmountsIn = Annotated[dict[Annotated[str, Field(max_length=40)], Amount], Field(min_length=1, max_length=20)]
AmountsOut = dict[str, str]


class TierIn(RequestBody):
    """Prices of larger prompts.

    Attributes:
        above: Prompts of more tokens than this have these prices, for all of their tokens and those of the reply.
        prices: Amounts by part; what is left out costs what it costs for smaller prompts.
    """

    above: Annotated[int, Field(ge=1, le=LARGEST_PROMPT)]
    prices: AmountsIn


class PriceIn(RequestBody):
    """A price to be set.

    Attributes:
        resource: What is priced.
        name: The model, as calls name it; the tool, index or agent, empty for all of them.
        currency: A code of ISO 4217.
        unit: The number of tokens, executions, queries, calls or byte-hours that the amounts are for.
        prices: Amounts by part: `input`, `output`, `cached`, `cache_write`, `reasoning`, `audio_input`, `audio_output`
            of a model, `input` of an embedding model, `each` of everything else.
        tiers: Of a model: prices of larger prompts.
        valid_from: The time from which it is in force; left out, now.
        valid_until: The time from which it is no longer in force; left out, it has no end.
        notes: A remark for people.
        custom: Whether the model may be one that nobody else knows.
        ends_previous: Whether a price without an end that began earlier ends where this one begins.
    """

    model_config = ConfigDict(strict=False)

    resource: Resource = Resource.MODEL
    name: Annotated[str, Field(max_length=MAX_NAME)] = ""
    currency: Annotated[str, Field(min_length=1, max_length=20)] = "USD"
    unit: Unit
    prices: AmountsIn
    tiers: Annotated[list[TierIn], Field(max_length=MAX_TIERS)] = []
    valid_from: AwareDatetime | None = None
    valid_until: AwareDatetime | None = None
    notes: Annotated[str, Field(max_length=MAX_NOTES)] = ""
    custom: bool = False
    ends_previous: bool = False

    def terms(self) -> PriceTerms:
        """Returns the price as it is stated."""
        return PriceTerms(
            resource=self.resource,
            name=self.name,
            currency=self.currency,
            unit=self.unit,
            prices=self.prices,
            tiers=[(one.above, one.prices) for one in self.tiers],
            valid_from=utc(self.valid_from),
            valid_until=utc(self.valid_until),
            notes=self.notes,
        )


class TierOut(BaseModel):
    """Prices of larger prompts."""

    above: int
    prices: AmountsOut


class PriceOut(BaseModel):
    """A price that the tenant has set.

    Attributes:
        unit: The number of tokens, executions, queries, calls or byte-hours that the amounts are for.
        prices: Amounts by part, as they were stated.
        tiers: Prices of larger prompts.
    """

    price_id: str
    resource: Resource
    name: str
    currency: str
    unit: Unit
    prices: AmountsOut
    tiers: list[TierOut]
    valid_from: datetime
    valid_until: datetime | None
    notes: str
    created_by: str
    created_at: datetime


class EffectivePriceOut(BaseModel):
    """The price that is in force for something.

    Attributes:
        resource: What is priced.
        name: The name under which the price was found.
        source: Where it comes from: `tenant:<price id>`, `litellm:<version>`, or `free` for what runs here.
        each: Amounts by part, for one token, execution, query, call or byte-hour; every part of a model has one.
        per_1k: The same for 1,000.
        per_1m: The same for 1,000,000.
        tiers: Prices per 1,000,000 tokens of larger prompts.
        notes: What a cost by it leaves out, so that it is an estimate.
    """

    resource: Resource
    name: str
    currency: str
    source: str
    each: AmountsOut
    per_1k: AmountsOut
    per_1m: AmountsOut
    tiers: list[TierOut]
    valid_from: datetime | None
    valid_until: datetime | None
    notes: list[str]


def price_out(price: TenantPrice) -> PriceOut:
    """Renders a price of the tenant's own."""
    amounts = {part: _plain(own) for part, own in price.in_unit().items()}
    tiers = () if price.amounts.tokens is None else sorted(one.above for one in price.amounts.tokens.tiers)
    return PriceOut(
        price_id=price.price_id,
        resource=price.resource,
        name=price.name,
        currency=price.currency,
        unit=price.unit,
        prices=amounts["prices"],
        tiers=[TierOut(above=above, prices=amounts[f"above_{above}"]) for above in tiers],
        valid_from=price.valid_from,
        valid_until=price.valid_until,
        notes=price.notes,
        created_by=price.created_by,
        created_at=price.created_at,
    )


def effective_price_out(resource: Resource, found: Price | UnitPrice) -> EffectivePriceOut:
    """Renders the price that is in force."""
    if isinstance(found, UnitPrice):
        amounts: Mapping[str, Decimal] = {EACH: found.each}
        name, tiers = found.name, list[TierOut]()
    else:
        bounds = sorted(one.above for one in found.tokens.tiers)
        amounts, name = _named(found.tokens.of(0)), found.model
        tiers = [TierOut(above=one, prices=_per(Unit.MILLION, _named(found.tokens.of(one + 1)))) for one in bounds]
    return EffectivePriceOut(
        resource=resource,
        name=name,
        currency=found.currency,
        source=found.source,
        each=_plain(amounts),
        per_1k=_per(Unit.THOUSAND, amounts),
        per_1m=_per(Unit.MILLION, amounts),
        tiers=tiers,
        valid_from=None if isinstance(found, UnitPrice) else found.valid_from,
        valid_until=None if isinstance(found, UnitPrice) else found.valid_until,
        notes=[] if isinstance(found, UnitPrice) else list(found.notes),
    )


def _named(prices: Mapping[TokenPart, Decimal]) -> Mapping[str, Decimal]:
    return {part.value: price for part, price in prices.items()}


def _per(unit: Unit, prices: Mapping[str, Decimal]) -> AmountsOut:
    return _plain({part: unit.of(price) for part, price in prices.items()})


def _plain(prices: Mapping[str, Decimal]) -> AmountsOut:
    return {part: plain(price) for part, price in prices.items()}
