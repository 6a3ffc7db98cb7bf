"""Prices: what a token of each kind, and a unit of every other resource, costs at a time, and the cost of a call."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final, Protocol

from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.metering.money import product, scaled, total
from taskforce.core.domain.metering.tokens import TokenCounts, TokenPart

MAX_TIERS: Final = 8
LARGEST_PROMPT: Final = 1_000_000_000
FREE: Final = "free"
"""The source of the price of a model that costs nothing, for it runs here."""

_FALLBACKS: Final[Mapping[TokenPart, TokenPart]] = {
    TokenPart.CACHED: TokenPart.INPUT,
    TokenPart.CACHE_WRITE: TokenPart.INPUT,
    TokenPart.AUDIO_INPUT: TokenPart.INPUT,
    TokenPart.REASONING: TokenPart.OUTPUT,
    TokenPart.AUDIO_OUTPUT: TokenPart.OUTPUT,
}


class Resource(StrEnum):
    """Resources that have prices."""

    MODEL = "model"
    """Tokens of a language model, by its LiteLLM name."""
    EMBEDDING = "embedding"
    """Tokens of an embedding model, by its LiteLLM name."""
    TOOL = "tool"
    """Executions of a tool, by its name."""
    RAG_QUERY = "rag_query"
    """Queries to an index, by its name."""
    STORAGE = "storage"
    """Byte-hours of what is stored."""
    API_CALL = "api_call"
    """Calls of the HTTP API."""
    AGENT_EXECUTION = "agent_execution"
    """Runs of an agent, by its id."""

    @property
    def has_tokens(self) -> bool:
        """Tells whether it is priced by tokens."""
        return self in {Resource.MODEL, Resource.EMBEDDING}


class Unit(StrEnum):
    """The number of tokens, executions, queries, calls or byte-hours that a price is stated for."""

    ONE = "1"
    THOUSAND = "1K"
    MILLION = "1M"
    BILLION = "1G"

    @property
    def zeros(self) -> int:
        """Returns how many zeros the number has."""
        return {Unit.ONE: 0, Unit.THOUSAND: 3, Unit.MILLION: 6, Unit.BILLION: 9}[self]

    def each(self, amount: Decimal) -> Decimal:
        """Returns the price of one from the price of this many, exactly."""
        return scaled(amount, -self.zeros)

    def of(self, each: Decimal) -> Decimal:
        """Returns the price of this many from the price of one, exactly."""
        return scaled(each, self.zeros)


@dataclass(frozen=True, slots=True)
class PriceTier:
    """Prices that replace those of smaller prompts.

    Attributes:
        above: Prompts of more tokens than this have these prices, for all of their tokens and those of the reply.
        prices: Prices of a token by part; a part that is left out has the price that smaller prompts have.
    """

    above: int
    prices: Mapping[TokenPart, Decimal] = field(hash=False)


@dataclass(frozen=True, slots=True)
class TokenPrices:
    """Prices of a token by part.

    Attributes:
        prices: Prices by part, of input and of output at least. A part without its own has that of the input, or of
            the output, which it is of.
        tiers: Prices by the size of the prompt, in any order.

    Raises:
        Invalid: `price_incomplete` or `price_tiers_invalid`.
    """

    prices: Mapping[TokenPart, Decimal] = field(hash=False)
    tiers: tuple[PriceTier, ...] = ()

    def __post_init__(self) -> None:
        if not {TokenPart.INPUT, TokenPart.OUTPUT} <= self.prices.keys():
            raise Invalid("price_incomplete", "State the prices of input and of output, at least.")
        bounds = [tier.above for tier in self.tiers]
        if len(bounds) > MAX_TIERS or len(set(bounds)) < len(bounds) or any(one < 1 for one in bounds):
            text = f"Tiers begin above different sizes of 1 token or more, and are {MAX_TIERS} at most."
            raise Invalid("price_tiers_invalid", text)

    def of(self, prompt: int) -> Mapping[TokenPart, Decimal]:
        """Returns the price of a token of every part, for calls with a prompt of a size.

        Args:
            prompt: All tokens of the prompt, cached ones included.
        """
        own = dict(self.prices)
        for tier in sorted(self.tiers, key=lambda one: one.above):
            if prompt > tier.above:
                own.update(tier.prices)
        return {part: own[part] if part in own else own[_FALLBACKS[part]] for part in TokenPart}

    def times(self, zeros: int) -> "TokenPrices":
        """Returns the prices of ten to the power of `zeros` tokens, exactly."""

        def scale(prices: Mapping[TokenPart, Decimal]) -> Mapping[TokenPart, Decimal]:
            return {part: scaled(price, zeros) for part, price in prices.items()}

        return TokenPrices(scale(self.prices), tuple(PriceTier(one.above, scale(one.prices)) for one in self.tiers))


@dataclass(frozen=True, slots=True)
class Price:
    """The price of a model's tokens.

    Attributes:
        model: The LiteLLM name that it was found under.
        currency: A code of ISO 4217.
        tokens: Prices of a token.
        source: Where it comes from: `tenant:<price id>`, `litellm:<version>` or `free`.
        valid_from: The time from which it is in force, UTC; None from the beginning.
        valid_until: The time from which it is no longer in force, UTC; None without an end.
        notes: What a cost by this price leaves out, so that it is an estimate, for people.
    """

    model: str
    currency: str
    tokens: TokenPrices
    source: str
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UnitPrice:
    """The price of one unit of a resource without tokens.

    Attributes:
        resource: The resource.
        name: The tool, index or agent; empty for all of them.
        currency: A code of ISO 4217.
        each: The price of one execution, query, call or byte-hour.
        source: Where it comes from: `tenant:<price id>`.
    """

    resource: Resource
    name: str
    currency: str
    each: Decimal
    source: str


@dataclass(frozen=True, slots=True)
class Charge:
    """The cost of an effect, fixed when it is recorded.

    Attributes:
        cost: The exact amount.
        currency: A code of ISO 4217.
        source: Where the price comes from, as `Price.source`.
    """

    cost: Decimal
    currency: str
    source: str


def cost_of(counts: TokenCounts, price: Price) -> Decimal:
    """Returns the exact cost of a call.

    Args:
        counts: Its tokens.
        price: The price of its model.

    Returns:
        The amount in the price's currency.
    """
    each = price.tokens.of(counts.input)
    return total(product(each[part], tokens) for part, tokens in counts.parts().items())


class PriceBook(Protocol):
    """The prices of one tenant: its own first, then those of the bundled map."""

    def price(self, model: str, at: datetime) -> Price | None:
        """Returns the price of a model's tokens at a time; None where it is not known."""
        ...

    def unit_price(self, resource: Resource, name: str, at: datetime) -> UnitPrice | None:
        """Returns the price of another resource at a time: of this name, else of all names; None without one."""
        ...


def model_charge(book: PriceBook, model: str, counts: TokenCounts, at: datetime) -> Charge | None:
    """Returns what a call costs; None where its model has no price.

    Args:
        book: The tenant's prices.
        model: The LiteLLM name.
        counts: The call's tokens.
        at: The time of recording, UTC.
    """
    price = book.price(model, at)
    return None if price is None else Charge(cost_of(counts, price), price.currency, price.source)


def unit_charge(
    book: PriceBook, resource: Resource, name: str, at: datetime, *, quantity: Decimal | int = 1
) -> Charge | None:
    """Returns what a quantity of another resource costs; None where it has no price.

    Args:
        book: The tenant's prices.
        resource: The resource.
        name: The tool, index or agent.
        at: The time of recording, UTC.
        quantity: How many executions, queries, calls or byte-hours.
    """
    price = book.unit_price(resource, name, at)
    return None if price is None else Charge(product(price.each, quantity), price.currency, price.source)
