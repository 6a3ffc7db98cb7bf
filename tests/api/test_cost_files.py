"""Files of cost reports, opened by programs that obey what they read."""

import csv
import io
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from api.schemas.cost_files import report_csv, report_markdown
from api.schemas.focus import report_focus
from taskforce.core.domain.metering.cost_reports import (
    CostAdjustment,
    CostFacts,
    CostLine,
    CostReport,
    DraftReport,
    ReportStatus,
    ReportTerms,
)

START, END = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)


def report(name: str, group_by: str = "department") -> CostReport:
    """A report in which every text that a caller can choose is this one."""
    adjustment = CostAdjustment(Decimal("1.00"), "USD", name, name, START)
    draft = DraftReport("r-1", ReportTerms(START, END, "UTC", (group_by,)), "ada", START, (adjustment,))
    priced = CostLine(
        dimensions={group_by: name},
        other=False,
        kind="model",
        model=name,
        provider=name,
        tool=None,
        part="input",
        quantity=Decimal(1),
        unit="tokens",
        unit_price=Decimal(1),
        currency="USD",
        cost=Decimal(1),
    )
    return CostReport.of(draft, "acme", CostFacts((priced,), (), ()), ReportStatus.DRAFT)


@pytest.mark.parametrize("sign", [*"=+-@\t\r\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_no_cell_begins_a_formula(sign: str) -> None:
    dangerous = report(f'{sign}HYPERLINK("http://x", "y"),1')
    for text in (report_csv(dangerous), report_focus(dangerous)):
        rows = list(csv.reader(io.StringIO(text, newline="")))
        assert len({len(row) for row in rows}) == 1
        assert [cell for row in rows for cell in row if cell.startswith(sign)] == []
        assert any(cell.startswith(f"'{sign}HYPERLINK") for row in rows for cell in row)


def test_a_column_has_its_name_alone_also_where_lines_are_grouped_by_it() -> None:
    head, line, _ = csv.reader(io.StringIO(report_csv(report("openai/gpt-4o", "model"))))
    assert len(set(head)) == len(head)
    assert line[head.index("model")] == "openai/gpt-4o"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a|b", r"a\|b"),
        ("<img src=x>", r"\<img src\=x\>"),
        ("[x](javascript:alert)", r"\[x\]\(javascript\:alert\)"),
        ("https://evil.example", r"https\:\/\/evil\.example"),
        ("www.evil.example", r"www\.evil\.example"),
        ("&lt;", r"\&lt\;"),
        ("a\n# b", r"a\\n\# b"),
    ],
)
def test_markdown_shows_texts_and_obeys_none(name: str, shown: str) -> None:
    text = report_markdown(report(name))
    assert rf"| {shown} | model\, {shown}\, input tokens |" in text
    assert f"| {shown} | {shown} | 2026-11-01 00:00 | 1.00 |" in text
