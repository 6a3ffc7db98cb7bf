"""A tenant's own prices: when they are in force, and which one counts."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.metering.prices import LARGEST_PROMPT, Price, Resource, TokenPrices, Unit
from taskforce.core.domain.metering.tenant_prices import PriceTerms, TenantPrice, TenantPriceBook
from taskforce.core.domain.metering.tokens import TokenPart

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)


class Bundled:
    """A map that knows one model, by two spellings."""

    def key(self, model: str) -> str | None:
        return "a" if model in {"a", "x/a"} else None

    def price(self, model: str) -> Price | None:
        tokens = TokenPrices({TokenPart.INPUT: Decimal(7), TokenPart.OUTPUT: Decimal(7)})
        return Price("a", "USD", tokens, "bundled") if self.key(model) else None

    def max_reply(self, model: str) -> int | None:
        del model
        return None

    def notes(self, model: str) -> tuple[str, ...]:
        del model
        return ()

    def nearest(self, model: str) -> str | None:
        del model
        return None


def at(hours: int) -> datetime:
    return NOW + timedelta(hours=hours)


def price(name: str, since: int, until: int | None = None, resource: Resource = Resource.MODEL) -> TenantPrice:
    amounts = {"input": "1", "output": "2"} if resource is Resource.MODEL else {"each": "1"}
    ends = None if until is None else at(until)
    terms = PriceTerms(resource, name, "EUR", Unit.THOUSAND, amounts, valid_from=at(since), valid_until=ends)
    return TenantPrice.stated(terms, f"{name}-{since}", "ada", NOW)


def found(book: TenantPriceBook, model: str, hours: int) -> str | None:
    known = book.price(model, at(hours))
    return None if known is None else known.source


def test_a_price_is_in_force_from_its_beginning_to_right_before_its_end() -> None:
    book = TenantPriceBook([price("own", 0, 2), price("own", 2)], Bundled())
    times = {hours: found(book, "own", hours) for hours in (-1, 0, 1, 2, 99)}
    assert times == {-1: None, 0: "tenant:own-0", 1: "tenant:own-0", 2: "tenant:own-2", 99: "tenant:own-2"}


def test_the_tenants_own_price_comes_before_the_bundled_one_for_every_spelling() -> None:
    book = TenantPriceBook([price("a", 0, 2)], Bundled())
    assert [found(book, model, 1) for model in ("a", "x/a", "y/a")] == ["tenant:a-0", "tenant:a-0", None]
    assert [found(book, model, 3) for model in ("a", "x/a")] == ["bundled", "bundled"]
    exact = TenantPriceBook([price("a", 0), price("x/a", 0)], Bundled())
    assert [found(exact, model, 1) for model in ("a", "x/a")] == ["tenant:a-0", "tenant:x/a-0"]


def test_a_tool_has_its_own_price_before_that_of_all_tools() -> None:
    book = TenantPriceBook([price("", 0, resource=Resource.TOOL), price("pay", 0, 1, Resource.TOOL)], Bundled())
    names = [(one.name, one.each) for hours in (0, 1) if (one := book.unit_price(Resource.TOOL, "pay", at(hours)))]
    assert names == [("pay", Decimal("0.001")), ("", Decimal("0.001"))]
    assert book.unit_price(Resource.RAG_QUERY, "pay", at(0)) is None


WINDOWS = st.tuples(st.integers(0, 9), st.one_of(st.none(), st.integers(1, 9))).map(
    lambda one: (one[0], None if one[1] is None else one[0] + one[1])
)


@given(WINDOWS, WINDOWS)
def test_two_prices_overlap_where_both_are_in_force_at_some_time(
    one: tuple[int, int | None], other: tuple[int, int | None]
) -> None:
    first, second = price("own", *one), price("own", *other)
    together = any(first.in_force(at(hours)) and second.in_force(at(hours)) for hours in range(40))
    assert first.overlaps(second) == second.overlaps(first) == together
    assert not first.overlaps(price("another", *other))
    if first.gives_way_to(second):
        assert not first.ended(second.valid_from).overlaps(second)


def test_amounts_are_shown_as_they_were_stated() -> None:
    terms = PriceTerms(
        Resource.MODEL, "a", "USD", Unit.MILLION, {"input": "0.15", "output": "0.60"}, [(200_000, {"input": "0.3"})]
    )
    made = TenantPrice.stated(terms, "p", "ada", NOW)
    assert made.amounts.tokens is not None
    assert made.amounts.tokens.prices[TokenPart.INPUT] == Decimal("0.00000015")
    assert made.in_unit() == {
        "prices": {"input": Decimal("0.15"), "output": Decimal("0.60")},
        "above_200000": {"input": Decimal("0.3")},
    }


def test_a_tier_has_a_bound() -> None:
    terms = PriceTerms(Resource.MODEL, "a", "USD", Unit.ONE, {"input": "1", "output": "1"}, [(LARGEST_PROMPT + 1, {})])
    with pytest.raises(Invalid) as refused:
        TenantPrice.stated(terms, "p", "ada", NOW)
    assert refused.value.code == "price_tiers_invalid"
