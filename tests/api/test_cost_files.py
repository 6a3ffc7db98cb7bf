"""Files of cost reports, opened by programs that obey what they read."""

import csv
import io
import json
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
from tests.fixtures.focus import assert_focus

START, END = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)


# In FOCUS there is nothing but ASCII.
FOCUS = {sign: sign.encode("ascii", "backslashreplace").decode() for sign in "\uff1d\uff0b\uff0d\uff20"}


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
    for text, escaped in ((report_csv(dangerous), f"'{sign}"), (report_focus(dangerous), FOCUS.get(sign, f"'{sign}"))):
        rows = list(csv.reader(io.StringIO(text, newline="")))
        assert len({len(row) for row in rows}) == 1
        assert [cell for row in rows for cell in row if cell.startswith(sign)] == []
        assert any(cell.startswith(f"{escaped}HYPERLINK") for row in rows for cell in row)


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


def test_focus_has_ascii_alone_and_tags_the_very_texts() -> None:
    usage, adjustment = assert_focus(report_focus(report("M\u00fcller \u7814\u7a76")))
    assert usage["SubAccountId"] == usage["PublisherName"] == r"M\xfcller \u7814\u7a76"
    assert usage["SkuId"] == r"model:M\xfcller \u7814\u7a76:input"
    assert json.loads(usage["Tags"]) == {"department": "M\u00fcller \u7814\u7a76"}
    assert adjustment["ChargeDescription"] == r"M\xfcller \u7814\u7a76"
    (other, _) = assert_focus(report_focus(report(r"M\xfcller \u7814\u7a76")))
    assert other["SubAccountId"] == r"M\x5cxfcller \x5cu7814\x5cu7a76"
