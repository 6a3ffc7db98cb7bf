"""How costs look: a bar a group, a table of lines, and what comes to the total."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, timedelta, tzinfo
from decimal import Context, Decimal, InvalidOperation
from typing import Final

from rich.console import RenderableType
from rich.table import Column, Table
from rich.text import Text

from cli.documents import Document
from cli.terminal import one_line
from cli.usage_view import bar_of, short_amount
from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.metering.money import plain
from taskforce.core.domain.time_zones import parse_time_zone

_NARROWEST, _WIDEST = 10, 40
_BESIDE_BAR: Final = 50
_KINDS: Final = {"run": "agent executions", "rag_query": "RAG queries", "api": "API calls"}
_WIDE: Final = 120
# Of an id, its time in milliseconds: other commands take it for the whole.
_BEGINNING: Final = 13
_SCALE: Final = 10_000
_MILLION: Final = 1_000_000
_DIGITS: Final = 6


def report_view(report: Document, width: int, days: Document | None = None) -> Iterator[RenderableType]:
    """Renders a report: its period, for each currency its days, groups and lines, and what has no price.

    Args:
        report: A cost report.
        width: Columns of the terminal.
        days: The usage of its period by days, if bars of these are wanted.
    """
    yield _head(report)
    totals, names = report.items("totals"), report.texts("group_by")
    if not totals:
        yield Text("Nothing has cost anything.", style="dim")
    for total in totals:
        currency = total.text("currency")
        yield Text()
        for bars in (_days(days, currency, width), _groups(total, names, width)):
            if bars.row_count:
                yield bars
                yield Text()
        if lines := [line for line in report.items("lines") if line.text("currency") == currency]:
            yield _lines(lines, names)
        yield from _due(report, total)
    if any(line.flag("averaged") for line in report.items("lines")):
        yield Text("~ An average: prices have changed within the period, or depend on the size of prompts.", "dim")
    unpriced, wasted = report.items("unpriced"), report.items("wasted")
    if unpriced:
        yield Text()
        yield Text("The price of this usage is not known; it is in no sum:", style="yellow")
        yield _lines(unpriced, names)
    if wasted:
        tokens = sum(one.number("tokens") for one in wasted)
        yield Text(f"{tokens:,} tokens were wasted by failed calls; what they have cost is within the lines.", "dim")


def reports_table(reports: Iterable[Document], width: int) -> Table:
    """Renders a list of reports; narrow ones have the beginnings of ids.

    Args:
        reports: Reports of a list.
        width: Columns of the terminal.
    """
    heads = ("STATUS", "PERIOD", "BY", Column("TOTAL", justify="right", no_wrap=True))
    shown = Table(Column("REPORT", no_wrap=True), *heads, box=None, pad_edge=False)
    for one in reports:
        sums = ", ".join(f"{each.text('total')} {each.text('currency')}" for each in one.items("totals"))
        by = ", ".join(one.texts("group_by"))
        report_id = one.text("report_id") if width >= _WIDE else one.text("report_id")[:_BEGINNING]
        shown.add_row(report_id, one.text("status"), _period(one), by or "-", sums or "-")
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
    first, until = start.astimezone(zone), end.astimezone(zone)
    if any((one.hour, one.minute) != (0, 0) for one in (first, until)):
        day = "" if first.date() == until.date() else f"{until:%Y-%m-%d} "
        return f"{first:%Y-%m-%d %H:%M} to {day}{until:%H:%M}"
    last = until.date() - timedelta(days=1)
    if (first.day, until.day, last.month, last.year) == (1, 1, first.month, first.year):
        return f"{first:%Y-%m}"
    return f"{first:%Y-%m-%d}" if last == first.date() else f"{first:%Y-%m-%d} to {last}"


def _zone(name: str) -> tzinfo:
    try:
        return parse_time_zone(name)
    except Invalid:
        return UTC


def _days(days: Document | None, currency: str, width: int) -> Table:
    found = list[tuple[str, Decimal]]()
    for item in () if days is None else days.items("items"):
        costs = item.child("sums").items("costs")
        amounts = [_amount(cost.text("amount")) for cost in costs if cost.text("currency") == currency]
        found += [(item.text("start")[:10], amount) for amount in amounts]
    return _bars([(day, amount, f"{short_amount(f'{amount:f}')} {currency}") for day, amount in found], width)


def _groups(total: Document, names: Sequence[str], width: int) -> Table:
    found = total.items("groups") if names else []
    rows = [(_group(one, names), _amount(one.text("amount")), one.text("amount")) for one in found]
    return _bars([(name, amount, f"{text} {total.text('currency')}") for name, amount, text in rows], width)


def _bars(rows: Sequence[tuple[str, Decimal, str]], width: int) -> Table:
    cells = min(max(width - _BESIDE_BAR, _NARROWEST), _WIDEST)
    grid = Table.grid(Column(), Column(no_wrap=True), Column(justify="right", no_wrap=True), padding=(0, 1))
    most = max((amount for _, amount, _ in rows), default=Decimal())
    for name, amount, told in rows:
        # Bars are of whole numbers.
        share = int(amount / most * _SCALE) if amount > 0 else 0
        grid.add_row(name, Text(bar_of(share, _SCALE, cells), style="cyan"), told)
    return grid


def _lines(lines: Sequence[Document], names: Sequence[str]) -> Table:
    heads = [*(one_line(name).upper() for name in names), "ITEM"]
    numbers = [Column(name, justify="right", no_wrap=True) for name in ("QUANTITY", "UNIT PRICE", "AMOUNT")]
    shown = Table(*heads, *numbers, box=None, pad_edge=False)
    for line in lines:
        values = ["other", *[""] * (len(names) - 1)] if line.flag("other") else _values(line, names)
        quantity = f"{_amount(line.text('quantity')):,f} {line.text('unit')}"
        shown.add_row(*values[: len(names)], _item(line, names), quantity, _price(line), line.text("amount") or "-")
    return shown


def _price(line: Document) -> str:
    """Formats a unit price: that of tokens for a million of them, an average with a tilde and six digits."""
    if not line.text("unit_price"):
        return "-"
    tokens, each = line.text("unit") == "tokens", _amount(line.text("unit_price"))
    price = each * _MILLION if tokens else each
    if line.flag("averaged"):
        price = Context(_DIGITS).plus(price)
    return f"{'~' if line.flag('averaged') else ''}{plain(price)}{' per 1M' if tokens else ''}"


def _due(report: Document, total: Document) -> Iterator[Text]:
    currency = total.text("currency")
    for one in report.items("adjustments"):
        if one.text("currency") == currency:
            yield Text(f"{one.text('amount')} {currency}: {one.exact('reason')} ({one.exact('author')})")
    yield Text(f"Total {total.text('total')} {currency}", style="bold")


def _item(line: Document, names: Sequence[str]) -> str:
    kind, part = line.text("kind"), line.text("part").replace("_", " ")
    what = ("" if "model" in names else line.exact("model")) or line.exact("tool")
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
