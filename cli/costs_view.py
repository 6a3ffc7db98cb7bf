"""How costs look: a bar a group, a table of lines, and what comes to the total."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, tzinfo
from decimal import Decimal, InvalidOperation
from typing import Final

from rich.console import RenderableType
from rich.table import Column, Table
from rich.text import Text

from cli.documents import Document
from cli.terminal import one_line
from cli.usage_view import bar_of
from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.time_zones import parse_time_zone

_NARROWEST, _WIDEST = 10, 40
_BESIDE_BAR: Final = 50
_KINDS: Final = {"run": "agent executions", "rag_query": "RAG queries", "api": "API calls"}
# Bars are of whole numbers.
_SCALE: Final = 10_000


def report_view(report: Document, width: int) -> Iterator[RenderableType]:
    """Renders a report: its period, for each currency its groups and lines, and what has no price.

    Args:
        report: A cost report.
        width: Columns of the terminal.
    """
    yield _head(report)
    totals, names = report.items("totals"), report.texts("group_by")
    if not totals:
        yield Text("Nothing has cost anything.", style="dim")
    for total in totals:
        currency = total.text("currency")
        yield Text()
        if names:
            yield _bars(total, names, width)
            yield Text()
        yield _lines([line for line in report.items("lines") if line.text("currency") == currency], names)
        yield from _due(report, total)
    unpriced, wasted = report.items("unpriced"), report.items("wasted")
    if unpriced:
        yield Text()
        yield Text("The price of this usage is not known; it is in no sum:", style="yellow")
        yield _lines(unpriced, names)
    if wasted:
        tokens = sum(one.number("tokens") for one in wasted)
        yield Text(f"{tokens:,} tokens were wasted by failed calls; what they have cost is within the lines.", "dim")


def reports_table(reports: Iterable[Document]) -> Table:
    """Renders a list of reports."""
    shown = Table("REPORT", "STATUS", "PERIOD", "BY", Column("TOTAL", justify="right"), box=None, pad_edge=False)
    for one in reports:
        sums = ", ".join(f"{each.text('total')} {each.text('currency')}" for each in one.items("totals"))
        by = ", ".join(one.texts("group_by"))
        shown.add_row(one.text("report_id"), one.text("status"), _period(one), by or "-", sums or "-")
    return shown


def _head(report: Document) -> Text:
    line = Text.assemble((_period(report), "bold"), (f" ({report.text('time_zone')})", "dim"))
    line.append(f"  {report.text('status')}")
    if report.text("report_id"):
        line.append(f"  {report.text('report_id')}", "dim")
    if report.text("issued_by"):
        line.append(f", issued by {report.exact('issued_by')}", "dim")
    return line


def _period(report: Document) -> str:
    start, end = report.time("start"), report.time("end")
    if start is None or end is None:
        return "-"
    zone = _zone(report.text("time_zone"))
    return f"{start.astimezone(zone):%Y-%m-%d %H:%M} to {end.astimezone(zone):%Y-%m-%d %H:%M}"


def _zone(name: str) -> tzinfo:
    try:
        return parse_time_zone(name)
    except Invalid:
        return UTC


def _bars(total: Document, names: Sequence[str], width: int) -> Table:
    groups = total.items("groups")
    amounts = [int(_amount(group.text("amount")) * _SCALE) for group in groups]
    cells = min(max(width - _BESIDE_BAR, _NARROWEST), _WIDEST)
    grid = Table.grid(Column(), Column(no_wrap=True), Column(justify="right"), padding=(0, 1))
    for group, amount in zip(groups, amounts, strict=True):
        bar = Text(bar_of(max(amount, 0), max(*amounts, 0), cells), style="cyan")
        grid.add_row(_group(group, names), bar, f"{group.text('amount')} {total.text('currency')}")
    return grid


def _lines(lines: Sequence[Document], names: Sequence[str]) -> Table:
    numbers = ("QUANTITY", "UNIT PRICE", "AMOUNT")
    heads = [*(one_line(name).upper() for name in names), "ITEM"]
    shown = Table(*heads, *(Column(name, justify="right") for name in numbers), box=None, pad_edge=False)
    for line in lines:
        values = ["other", *[""] * (len(names) - 1)] if line.flag("other") else _values(line, names)
        price = line.text("unit_price")
        average = " (average)" if price and line.flag("averaged") else ""
        quantity = f"{_amount(line.text('quantity')):,f} {line.text('unit')}"
        shown.add_row(*values[: len(names)], _item(line), quantity, price + average or "-", line.text("amount") or "-")
    return shown


def _due(report: Document, total: Document) -> Iterator[Text]:
    currency = total.text("currency")
    for one in report.items("adjustments"):
        if one.text("currency") == currency:
            yield Text(f"{one.text('amount')} {currency}: {one.exact('reason')} ({one.exact('author')})")
    yield Text(f"Total {total.text('total')} {currency}", style="bold")


def _item(line: Document) -> str:
    kind, part = line.text("kind"), line.text("part").replace("_", " ")
    what = line.exact("model") or line.exact("tool")
    return ", ".join(text for text in (_KINDS.get(kind, kind) or "other usage", what, part) if text)


def _group(group: Document, names: Sequence[str]) -> str:
    return "other" if group.flag("other") else ", ".join(_values(group, names))


def _values(item: Document, names: Sequence[str]) -> list[str]:
    dimensions = item.child("dimensions")
    return [dimensions.exact(name) or "-" for name in names]


def _amount(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal()
