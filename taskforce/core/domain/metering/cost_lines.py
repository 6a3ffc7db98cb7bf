"""Lines of cost reports, from sums of usage: costs as they were recorded, divided by what they are for."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Final

from taskforce.core.domain.metering.aggregation import MEASURED_KINDS, UNPRICED_KINDS, UsageGroup, UsageSums
from taskforce.core.domain.metering.cost_reports import CostFacts, CostLine, WastedTokens
from taskforce.core.domain.metering.money import apportioned, average, product, total
from taskforce.core.domain.metering.prices import PriceBook
from taskforce.core.domain.metering.tokens import TokenCounts, TokenPart

LINE_DIMENSIONS: Final = ("kind", "model", "provider", "tool", "currency")
"""By what usage must be grouped for lines to be made of it, besides the groups of the report."""
TOKENS: Final = "tokens"
"""The part of a line for all tokens of a model, where what each part of them has cost is not known."""
_UNITS: Final[Mapping[str, str]] = {
    "tool": "executions",
    "run": "executions",
    "rag_query": "queries",
    "api": "calls",
    "storage": "byte-hours",
}


def cost_facts(
    groups: Iterable[UsageGroup],
    dimensions: Sequence[str],
    group_by: Sequence[str],
    book: PriceBook,
    moments: Sequence[datetime],
) -> CostFacts:
    """Makes the lines of sums of usage.

    What a call has cost is recorded, and what its parts have is not: the cost of a model is divided among the parts of
    its tokens by the prices that were in force. Where those give just the recorded cost, each part has its price;
    otherwise, when prices have changed meanwhile, each has an average.

    Args:
        groups: The sums, by `dimensions`.
        dimensions: The dimensions of the sums, `LINE_DIMENSIONS` among them.
        group_by: Those of them that the report is grouped by.
        book: The prices, which divide costs and change none.
        moments: Times at which prices may have been in force, the most likely first.
    """
    lines, unpriced, wasted = list[CostLine](), list[CostLine](), list[WastedTokens]()
    for group in groups:
        if group.key is None:
            rest, without = _rest(group.sums, group_by)
            lines += rest
            unpriced += without
            continue
        values = dict(zip(dimensions, group.key, strict=True))
        base, sums = _base(values, group_by), group.sums
        if base.currency is not None:
            cost = sums.costs.get(base.currency, Decimal())
            lines += _priced(replace(base, cost=cost), sums, book, moments)
        elif base.kind in UNPRICED_KINDS and sums.unpriced:
            unpriced += _unpriced(base, sums)
        if sums.wasted_tokens:
            told = (base.dimensions, base.other, base.model, base.provider, base.currency)
            wasted.append(WastedTokens(*told, sums.wasted_tokens))
    return CostFacts(tuple(lines), tuple(unpriced), tuple(wasted))


def _base(values: Mapping[str, str], group_by: Sequence[str]) -> CostLine:
    kind = values["kind"]
    return CostLine(
        dimensions={name: values[name] or None for name in group_by},
        other=False,
        kind=kind,
        model=values["model"] or None,
        provider=values["provider"] or None,
        tool=values["tool"] or None,
        part=None,
        quantity=Decimal(),
        unit=_UNITS.get(kind, TOKENS),
        currency=values["currency"] or None,
    )


def _priced(base: CostLine, sums: UsageSums, book: PriceBook, moments: Sequence[datetime]) -> Sequence[CostLine]:
    cost = base.cost or Decimal()
    if base.unit == TOKENS:
        return tuple(_by_part(base, sums, book, moments))
    quantity = sums.quantity if base.kind in MEASURED_KINDS else Decimal(sums.records)
    return (_at_average(base, quantity, cost),)


def _by_part(base: CostLine, sums: UsageSums, book: PriceBook, moments: Sequence[datetime]) -> Iterator[CostLine]:
    counts, cost = _counts(sums), base.cost or Decimal()
    parts = {part: Decimal(tokens) for part, tokens in counts.parts().items() if tokens}
    if not parts and not cost:
        return
    priced = [prices for moment in moments if (prices := _prices(base, book, moment)) is not None]
    for prices in priced:
        costs = {part: product(prices[part], tokens) for part, tokens in parts.items()}
        if total(costs.values()) == cost:
            for part, tokens in parts.items():
                yield replace(base, part=part.value, quantity=tokens, unit_price=prices[part], cost=costs[part])
            return
    weights = [product(priced[0][part], tokens) for part, tokens in parts.items()] if priced else []
    if not any(weights):
        yield _at_average(replace(base, part=TOKENS), Decimal(counts.total), cost)
        return
    for (part, tokens), share in zip(parts.items(), apportioned(cost, weights), strict=True):
        yield replace(_at_average(base, tokens, share), part=part.value, averaged=True)


def _prices(base: CostLine, book: PriceBook, moment: datetime) -> Mapping[TokenPart, Decimal] | None:
    price = book.price(base.model or "", moment)
    # What it costs for small prompts; where larger ones cost more, the parts get averages.
    return None if price is None or price.currency != base.currency else price.tokens.of(0)


def _at_average(base: CostLine, quantity: Decimal, cost: Decimal) -> CostLine:
    if not quantity:
        return replace(base, quantity=quantity, cost=cost)
    each = average(cost, quantity)
    return replace(base, quantity=quantity, unit_price=each, averaged=product(each, quantity) != cost, cost=cost)


def _unpriced(base: CostLine, sums: UsageSums) -> Sequence[CostLine]:
    parts = [(part, tokens) for part, tokens in _counts(sums).parts().items() if tokens]
    if not parts:
        return (replace(base, quantity=Decimal(sums.unpriced), unit="records"),)
    return tuple(replace(base, part=part.value, quantity=Decimal(tokens)) for part, tokens in parts)


def _rest(sums: UsageSums, group_by: Sequence[str]) -> tuple[Sequence[CostLine], Sequence[CostLine]]:
    """Makes lines of the groups that are not told one by one: their costs are told, and nothing else of them."""
    records = Decimal(sums.records)
    base = CostLine(
        dimensions=dict.fromkeys(group_by),
        other=True,
        kind=None,
        model=None,
        provider=None,
        tool=None,
        part=None,
        quantity=records,
        unit="records",
    )
    priced = sums.costs.items()
    lines = tuple(replace(_at_average(base, records, cost), averaged=True, currency=one) for one, cost in priced)
    return lines, (replace(base, quantity=Decimal(sums.unpriced)),) if sums.unpriced else ()


def _counts(sums: UsageSums) -> TokenCounts:
    return TokenCounts(
        input=sums.input_tokens,
        output=sums.output_tokens,
        cached=sums.cached_tokens,
        cache_write=sums.cache_write_tokens,
        reasoning=sums.reasoning_tokens,
        audio_input=sums.audio_input_tokens,
        audio_output=sums.audio_output_tokens,
    )
