"""Aggregations: their sums, what may be asked, and how many groups they have."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.metering.aggregation import KINDS, MOST_GROUPS, AggregationQuery, UsageFilter, UsageSums
from taskforce.core.domain.metering.periods import Period, TimeStep

MONTH = Period(datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC))
SUMS = st.builds(
    UsageSums,
    records=st.integers(0, 10**9),
    input_tokens=st.integers(0, 10**12),
    quantity=st.decimals(0, 10**15, places=6),
    costs=st.dictionaries(st.sampled_from(["EUR", "USD"]), st.decimals(0, 10**12, places=30)),
)


@given(SUMS, SUMS, SUMS)
def test_sums_do_not_depend_on_the_order_to_the_last_digit(one: UsageSums, two: UsageSums, three: UsageSums) -> None:
    assert (one + two) + three == three + (two + one)


def test_money_is_not_rounded() -> None:
    tiny, large = UsageSums(costs={"USD": Decimal("1e-30")}), UsageSums(costs={"USD": Decimal(10**12)})
    assert str((large + tiny).costs["USD"]) == "1000000000000.000000000000000000000000000001"


@pytest.mark.parametrize("name", ["", "users", "tag:", "tag:Ä", "tag:" + "x" * 65, "tag:a b", "user_id"])
def test_an_unknown_dimension_is_refused(name: str) -> None:
    for build in (lambda: AggregationQuery(UsageFilter(MONTH), (name,)), lambda: UsageFilter(MONTH, {name: ("x",)})):
        with pytest.raises(Invalid) as found:
            build()
        assert found.value.code == "dimension_unknown"


@pytest.mark.parametrize(("name", "slip"), [("kind", "models"), ("kind", "MODEL"), ("currency", "usd")])
def test_a_kind_or_currency_that_there_is_none_of_is_refused(name: str, slip: str) -> None:
    with pytest.raises(Invalid) as found:
        UsageFilter(MONTH, {name: ("", slip)})
    assert found.value.code == f"{name}_unknown"


def test_every_kind_and_none_can_be_asked_for() -> None:
    assert UsageFilter(MONTH, {"kind": ("", *KINDS), "currency": ("", "EUR")}).values["kind"][0] == ""


def test_each_dimension_counts_once_and_there_are_not_too_many() -> None:
    for dimensions in (
        ("user", "user"),
        ("user", "agent", "model", "tool", "kind", "provider", "department", "cost_center"),
    ):
        with pytest.raises(Invalid) as found:
            AggregationQuery(UsageFilter(MONTH), dimensions)
        assert found.value.code == "dimensions_invalid"


@pytest.mark.parametrize("step", TimeStep)
def test_the_groups_of_all_steps_together_are_bounded(step: TimeStep) -> None:
    query = AggregationQuery(UsageFilter(MONTH), ("user",), step)
    assert query.groups >= 1
    assert query.groups * (len(query.bounds) - 1) <= MOST_GROUPS


def test_what_only_records_know_is_read_of_them() -> None:
    assert AggregationQuery(UsageFilter(MONTH), ("run",)).reads_records
    assert AggregationQuery(UsageFilter(MONTH, {"tag:project": ("x",)}), ("user",)).reads_records
    assert not AggregationQuery(UsageFilter(MONTH, {"user": ("x",)}), ("kind",)).reads_records


def test_a_period_that_is_divided_too_finely_is_refused() -> None:
    year = Period(MONTH.start, MONTH.start + timedelta(days=365))
    with pytest.raises(Invalid) as found:
        AggregationQuery(UsageFilter(year), step=TimeStep.HOUR)
    assert found.value.code == "step_too_fine"
