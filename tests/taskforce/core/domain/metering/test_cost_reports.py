"""Cost reports: lines of recorded costs, rounded so that lines, groups and totals agree to the cent."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskforce.core.domain.errors import Conflict, Invalid
from taskforce.core.domain.metering.aggregation import UsageGroup, UsageSums
from taskforce.core.domain.metering.cost_lines import LINE_DIMENSIONS, cost_facts
from taskforce.core.domain.metering.cost_reports import (
    MOST_ADJUSTMENTS,
    CostAdjustment,
    CostFacts,
    CostLine,
    CostReport,
    DraftReport,
    ReportStatus,
    ReportTerms,
)
from taskforce.core.domain.metering.money import allotted, apportioned, rounded, total
from taskforce.core.domain.metering.periods import LATE
from taskforce.core.domain.metering.prices import Price, Resource, TokenPrices, UnitPrice
from taskforce.core.domain.metering.tokens import TokenPart

START, END = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
TERMS = ReportTerms(START, END, "UTC", ("department",))
DRAFT = DraftReport("r-1", TERMS, "ada", START)
COST = st.decimals(min_value=0, max_value=10**9, places=9, allow_nan=False)
DIMENSIONS = ("department", *LINE_DIMENSIONS)


class Book:
    """Prices of a model: before the middle of the month, and from then on."""

    def __init__(self, *prices: tuple[str, str]) -> None:
        self._prices = [TokenPrices({TokenPart.INPUT: Decimal(i), TokenPart.OUTPUT: Decimal(o)}) for i, o in prices]

    def price(self, model: str, at: datetime) -> Price | None:
        if model != "m" or not self._prices:
            return None
        return Price("m", "USD", self._prices[0 if at == START else -1], "tenant:1")

    def unit_price(self, resource: Resource, name: str, at: datetime) -> UnitPrice | None:
        raise AssertionError("A unit's cost is recorded.")


def group(department: str, sums: UsageSums, **named: str) -> UsageGroup:
    values = {"kind": "model", "model": "m", "provider": "p", "tool": "", "currency": "USD", **named}
    return UsageGroup(START, END, (department, *(values[name] for name in LINE_DIMENSIONS)), sums)


def facts(*groups: UsageGroup, book: Book | None = None) -> CostFacts:
    return cost_facts(groups, DIMENSIONS, ("department",), book or Book(("1", "2")), (END, START))


def sums(cost: str, **counts: Any) -> UsageSums:
    return UsageSums(records=2, costs={"USD": Decimal(cost)}, **counts)


def line(department: str, cost: Decimal, currency: str = "USD") -> CostLine:
    given_ = {"kind": "tool", "model": None, "provider": None, "tool": "t", "part": None, "quantity": Decimal(1)}
    return CostLine({"department": department}, other=False, **given_, unit="executions", currency=currency, cost=cost)  # type: ignore[arg-type]


def report(*lines: CostLine, adjustments: tuple[CostAdjustment, ...] = ()) -> CostReport:
    draft = DraftReport("r-1", TERMS, "ada", START, adjustments)
    return CostReport.of(draft, "acme", CostFacts(lines, (), ()), ReportStatus.DRAFT)


def each(found: Iterable[object], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(getattr(one, name) for name in names) for one in found]


@given(st.lists(COST, max_size=30), st.sampled_from(["USD", "JPY", "KWD"]))
def test_what_is_allotted_adds_up_and_none_is_off_by_a_coin(amounts: list[Decimal], currency: str) -> None:
    whole = rounded(total(amounts), currency)
    shares = allotted(amounts, whole, currency)
    assert total(shares) == whole
    coin = Decimal(1).scaleb(whole.as_tuple().exponent)  # type: ignore[arg-type]
    assert all(abs(share - amount) < coin for share, amount in zip(shares, amounts, strict=True))


def test_the_largest_remainders_get_the_missing_cents() -> None:
    thirds = [Decimal("0.333"), Decimal("0.333"), Decimal("0.334")]
    assert allotted(thirds, Decimal("1.00"), "USD") == (Decimal("0.33"), Decimal("0.33"), Decimal("0.34"))
    assert allotted([Decimal("0.5"), Decimal("0.5")], Decimal(1), "JPY") == (Decimal(1), Decimal(0))
    with pytest.raises(ValueError, match="rounded sum"):
        allotted(thirds, Decimal("2.00"), "USD")


@given(COST, st.lists(st.integers(1, 10**9).map(Decimal), min_size=1, max_size=7))
def test_what_is_apportioned_adds_up_exactly(amount: Decimal, weights: list[Decimal]) -> None:
    parts = apportioned(amount, weights)
    assert total(parts) == amount
    assert all(part >= 0 for part in parts)


@given(st.lists(st.tuples(st.sampled_from("abc"), COST, st.sampled_from(["USD", "JPY"])), max_size=40))
def test_lines_add_up_to_groups_and_groups_to_the_total(told: list[tuple[str, Decimal, str]]) -> None:
    made = report(*(line(department, cost, currency) for department, cost, currency in told))
    for one in made.totals:
        lines = [each for each in made.lines if each.currency == one.currency]
        assert total(each.cost or Decimal() for each in lines) == one.cost
        assert one.subtotal == one.total == rounded(one.cost, one.currency)
        assert total(each.amount or Decimal() for each in lines) == one.subtotal
        assert total(each.amount for each in one.groups) == one.subtotal
        for part in one.groups:
            within = [each.amount or Decimal() for each in lines if each.dimensions == part.dimensions]
            assert total(within) == part.amount
    assert len(made.lines) == len(told)


def test_parts_have_the_prices_in_force_where_these_give_the_recorded_cost() -> None:
    found = facts(group("a", sums("160", input_tokens=100, output_tokens=30, cached_tokens=40)))
    assert each(found.lines, "part", "quantity", "unit_price", "cost", "averaged") == [
        ("input", 60, 1, 60, False),
        ("cached", 40, 1, 40, False),
        ("output", 30, 2, 60, False),
    ]
    # A price that was in force at the beginning explains it as well.
    found = facts(group("a", sums("160", input_tokens=100, output_tokens=30)), book=Book(("1", "2"), ("7", "7")))
    assert [one.averaged for one in found.lines] == [False, False]


def test_where_prices_changed_meanwhile_parts_have_averages_and_the_cost_stays_as_recorded() -> None:
    found = facts(group("a", sums("100", input_tokens=100, output_tokens=50)), book=Book(("5", "5"), ("1", "2")))
    assert each(found.lines, "part", "cost", "unit_price", "averaged") == [
        ("input", 50, Decimal("0.5"), True),
        ("output", 50, 1, True),
    ]


def test_without_any_price_of_today_all_tokens_are_one_line() -> None:
    found = facts(group("a", sums("30", input_tokens=100, output_tokens=50)), book=Book())
    assert each(found.lines, "part", "quantity", "unit_price", "cost") == [("tokens", 150, Decimal("0.2"), 30)]
    assert found.lines[0].description == "model, m, tokens"


def test_what_is_free_has_lines_and_what_is_unpriced_has_lines_of_its_own() -> None:
    unknown = UsageSums(records=3, unpriced=3, input_tokens=7, output_tokens=2)
    found = facts(
        group("a", sums("0", input_tokens=5), model="local"),
        group("", unknown, model="x", currency=""),
        group("b", UsageSums(records=4), kind="tool", model="", provider="", tool="search", currency=""),
        book=Book(),
    )
    assert each(found.lines, "cost", "part") == [(0, "tokens")]
    assert each(found.unpriced, "dimensions", "part", "quantity", "cost", "amount") == [
        ({"department": None}, "input", 7, None, None),
        ({"department": None}, "output", 2, None, None),
    ]


def test_units_and_wasted_tokens_and_the_rest() -> None:
    measured = UsageSums(quantity=Decimal(3000), costs={"EUR": Decimal("1.5")})
    rest = UsageGroup(START, END, None, UsageSums(records=9, unpriced=2, costs={"USD": Decimal(3)}))
    found = facts(
        group("a", sums("1"), kind="tool", model="", tool="search"),
        group("", measured, kind="storage", model="", provider="", currency="EUR"),
        group("a", sums("1", input_tokens=1, wasted_tokens=1)),
        rest,
    )
    told = each(found.lines, "kind", "quantity", "unit", "unit_price", "currency")
    assert told == [
        ("tool", 2, "executions", Decimal("0.5"), "USD"),
        ("storage", 3000, "byte-hours", Decimal("0.0005"), "EUR"),
        ("model", 1, "tokens", 1, "USD"),
        (None, 9, "records", Decimal("0.333333333333333333333333"), "USD"),
    ]
    assert each(found.unpriced, "quantity", "other") == [(2, True)]
    assert each(found.wasted, "dimensions", "tokens") == [({"department": "a"}, 1)]


def test_adjustments_are_apart_and_may_have_a_currency_of_their_own() -> None:
    off = CostAdjustment.stated("-5", "USD", "volume", "ada", START)
    credit = CostAdjustment.stated("2", "JPY", "goodwill", "ada", START)
    made = report(line("a", Decimal("12.345")), adjustments=(off, credit))
    told = [(one.currency, str(one.subtotal), str(one.adjustments), str(one.total)) for one in made.totals]
    assert told == [("JPY", "0", "2", "2"), ("USD", "12.34", "-5.00", "7.34")]


@pytest.mark.parametrize(
    ("amount", "currency", "reason", "code"),
    [
        ("0", "USD", "x", "amount_invalid"),
        ("0.00", "USD", "x", "amount_invalid"),
        ("1000000000000", "USD", "x", "amount_invalid"),
        ("0.001", "USD", "x", "amount_invalid"),
        ("0.5", "JPY", "x", "amount_invalid"),
        ("NaN", "USD", "x", "amount_invalid"),
        ("1e3", "USD", "x", "amount_invalid"),
        ("1", "USX", "x", "currency_unknown"),
        ("1", "USD", "", "reason_invalid"),
        ("1", "USD", "  ", "reason_invalid"),
        ("1", "USD", "a\u202eb", "reason_invalid"),
        ("1", "USD", "x" * 501, "reason_invalid"),
    ],
)
def test_an_adjustment_that_makes_no_sense_is_refused(amount: str, currency: str, reason: str, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        CostAdjustment.stated(amount, currency, reason, "ada", START)
    assert refused.value.code == code


def test_a_draft_has_a_bounded_number_of_adjustments_and_is_issued_after_its_period() -> None:
    one = CostAdjustment.stated("1", "USD", "x", "ada", START)
    full = DraftReport("r-1", TERMS, "ada", START, (one,) * MOST_ADJUSTMENTS)
    with pytest.raises(Invalid) as refused:
        full.adjusted(one)
    assert refused.value.code == "adjustments_limit_reached"
    DRAFT.check_issuable(END + LATE)
    # What processes have not stored yet would be in no report.
    for early in (START, END, END + LATE - timedelta(seconds=1)):
        with pytest.raises(Conflict) as open_:
            DRAFT.check_issuable(early)
        assert open_.value.code == "cost_report_period_open"


@pytest.mark.parametrize(
    ("group_by", "code"),
    [
        (("planet",), "dimension_unknown"),
        (("session",), "dimension_unknown"),
        (("kind",), "dimension_unknown"),
        (("tag:",), "dimension_unknown"),
        (("user", "user"), "dimensions_invalid"),
        (("user", "agent", "model"), "dimensions_invalid"),
    ],
)
def test_groups_that_make_no_sense_are_refused(group_by: tuple[str, ...], code: str) -> None:
    with pytest.raises(Invalid) as refused:
        ReportTerms(START, END, "UTC", group_by)
    assert refused.value.code == code
