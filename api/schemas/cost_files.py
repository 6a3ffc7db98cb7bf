"""Cost reports as files for people: CSV and Markdown."""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Final

from taskforce.core.domain.csv_cells import cell
from taskforce.core.domain.metering.cost_reports import CostLine, CostReport, CurrencyTotal
from taskforce.core.domain.metering.money import plain
from taskforce.core.domain.time_zones import parse_time_zone
from taskforce.core.domain.visible_text import visible

_ENTRY, _LINE, _UNPRICED, _ADJUSTMENT = "entry", "line", "unpriced", "adjustment"
_COLUMNS: Final = (
    *("kind", "model", "provider", "tool", "part", "quantity", "unit", "unit_price", "averaged", "currency", "cost"),
    *("amount", "reason", "author", "at"),
)
# Punctuation, any of which Markdown lets be escaped: markup, HTML, entities, and addresses that would become links.
_MARKUP: Final = re.compile(r"([!-/:-@\[-`{-~])")


def report_csv(report: CostReport) -> str:
    """Renders a report as CSV (RFC 4180): a line of the report a line, then what is unpriced, then adjustments."""
    text = io.StringIO()
    # A line names its model in any case.
    groups = [name for name in report.group_by if name not in _COLUMNS]
    writer = csv.DictWriter(text, (_ENTRY, *groups, "other", *_COLUMNS), restval="")
    writer.writeheader()
    for entry, lines in ((_LINE, report.lines), (_UNPRICED, report.unpriced)):
        writer.writerows(_row(entry, line) for line in lines)
    for one in report.adjustments:
        told = {"reason": cell(one.reason), "author": cell(one.author), "at": one.at.isoformat()}
        writer.writerow({_ENTRY: _ADJUSTMENT, "currency": one.currency, "amount": f"{one.amount:f}", **told})
    return text.getvalue()


def _row(entry: str, line: CostLine) -> Mapping[str, str]:
    return {
        _ENTRY: entry,
        **{name: cell(value) for name, value in line.dimensions.items()},
        "other": str(line.other).lower(),
        "kind": line.kind or "",
        "model": cell(line.model),
        "provider": cell(line.provider),
        "tool": cell(line.tool),
        "part": line.part or "",
        "quantity": plain(line.quantity),
        "unit": line.unit,
        "unit_price": "" if line.unit_price is None else plain(line.unit_price),
        "averaged": str(line.averaged).lower(),
        "currency": line.currency or "",
        "cost": "" if line.cost is None else plain(line.cost),
        "amount": "" if line.amount is None else f"{line.amount:f}",
    }


def report_markdown(report: CostReport) -> str:
    """Renders a report as Markdown, with a table for each currency."""
    zone = parse_time_zone(report.time_zone)
    return "\n".join([*_head(report, zone), *_body(report, zone), ""])


def _head(report: CostReport, zone: tzinfo) -> Iterator[str]:
    yield f"# Cost report: {_text(report.tenant_id)}"
    yield ""
    yield f"- Period: {_time(report.start, zone)} to {_time(report.end, zone)} ({_text(report.time_zone)})"
    yield f"- Status: {report.status.value}"
    if report.report_id is not None:
        yield f"- Report: {report.report_id}"
    if report.issued_by is not None and report.issued_at is not None:
        yield f"- Issued: {_time(report.issued_at, zone)} by {_text(report.issued_by)}"


def _body(report: CostReport, zone: tzinfo) -> Iterator[str]:
    for total in report.totals:
        yield from ("", f"## {total.currency}", "")
        yield from _lines(report, [line for line in report.lines if line.currency == total.currency])
        if report.group_by:
            yield from (
                "",
                *_table(
                    ["Group", "Amount"],
                    [(_group(one.dimensions, other=one.other), f"{one.amount:f}") for one in total.groups],
                ),
            )
        yield from _adjustments(report, total, zone)
        due = f"**total {total.total:f} {total.currency}**"
        yield from ("", f"Subtotal {total.subtotal:f}, adjustments {total.adjustments:f}, {due}")
    if not report.totals:
        yield from ("", "Nothing has cost anything.")
    if report.unpriced:
        yield from ("", "## Unpriced", "", "The price of this usage is not known; it is in no sum.", "")
        yield from _lines(report, report.unpriced)
    if report.wasted:
        rows = [
            (_group(one.dimensions, other=one.other), _text(one.model or "other"), f"{one.tokens:,}")
            for one in report.wasted
        ]
        yield from ("", "## Wasted tokens", "", "Of failed calls; what they have cost is within the lines.", "")
        yield from _table(["Group", "Model", "Tokens"], rows)


def _lines(report: CostReport, lines: Sequence[CostLine]) -> Iterator[str]:
    heads = ["Item", "Quantity", "Unit", "Unit price", "Amount"]
    grouped = bool(report.group_by)
    rows = [
        (
            *((_group(line.dimensions, other=line.other),) if grouped else ()),
            _text(line.description),
            f"{line.quantity:,f}",
            line.unit,
            "unpriced" if line.unit_price is None else plain(line.unit_price) + (" (average)" if line.averaged else ""),
            "-" if line.amount is None else f"{line.amount:,f}",
        )
        for line in lines
    ]
    yield from _table(["Group", *heads] if grouped else heads, rows)


def _adjustments(report: CostReport, total: CurrencyTotal, zone: tzinfo) -> Iterator[str]:
    made = [one for one in report.adjustments if one.currency == total.currency]
    if made:
        rows = [(_text(one.reason), _text(one.author), _time(one.at, zone), f"{one.amount:f}") for one in made]
        yield from ("", *_table(["Adjustment", "By", "At", "Amount"], rows))


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _group(dimensions: Mapping[str, str | None], *, other: bool) -> str:
    return "other" if other else ", ".join(_text(value or "none") for value in dimensions.values()) or "all"


def _text(text: str) -> str:
    return _MARKUP.sub(r"\\\1", visible(text))


def _time(at: datetime, zone: tzinfo) -> str:
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M}"
