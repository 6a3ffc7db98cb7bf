"""The validator of the FinOps Foundation takes our files; it is run only where `FOCUS_VALIDATOR` names it."""

import os
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from api.schemas.focus import report_focus
from scripts.validate_focus import failures, validate
from taskforce.core.domain.metering.cost_reports import (
    CostAdjustment,
    CostFacts,
    CostLine,
    CostReport,
    DraftReport,
    ReportStatus,
    ReportTerms,
)
from tests.fixtures.focus import assert_focus

START, END = datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)
GPT = CostLine(
    dimensions={"department": "eng"},
    other=False,
    kind="model",
    model="openai/gpt-4o",
    provider="openai",
    tool=None,
    part="input",
    quantity=Decimal(3_000),
    unit="tokens",
    unit_price=Decimal("0.0000025"),
    currency="USD",
    cost=Decimal("0.0075"),
)
SEARCH = CostLine(
    dimensions={"department": None},
    other=False,
    kind="tool",
    model=None,
    provider=None,
    tool="search",
    part=None,
    quantity=Decimal(3),
    unit="executions",
    unit_price=Decimal("0.333333333333333333333333"),
    averaged=True,
    currency="EUR",
    cost=Decimal(1),
)
UNKNOWN = CostLine(
    dimensions={"department": "eng"},
    other=False,
    kind="model",
    model="own/unknown",
    provider=None,
    tool=None,
    part="output",
    quantity=Decimal(7),
    unit="tokens",
)
REFUSED = """
✅ BilledCost-C-000-M: PASS  (violations=0)
❌ InvoiceId-C-004-C: FAIL  (violations=6, msg=InvoiceId MUST be NULL., 15.5ms)
❌ PricingQuantity-C-001-M: FAIL  (violations=5, msg=PricingQuantity MUST be of type DECIMAL.)
Total: 578 | Pass: 134 | Fail: 2 | Skipped: 441
"""


def report() -> CostReport:
    adjustment = CostAdjustment.stated("-5", "USD", "Volume discount", "ada", START)
    draft = DraftReport("r-1", ReportTerms(START, END, "UTC", ("department",)), "ada", START, (adjustment,))
    return CostReport.of(draft, "acme", CostFacts((GPT, SEARCH), (UNKNOWN,), ()), ReportStatus.DRAFT)


def test_a_file_has_a_charge_for_each_line_and_adjustment() -> None:
    charges = assert_focus(report_focus(report()))
    told = [(one["BilledCost"], one["BillingCurrency"], one["InvoiceId"], one["x_Unpriced"]) for one in charges]
    assert told == [
        ("1.0", "EUR", "", ""),
        ("0.01", "USD", "", ""),
        ("0.0", "EUR", "", "true"),
        ("-5.0", "USD", "", ""),
    ]
    issued = assert_focus(report_focus(report().issued("ada", END)))
    assert {one["InvoiceId"] for one in issued} == {"r-1-EUR", "r-1-USD"}


def test_rules_that_are_broken_are_told_and_a_validator_that_checks_nothing_is_not_believed() -> None:
    assert failures(REFUSED) == [
        "PricingQuantity-C-001-M  (violations=5, msg=PricingQuantity MUST be of type DECIMAL.)"
    ]
    for nothing in ("", "Total: 578 | Pass: 0 | Fail: 0 | Skipped: 578"):
        with pytest.raises(ValueError, match="checked nothing"):
            failures(nothing)


@pytest.mark.skipif("FOCUS_VALIDATOR" not in os.environ, reason="FOCUS_VALIDATOR names no validator")
@pytest.mark.parametrize("issued", [True, False])
def test_the_validator_accepts_our_files(tmp_path: Path, issued: bool) -> None:
    file = tmp_path / "costs.csv"
    file.write_text(report_focus(report().issued("ada", END) if issued else report()))
    assert failures(validate(file, Path(os.environ["FOCUS_VALIDATOR"]))) == []
