"""How usage looks: a line of totals, a bar a day, a table of groups."""

from collections.abc import Sequence
from typing import Final

from rich.table import Column, Table
from rich.text import Text

from cli.documents import Document
from cli.terminal import one_line

_PARTS: Final = " ▏▎▍▌▋▊▉█"
_EIGHTHS: Final = 8
_NARROWEST, _WIDEST = 10, 60
_BESIDE_BAR: Final = 46
_COUNTS: Final = {
    "records": "RECORDS",
    "failed": "FAILED",
    "input_tokens": "INPUT",
    "output_tokens": "OUTPUT",
    "cached_tokens": "CACHED",
    "wasted_tokens": "WASTED",
    "unpriced": "UNPRICED",
}


def summary(found: Document) -> Text:
    """Renders the totals of an aggregation on one line."""
    total = found.child("total")
    line = Text.assemble((f"{found.text('start')[:10]} to {found.text('end')[:16]}", "bold"))
    line.append(f" ({found.text('time_zone')})", "dim")
    line.append(f"  {total.number('total_tokens'):,} tokens · {total.number('records'):,} records · {costs(total)}")
    if total.number("unpriced"):
        line.append(f" · {total.number('unpriced'):,} unpriced", "yellow")
    return line


def bars(found: Document, width: int) -> Table:
    """Renders a bar for each step; of tokens, or of records where there are none.

    Args:
        found: An aggregation by time.
        width: Columns of the terminal.
    """
    items = found.items("items")
    measure = "total_tokens" if found.child("total").number("total_tokens") else "records"
    most = max((item.child("sums").number(measure) for item in items), default=0)
    cells = min(max(width - _BESIDE_BAR, _NARROWEST), _WIDEST)
    grid = Table.grid(Column(no_wrap=True), Column(no_wrap=True), Column(justify="right"), Column(), padding=(0, 1))
    for item in items:
        sums = item.child("sums")
        amount = sums.number(measure)
        bar = Text(bar_of(amount, most, cells), style="cyan")
        grid.add_row(Text(item.text("start")[:10], style="dim"), bar, f"{amount:,}", Text(costs(sums), style="dim"))
    return grid


def table(found: Document) -> Table:
    """Renders a table of groups; of the counts that are 0 of them all, it has no column."""
    names, items = found.texts("group_by"), found.items("items")
    counts = [name for name in _COUNTS if name == "records" or any(one.child("sums").number(name) for one in items)]
    columns = [*(Column(one_line(name).upper(), no_wrap=True) for name in names)]
    heads = [*(_COUNTS[name] for name in counts), "COST"]
    numbers = [Column(head, justify="right", no_wrap=True) for head in heads]
    shown = Table(*columns, *numbers, box=None, pad_edge=False)
    for item in items:
        sums = item.child("sums")
        shown.add_row(*_key(item, names), *(f"{sums.number(name):,}" for name in counts), costs(sums))
    return shown


def costs(sums: Document) -> str:
    """Formats the costs of sums, currency by currency, without trailing zeros."""
    each = (f"{short_amount(cost.text('amount'))} {cost.text('currency')}" for cost in sums.items("costs"))
    return ", ".join(each) or "no cost"


def bar_of(amount: int, most: int, cells: int) -> str:
    """Draws a bar of eighths of a character.

    Args:
        amount: What it stands for.
        most: The amount of a whole bar.
        cells: The length of a whole bar, in characters.
    """
    eighths = round(amount * cells * _EIGHTHS / most) if most else 0
    full, rest = divmod(max(eighths, 1 if amount else 0), _EIGHTHS)
    return _PARTS[_EIGHTHS] * full + (_PARTS[rest] if rest else "")


def short_amount(amount: str) -> str:
    """Shortens an amount to its cents, or to the first two digits that are not zero."""
    whole, _, rest = amount.partition(".")
    # The first cents that are not zero, so that the cost of a few tokens does not look like nothing.
    places = max(2, len(rest) - len(rest.lstrip("0")) + 2)
    return f"{whole}.{rest[:places]:0<2}" if rest.strip("0") else whole or "0"


def _key(item: Document, names: Sequence[str]) -> list[str]:
    if item.flag("other"):
        return ["other", *[""] * (len(names) - 1)]
    dimensions = item.child("dimensions")
    return [one_line(dimensions.text(name)) or "-" for name in names]
