"""`taskforce sla`: requests, errors and durations by endpoint, agent and model."""

from typing import TYPE_CHECKING, Annotated, Final

import typer

from cli.options import AsCsv, AsJson, Token, Url, check_one_form
from taskforce.core.domain.csv_cells import cell

if TYPE_CHECKING:
    from cli.documents import Document

_PAGE: Final = 100
_COLUMNS: Final = (
    "kind", "name", "total_requests", "total_errors", "error_rate_percent", "latency_p50_seconds",
    "latency_p95_seconds", "latency_p99_seconds",
)  # fmt: skip
_WINDOWS: Final = ("1h", "6h", "3d")
_BURNT: Final = ("availability", "latency")


def sla(
    *,
    window: Annotated[str, typer.Option("--window", "-w", help="5m, 1h, 6h, 24h, 3d, 7d or 30d until now.")] = "24h",
    since: Annotated[str | None, typer.Option("--since", help="From when on, as 2026-01-31T08:00:00Z.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Until when; now, if left out.")] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="endpoint, agent or model alone.")] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", help="Another tenant, for the platform's operator.")] = None,
    as_csv: AsCsv = False,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Shows service levels: requests, errors, durations, and how fast objectives are used up."""
    from cli.gateway import open_gateway
    from cli.terminal import write_csv, write_json

    check_one_form(as_json=as_json, as_csv=as_csv)
    gateway = open_gateway(url, token)
    asked = {"window": window, "since": since, "until": until, "kind": kind, "tenant_id": tenant}
    pages = [gateway.get("/admin/sla", limit=_PAGE, **asked)]
    while cursor := pages[-1].text("next_cursor"):
        pages.append(gateway.get("/admin/sla", limit=_PAGE, cursor=cursor, **asked))
    items = [one for page in pages for one in page.items("items")]
    if as_json:
        write_json({**pages[0].raw, "items": [one.raw for one in items], "next_cursor": None})
    elif as_csv:
        burnt = [f"burn_{name}_{window}" for window in _WINDOWS for name in _BURNT]
        write_csv([*_COLUMNS, *burnt], map(_row, items))
    else:
        _print(pages[0], items)


def _row(one: "Document") -> "list[object]":
    values = [one.raw.get(name) for name in _COLUMNS]
    cells = [cell(value) if isinstance(value, str) else value for value in values]
    return [*cells, *(one.child("burn").child(window).real(kind) for window in _WINDOWS for kind in _BURNT)]


def _print(report: "Document", items: "list[Document]") -> None:
    from rich.table import Table
    from rich.text import Text

    from cli.render import print_folded
    from cli.terminal import console

    out = console()
    summed = f"{report.number('total_requests')} requests, {_percent(report)} errors, P95 {_seconds(report, 95)}"
    print_folded(out, "", f"{report.exact('tenant_id')}  {summed}")
    if not items:
        typer.echo("Nothing was called in this period.")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("KIND", "NAME"):
        table.add_column(heading, overflow="fold")
    for heading in ("REQUESTS", "ERRORS", "P50", "P95", "P99", *(f"BURN {window}" for window in _WINDOWS)):
        table.add_column(heading, justify="right")
    for one in items:
        table.add_row(
            Text(one.exact("kind")),
            Text(one.exact("name")),
            str(one.number("total_requests")),
            _percent(one),
            *(_seconds(one, percent) for percent in (50, 95, 99)),
            *(_burn(one.child("burn").child(window)) for window in _WINDOWS),
        )
    out.print(table)


def _percent(one: "Document") -> str:
    return f"{one.real('error_rate_percent') or 0:.2f} %"


def _seconds(one: "Document", percent: int) -> str:
    return f"{one.real(f'latency_p{percent}_seconds') or 0:.3f} s"


def _burn(rates: "Document") -> str:
    known = [rate for kind in _BURNT if (rate := rates.real(kind)) is not None]
    return f"{max(known):.1f}{' !' if rates.flag('alarming') else ''}" if known else ""
